"""People who signed in with their key: rows here, an unguessable cookie there."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from osteon.service.database import Database
from osteon.service.keys import Key, Keys, digest
from osteon.service.tables import SessionRow, now


@dataclass(frozen=True)
class Session:
    """A session.

    Attributes:
        key: whose it is.
        csrf: what requests that change something must repeat in a header; scripts of other sites cannot read it.
        expires_at: when it ends (UTC).
    """

    key: Key
    csrf: str
    expires_at: datetime


class Sessions:
    """The sessions of a store. Safe to use from several threads."""

    def __init__(self, database: Database, keys: Keys, *, hours: float) -> None:
        """Sessions that end `hours` after the sign-in, sooner where their key stops working."""
        self._database = database
        self._keys = keys
        self._lasting = timedelta(hours=hours)

    def sign_in(self, token: str) -> tuple[Session, str] | None:
        """A new session and the secret for its cookie, which is told only here; None where no key has this token."""
        key = self._keys.check(token)
        if key is None:
            return None
        until = now() + self._lasting
        session = Session(key, secrets.token_urlsafe(32), min(until, key.expires_at) if key.expires_at else until)
        secret = secrets.token_urlsafe(32)
        with self._database.writing() as rows:
            rows.execute(delete(SessionRow).where(SessionRow.expires_at < now()))
            rows.add(
                SessionRow(
                    digest=digest(secret),
                    key_id=key.id,
                    csrf=session.csrf,
                    expires_at=session.expires_at,
                )
            )
        return session, secret

    def find(self, secret: str) -> Session | None:
        """The session of this cookie; None where it ended or its key no longer works."""
        with self._database.reading() as rows:
            row = rows.scalar(select(SessionRow).where(SessionRow.digest == digest(secret)))
        if row is None or row.expires_at <= now():
            return None
        key = self._keys.find(row.key_id)
        return Session(key, row.csrf, row.expires_at) if key and key.works else None

    def sign_out(self, secret: str) -> None:
        """End the session of this cookie, if there is one."""
        with self._database.writing() as rows:
            rows.execute(delete(SessionRow).where(SessionRow.digest == digest(secret)))
