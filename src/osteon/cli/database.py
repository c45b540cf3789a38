"""`osteon database`: the schema of the database."""

import click

from osteon.cli import message


@click.group()
def database() -> None:
    """Bring a database to the schema of this version. Servers and workers do it at their start, too."""


@database.command(
    epilog="""\b
Examples:
  export OSTEON_DATABASE_URL=postgresql+psycopg://osteon:secret@db/osteon
  osteon database upgrade
"""
)
def upgrade() -> None:
    """Create what is missing and bring the rest up to date; data stay.

    The database is that of OSTEON_DATABASE_URL, else the one in OSTEON_DATA_DIR.
    """
    from osteon.service.database import Database
    from osteon.service.settings import Settings

    settings = Settings.from_environment()
    opened = Database.of(settings.database_url, data_dir=settings.make_data_dir())
    message(f"the database has schema {opened.revision()}")
    opened.close()
