"""docs/cli.md, made of every command's `--help`: python -m osteon.cli.reference > docs/cli.md."""

from collections.abc import Iterator

import click

from osteon.cli import main

WIDTH = 98
"""What a wide terminal leaves of `main`'s 100 columns."""
_HEAD = """\
# Command line

Made by `python -m osteon.cli.reference > docs/cli.md`; a test keeps it equal to `--help`.

Exit status: 0 all analysed; 1 some file failed (the others are still given, each failure named on standard error and
in `errors` of the JSON); 2 wrong use. Standard output carries the result only; progress and messages go to standard
error.
"""


def reference() -> str:
    """The whole document."""
    return "\n".join([_HEAD, *_sections()])


def pages() -> Iterator[tuple[str, str]]:
    """Every command, `osteon` first, groups before their own commands, and its `--help`."""
    yield from _pages(main, click.Context(main, info_name="osteon", **main.context_settings, terminal_width=WIDTH))


def _sections() -> Iterator[str]:
    for name, text in pages():
        yield f"## `{name}`\n\n```text\n{text}\n```\n"


def _pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context)
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is not None:
            yield from _pages(child, click.Context(child, info_name=name, parent=context))


if __name__ == "__main__":
    click.echo(reference(), nl=False)
