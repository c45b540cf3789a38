"""Analyses kept: rows in SQL (the truth), files in one folder each; the only file that sees SQLAlchemy."""

import shutil
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy import JSON, DateTime, Engine, String, create_engine, delete, event, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from osteon.errors import AnalysisNotFound, ConfigurationError, TooManyWaiting

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
FINISHED: frozenset[Status] = frozenset(("succeeded", "failed", "cancelled"))

ORIGINAL = "original"
"""Name of the uploaded file in its folder, whatever its sender called it."""


class _Base(DeclarativeBase):
    pass


class AnalysisRow(_Base):
    """A row of `analyses`; the attributes are explained at `Analysis`."""

    __tablename__ = "analyses"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(255))
    size_bytes: Mapped[int]
    status: Mapped[str] = mapped_column(String(16), index=True)
    progress: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), default=None)
    pages: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), default=None)


@dataclass(frozen=True)
class Analysis:
    """An analysis as it stands.

    Attributes:
        number: grows with each analysis; the cursor of lists.
        id: 32 hexadecimal digits, random.
        name: what the sender calls the file; shown, never a path, never logged.
        size_bytes: of the uploaded file.
        status: queued, running, succeeded, failed or cancelled.
        progress: 0 to 1.
        attempts: how often it was begun.
        created_at: when it was accepted (UTC).
        finished_at: when it ended (UTC), or None.
        pages: the findings of each page as JSON, empty until it succeeded.
        error: `type`, `message` and `hint` of what went wrong, or None.
    """

    number: int
    id: str
    name: str
    size_bytes: int
    status: Status
    progress: float
    attempts: int
    created_at: datetime
    finished_at: datetime | None
    pages: tuple[Mapping[str, Any], ...]
    error: Mapping[str, str] | None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINISHED


@dataclass(frozen=True)
class Upload:
    """A file that was sent: what its sender calls it, and its bytes."""

    name: str
    content: bytes


