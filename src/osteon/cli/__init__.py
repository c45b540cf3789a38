"""The command `osteon`. One command is one library call; each is imported only when it is used."""

import importlib
import sys
from typing import Any

import click

from osteon.errors import OsteonError

COMMANDS = {
    "predict": "Bone and fracture findings of pictures.",
    "segment": "Bone masks of pictures, and single bones.",
    "serve": "The web application.",
    "worker": "Analyses what servers have taken in.",
    "database": "The schema of the server's database.",
    "keys": "Who is let in.",
    "backup": "The server's store in one file.",
    "restore": "A back-up put back.",
    "models": "The installed models.",
    "data": "Data sets in and out.",
    "train": "Train a gate or a detector.",
    "evaluate": "Figures of a model on a data set.",
    "study": "Comparisons of models.",
    "export": "Checkpoint to ONNX, with its card and a parity check.",
    "bench": "Speed and memory against the pipeline Osteon builds on.",
    "load-test": "The service under load, measured on this machine.",
    "demo": "Both stages on sample pictures.",
}


class LazyGroup(click.Group):
    """Loads the module of a command when it is asked for, so that `predict` never pays for `train`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: D102
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"osteon.cli.{name}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: D102
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours becomes one message with its hint, and the class's exit status."""
        try:
            return super().invoke(ctx)
        except OsteonError as error:
            message(f"error: {error.message}")
            if error.hint:
                message(f"hint: {error.hint}")
            ctx.exit(error.exit_status)


def message(text: str) -> None:
    """A line for the person at the terminal: standard error, so that standard output holds results only."""
    click.echo(text, err=True)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="osteon")
def main() -> None:
    """Osteon finds bones, and suspected fractures, on plain radiographs.

    Decision support for research. Not a medical device; not for diagnosis.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
