"""`osteon keys`: who is let in."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from osteon.cli import message

if TYPE_CHECKING:
    from osteon.service.keys import Key, Keys, Scope

SCOPES = ("analyse", "read", "answer", "admin")


@click.group()
def keys() -> None:
    """Keys that let people and programs in, kept in the store of OSTEON_DATA_DIR or OSTEON_DATABASE_URL.

    Scopes: analyse (send files, cancel, remove), read (results, pictures, reports), answer (a reader's answers), admin
    (everybody's analyses with ?owner=all).
    """


@keys.command(
    epilog="""\b
Examples:
  osteon keys create 'Dr Petrova'
  osteon keys create pacs-gateway --scope analyse --scope read --days 365
"""
)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=SCOPES[:3],
    show_default="analyse, read, answer",
    help="What the key may do; give it several times.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="It stops working then. [default: never]")
@click.option("--adopt", is_flag=True, help="What was analysed without a key becomes this key's.")
def create(name: str, scopes: tuple["Scope", ...], days: float | None, adopt: bool) -> None:
    """Make a key called NAME and print it, once: only a digest of it is kept."""
    opened = _keys()
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    key, token = opened.create(name, scopes=scopes, expires_at=expires_at)
    if adopt:
        message(f"{opened.adopt(key)} analyses are now those of '{name}'")
    message(f"the key of '{name}' ({', '.join(sorted(key.scopes))}); it is not shown again:")
    click.echo(token)


@keys.command("list", epilog="\b\nExamples:\n  osteon keys list\n  osteon keys list --format json\n")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def list_keys(form: str) -> None:
    """List all keys: name, scopes, when they were made, last used, and whether they work."""
    found = _keys().all()
    if form == "json":
        click.echo(json.dumps([_record(key) for key in found], ensure_ascii=False, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "scopes", "created", "last used", "expires", "state", "id")
    for key in found:
        scopes = ", ".join(sorted(key.scopes))
        moments = [_moment(moment) for moment in (key.created_at, key.used_at, key.expires_at)]
        table.add_row(key.name, scopes, *moments, _state(key), key.id)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


@keys.command(epilog="\b\nExamples:\n  osteon keys revoke pacs-gateway\n")
@click.argument("key", metavar="NAME")
def revoke(key: str) -> None:
    """End the key called NAME (or with this id): it and whoever signed in with it are out at once."""
    message(f"revoked '{_keys().revoke(key).name}'")


def _keys() -> "Keys":
    from osteon.service.database import Database
    from osteon.service.keys import Keys
    from osteon.service.settings import Settings

    settings = Settings.from_environment()
    return Keys(Database.of(settings.database_url, data_dir=settings.make_data_dir()))


def _record(key: "Key") -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at.isoformat(),
        "used_at": key.used_at.isoformat() if key.used_at else None,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "state": _state(key),
    }


def _state(key: "Key") -> str:
    if key.works:
        return "works"
    return "revoked" if key.revoked_at else "expired"


def _moment(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M") if moment else "never"