class AnalysisStore:
    """Keeps analyses and their files. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the store in a folder, making it where it is missing.

        Raises:
            ConfigurationError: the folder cannot be made or written.
        """
        self._files = folder / "analyses"
        try:
            self._files.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the data folder {folder}: {error.strerror}", hint="set OSTEON_DATA_DIR to another folder"
            ) from error
        self._engine = _sqlite(folder / "osteon.sqlite3")
        _Base.metadata.create_all(self._engine)
        self._sessions = sessionmaker(self._engine)
        self._admission = threading.Lock()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def answers(self) -> bool:
        """Whether the database can be asked."""
        try:
            with self._sessions() as session:
                session.execute(select(AnalysisRow.number).limit(1))
        except SQLAlchemyError:
            return False
        return True

    def add(self, uploads: Sequence[Upload], *, queue_limit: int) -> list[Analysis]:
        """Take files in: on disk first, then one row each in one transaction, all queued.

        Raises:
            TooManyWaiting: more would wait than the limit allows; then nothing is kept.
        """
        rows = [_new_row(upload) for upload in uploads]
        try:
            for row, upload in zip(rows, uploads, strict=True):
                folder = self.folder(row.id)
                folder.mkdir()
                (folder / ORIGINAL).write_bytes(upload.content)
            with self._admission, self._sessions.begin() as session:
                _check_queue(session, len(rows), queue_limit)
                session.add_all(rows)
                session.flush()
                return [_analysis(row) for row in rows]
        except BaseException:
            for row in rows:
                shutil.rmtree(self.folder(row.id), ignore_errors=True)
            raise

    def check_queue(self, count: int, *, queue_limit: int) -> None:
        """Raises TooManyWaiting where `count` more would be too many."""
        with self._sessions() as session:
            _check_queue(session, count, queue_limit)

    def find(self, analysis_id: str) -> Analysis:
        """The analysis of this id; raises AnalysisNotFound."""
        with self._sessions() as session:
            row = session.scalar(select(AnalysisRow).where(AnalysisRow.id == analysis_id))
            if row is None:
                raise _not_found()
            return _analysis(row)

    def page(self, *, status: Status | None = None, limit: int = 20, before: int | None = None) -> list[Analysis]:
        """Analyses, newest first; only those with a number below `before` where it is given."""
        query = select(AnalysisRow).order_by(AnalysisRow.number.desc()).limit(limit)
        if status is not None:
            query = query.where(AnalysisRow.status == status)
        if before is not None:
            query = query.where(AnalysisRow.number < before)
        with self._sessions() as session:
            return [_analysis(row) for row in session.scalars(query)]

    def waiting(self) -> int:
        """How many are queued."""
        with self._sessions() as session:
            return _waiting(session)

    def claim(self, analysis_id: str) -> Analysis | None:
        """Queued -> running, for one worker only; None where it is not queued (any more)."""
        claimed = self._change(
            analysis_id, "queued", {"status": "running", "attempts": AnalysisRow.attempts + 1, "progress": 0.0}
        )
        return self.find(analysis_id) if claimed else None

    def advance(self, analysis_id: str, progress: float) -> None:
        """Note how far a running analysis has come, 0 to 1."""
        self._change(analysis_id, "running", {"progress": progress})

    def succeed(self, analysis_id: str, pages: Sequence[Mapping[str, Any]]) -> bool:
        """Running -> succeeded with the findings of each page; False where it was removed meanwhile."""
        values = {"status": "succeeded", "progress": 1.0, "pages": list(pages), "finished_at": _now()}
        return self._change(analysis_id, "running", values)

    def fail(self, analysis_id: str, error: Mapping[str, str]) -> bool:
        """Running -> failed with `type`, `message` and `hint`; False where it was removed meanwhile."""
        return self._change(analysis_id, "running", {"status": "failed", "error": dict(error), "finished_at": _now()})

    def resume(self, *, max_attempts: int) -> list[str]:
        """After a restart: what was interrupted is queued again, or given up; the ids that wait, oldest first."""
        interrupted = AnalysisRow.status == "running"
        given_up = {
            "type": "Interrupted",
            "message": f"the analysis was interrupted {max_attempts} times",
            "hint": "the file may be harmful to a decoder; export it in another format",
        }
        with self._sessions.begin() as session:
            session.execute(
                update(AnalysisRow)
                .where(interrupted, AnalysisRow.attempts >= max_attempts)
                .values(status="failed", error=given_up, finished_at=_now())
            )
            session.execute(update(AnalysisRow).where(interrupted).values(status="queued", progress=0.0))
            waiting = select(AnalysisRow.id).where(AnalysisRow.status == "queued").order_by(AnalysisRow.number)
            return list(session.scalars(waiting))

    def remove(self, analysis_id: str) -> None:
        """Remove an analysis, its row and all its files; raises AnalysisNotFound."""
        with self._sessions.begin() as session:
            gone = session.scalar(delete(AnalysisRow).where(AnalysisRow.id == analysis_id).returning(AnalysisRow.id))
        if gone is None:
            raise _not_found()
        self.sweep(gone)

    def sweep(self, analysis_id: str) -> None:
        """Remove the files of an analysis."""
        shutil.rmtree(self.folder(analysis_id), ignore_errors=True)

    def folder(self, analysis_id: str) -> Path:
        """Where the files of an analysis lie; the id is one of ours, never a sender's text."""
        return self._files / uuid.UUID(hex=analysis_id).hex

    def _change(self, analysis_id: str, status: Status, values: Mapping[str, Any]) -> bool:
        changed = update(AnalysisRow).where(AnalysisRow.id == analysis_id, AnalysisRow.status == status)
        with self._sessions.begin() as session:
            return session.scalar(changed.values(**values).returning(AnalysisRow.id)) is not None


def _sqlite(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _new_row(upload: Upload) -> AnalysisRow:
    return AnalysisRow(
        id=uuid.uuid4().hex,
        name=upload.name[:255],
        size_bytes=len(upload.content),
        status="queued",
        progress=0.0,
        attempts=0,
        created_at=_now(),
        pages=[],
    )


def _check_queue(session: Session, count: int, queue_limit: int) -> None:
    waiting = _waiting(session)
    if waiting + count > queue_limit:
        raise TooManyWaiting(
            f"{waiting} analyses are waiting, at most {queue_limit} may", hint="send it again in some seconds"
        )


def _waiting(session: Session) -> int:
    return session.scalar(select(func.count()).where(AnalysisRow.status == "queued")) or 0


def _analysis(row: AnalysisRow) -> Analysis:
    return Analysis(
        number=row.number,
        id=row.id,
        name=row.name,
        size_bytes=row.size_bytes,
        status=_status(row.status),
        progress=row.progress,
        attempts=row.attempts,
        created_at=_utc(row.created_at),
        finished_at=_utc(row.finished_at) if row.finished_at else None,
        pages=tuple(row.pages),
        error=row.error,
    )


def _status(value: str) -> Status:
    for status in STATUSES:
        if status == value:
            return status
    raise ValueError(f"unknown status {value}")


def _now() -> datetime:
    return datetime.now(UTC)


def _utc(moment: datetime) -> datetime:
    """SQLite forgets the zone; all our moments are UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _not_found() -> AnalysisNotFound:
    return AnalysisNotFound(
        "no analysis has this id", hint="it may have been removed; list all with GET /api/v1/analyses"
    )
