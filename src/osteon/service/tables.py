"""Tables of the service, as SQLAlchemy sees them; `migrations` brings a database there."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, also where the database forgets the zone (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """What came from the database, with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables."""


class Claimable:
    """Columns of whatever waits, is claimed by a worker under a lease, and ends; see `claims`."""

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    owner: Mapped[str] = mapped_column(String(32), default="", index=True)
    status: Mapped[str] = mapped_column(String(16), index=True)
    progress: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    started_at: Mapped[datetime | None] = mapped_column(Moment, default=None)
    finished_at: Mapped[datetime | None] = mapped_column(Moment, default=None)
    changed_at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)
    not_before: Mapped[datetime | None] = mapped_column(Moment, default=None)
    """What is queued waits until then (back-off after a passing fault)."""
    lease_until: Mapped[datetime | None] = mapped_column(Moment, default=None)
    """What runs is queued again where its worker did not say by then that it lives."""
    worker: Mapped[str | None] = mapped_column(String(64), default=None)
    cancel_requested: Mapped[bool] = mapped_column(default=False)


class AnalysisRow(Claimable, Base):
    """A row of `analyses`; the attributes are explained at `Analysis`."""

    __tablename__ = "analyses"

    name: Mapped[str] = mapped_column(String(255))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    pages: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    sha256: Mapped[str] = mapped_column(String(64), default="")
    content_key: Mapped[str | None] = mapped_column(String(64), unique=True, index=True, default=None)
    """Owner, content and models in one: whoever holds it is the answer to the same file sent again."""
    study: Mapped[str] = mapped_column(String(64), default="", index=True)
    decision: Mapped[str | None] = mapped_column(String(16), default=None, index=True)
    seen_at: Mapped[datetime | None] = mapped_column(Moment, default=None)
    removal_at: Mapped[datetime | None] = mapped_column(Moment, default=None, index=True)
    bones_wanted: Mapped[bool] = mapped_column(default=False)
    """Its bones were asked for before it succeeded: once it does, a row of `bones` follows."""


class BonesRow(Claimable, Base):
    """A row of `bones`: the bones of an analysis that succeeded (of the same id) were asked for."""

    __tablename__ = "bones"


class UploadRow(Base):
    """A row of `uploads`: a file that comes in pieces."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(32), default="")
    name: Mapped[str] = mapped_column(String(255))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    received_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    parts: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Names of the files that hold what came, in order."""
    study: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)


class KeyRow(Base):
    """A row of `keys`: who may ask, known by the digest of a secret."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    digest: Mapped[str] = mapped_column(String(128), unique=True)
    scopes: Mapped[str] = mapped_column(String(255))
    """Names with a space between them."""
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    expires_at: Mapped[datetime | None] = mapped_column(Moment, default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(Moment, default=None)
    used_at: Mapped[datetime | None] = mapped_column(Moment, default=None)


class SessionRow(Base):
    """A row of `sessions`: a person signed in with a key."""

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(String(128), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(32), index=True)
    csrf: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    expires_at: Mapped[datetime] = mapped_column(Moment)


class AnswerRow(Base):
    """A row of `answers`: what a reader says of a page. Never changed, but superseded by a later one."""

    __tablename__ = "answers"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    analysis_id: Mapped[str] = mapped_column(String(32), index=True)
    page: Mapped[int]
    author: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(Moment, default=now)
    verdict: Mapped[str] = mapped_column(String(16))
    comment: Mapped[str] = mapped_column(Text, default="")
    boxes: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    superseded: Mapped[bool] = mapped_column(default=False)


class AuditRow(Base):
    """A row of `audit`: what was done with an analysis, by whom, when. Only ever added to."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
    owner: Mapped[str] = mapped_column(String(32), default="")
    """Whose analysis it is."""
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))
    analysis_id: Mapped[str] = mapped_column(String(32), index=True)
