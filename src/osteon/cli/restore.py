"""`osteon restore`: a back-up put back."""

from pathlib import Path

import click

from osteon.cli import message


@click.command(
    epilog="""\b
Examples:
  OSTEON_DATA_DIR=/srv/osteon osteon restore /backup/osteon-monday.tar
  osteon restore osteon.tar --replace
"""
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace what is in the data folder; without it that must be empty.")
def restore(file: Path, replace: bool) -> None:
    """Put what `osteon backup` wrote to FILE into the folder of OSTEON_DATA_DIR; no server may use it meanwhile.

    FILE is read and checked as a whole before anything is replaced. People sign in anew afterwards.
    """
    from osteon.service.backup import restore as put_back
    from osteon.service.settings import Settings

    settings = Settings.from_environment()
    contents = put_back(settings, file, replace=replace)
    message(f"{contents.analyses} analyses, {contents.size_bytes / 2**20:.1f} MiB, now in {settings.data_dir}")
