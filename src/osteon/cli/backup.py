"""`osteon backup`: the embedded store in one file."""

from pathlib import Path

import click

from osteon.cli import message


@click.command(
    epilog="""\b
Examples:
  osteon backup /backup/osteon-monday.tar
  OSTEON_DATA_DIR=/srv/osteon osteon backup osteon.tar
"""
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Write the server's store (rows, uploaded files, pictures, answers, keys' digests) to FILE.

    The server may run meanwhile. The folder is that of OSTEON_DATA_DIR. Keep FILE as safe as the data itself.
    """
    from osteon.service.backup import backup as write
    from osteon.service.settings import Settings

    contents = write(Settings.from_environment(), file)
    message(f"{contents.analyses} analyses, {contents.size_bytes / 2**20:.1f} MiB, in {file}")
