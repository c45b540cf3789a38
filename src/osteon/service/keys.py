"""Keys that let people and programs in: random tokens shown once, of which only a digest is kept."""

import hashlib
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import or_, select, update

from osteon.errors import ConfigurationError
from osteon.service.database import Database
from osteon.service.tables import AnalysisRow, AuditRow, KeyRow, UploadRow, now

Scope = Literal["analyse", "read", "answer", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
USUAL_SCOPES: tuple[Scope, ...] = ("analyse", "read", "answer")

TOKEN_PREFIX = "osteon_"
LEAST_TOKEN_LENGTH = 32
"""Characters of a token that an operator thinks up; ours have 50."""
_TOKEN_BYTES = 32
_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Key:
    """A key as it is kept.

    Attributes:
        id: 32 hexadecimal digits; the owner of what the key sends.
        name: what its maker calls it; unique among the keys that are not revoked.
        scopes: what it may do: analyse, read, answer, admin.
        created_at: when it was made (UTC).
        expires_at: when it stops working (UTC), or None.
        revoked_at: when it was revoked (UTC), or None.
        used_at: when it was last used (UTC, to the minute), or None.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None

    @property
    def works(self) -> bool:
        """Whether it lets anybody in: neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now() < self.expires_at)


class Keys:
    """The keys of a store. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._any = False

    def create(
        self,
        name: str,
        *,
        scopes: Iterable[Scope] = USUAL_SCOPES,
        expires_at: datetime | None = None,
        token: str | None = None,
    ) -> tuple[Key, str]:
        """A new key and its token, which is told only here.

        Args:
            name: what to call it, 1 to 64 characters.
            scopes: what it may do.
            expires_at: when it stops working (UTC); None: never.
            token: the token to use, of at least 32 characters; None: a random one of 256 bits.

        Raises:
            ConfigurationError: no name, a name that a working key has, no scope, a token that is too short.
        """
        token = token or TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        chosen = _checked(name, scopes, token)
        row = KeyRow(
            id=uuid.uuid4().hex,
            name=name,
            digest=digest(token),
            scopes=" ".join(chosen),
            created_at=now(),
            expires_at=expires_at,
        )
        with self._database.writing() as session:
            taken = session.scalars(select(KeyRow).where(KeyRow.name == name, KeyRow.revoked_at.is_(None)))
            if any(_key(other).works for other in taken):
                raise ConfigurationError(
                    f"there is a key named '{name}'", hint="choose another name, or revoke that one"
                )
            session.add(row)
            session.flush()
            return _key(row), token

    def all(self) -> list[Key]:
        """Every key, oldest first, those that no longer work too."""
        with self._database.reading() as session:
            return [_key(row) for row in session.scalars(select(KeyRow).order_by(KeyRow.created_at))]

    def any(self) -> bool:
        """Whether a key was ever made: from then on there is no way back to a server without keys."""
        if not self._any:
            with self._database.reading() as session:
                self._any = session.scalar(select(KeyRow.id).limit(1)) is not None
        return self._any

    def find(self, key_id: str) -> Key | None:
        """The key of this id."""
        with self._database.reading() as session:
            row = session.get(KeyRow, key_id)
            return _key(row) if row else None

    def check(self, token: str) -> Key | None:
        """The working key that has this token; None where there is none."""
        with self._database.reading() as session:
            row = session.scalar(select(KeyRow).where(KeyRow.digest == digest(token)))
            key = _key(row) if row else None
        if key is None or not key.works:
            return None
        self._note_use(key)
        return key

    def revoke(self, which: str) -> Key:
        """End a key, by its name or id: it and all sessions signed in with it stop working at once.

        Raises:
            ConfigurationError: no working key has this name or id.
        """
        with self._database.writing() as session:
            found = session.scalars(
                update(KeyRow)
                .where(or_(KeyRow.name == which, KeyRow.id == which), KeyRow.revoked_at.is_(None))
                .values(revoked_at=now())
                .returning(KeyRow)
            ).all()
            if not found:
                raise ConfigurationError(f"no key is named '{which}'", hint="`osteon keys list` names them")
            return _key(found[0])

    def adopt(self, key: Key) -> int:
        """Give a key what was analysed, or half sent, without one; how many analyses that were."""
        with self._database.writing() as session:
            for table in (UploadRow, AuditRow):
                session.execute(update(table).where(table.owner == "").values(owner=key.id))
            moved = update(AnalysisRow).where(AnalysisRow.owner == "").values(owner=key.id, content_key=None)
            return len(session.scalars(moved.returning(AnalysisRow.id)).all())

    def _note_use(self, key: Key) -> None:
        if key.used_at is None or now() - key.used_at >= _NOTED_EVERY:
            with self._database.writing() as session:
                session.execute(update(KeyRow).where(KeyRow.id == key.id).values(used_at=now()))


def digest(token: str) -> str:
    """SHA-256 of a token: enough for 256 random bits, which nobody can guess through."""
    return hashlib.sha256(token.encode()).hexdigest()


def _checked(name: str, scopes: Iterable[Scope], token: str) -> list[Scope]:
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise ConfigurationError("a key needs a name of 1 to 64 characters", hint="say whose it is, or what for")
    if len(token) < LEAST_TOKEN_LENGTH:
        raise ConfigurationError(
            f"the given key has {len(token)} characters, expected {LEAST_TOKEN_LENGTH} or more",
            hint="leave it out and a random one is made",
        )
    chosen = [scope for scope in SCOPES if scope in set(scopes)]
    if not chosen:
        raise ConfigurationError("the key may do nothing", hint=f"give it one or more of {', '.join(SCOPES)}")
    return chosen


def _key(row: KeyRow) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        scopes=frozenset(scope for scope in SCOPES if scope in row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
    )
