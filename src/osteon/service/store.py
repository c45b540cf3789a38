"""Analyses kept: rows in SQL (the truth) and their files. How they are worked on stands in `claims`."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from sqlalchemy import Select, delete, func, select

from osteon.errors import AnalysisNotFound
from osteon.findings import Decision
from osteon.service import admission
from osteon.service.database import ADMISSION_LOCK, Database
from osteon.service.files import ORIGINAL, AnalysisFiles, LocalFiles, files_at
from osteon.service.settings import Settings
from osteon.service.tables import AnalysisRow, AnswerRow, AuditRow, BonesRow, now

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
FINISHED: frozenset[Status] = frozenset(("succeeded", "failed", "cancelled"))
GRAVEST_FIRST: tuple[Decision, ...] = ("fracture", "doubt", "no_fracture", "not_a_radiograph")


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
        sha256: of the uploaded file; '' of version 0.1.
        owner: id of the key that sent it; '' is the local user.
        study: what groups the views of one examination; '' if nothing does.
        decision: the gravest of all pages, or None until it succeeded.
        started_at: when it was last begun (UTC), or None.
        changed_at: when anything of it changed last (UTC).
        seen_at: when its result was looked at (UTC), or None.
        removal_at: when it will be removed (UTC), or None.
        worker: who works on it, or worked last.
        cancel_requested: whether it will be cancelled where the work can stop next.
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
    sha256: str
    owner: str
    study: str
    decision: Decision | None
    started_at: datetime | None
    changed_at: datetime
    seen_at: datetime | None
    removal_at: datetime | None
    worker: str | None
    cancel_requested: bool

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINISHED

    @classmethod
    def of(cls, row: AnalysisRow) -> Self:
        """The analysis of a row."""
        values = {name: getattr(row, name) for name in cls.__dataclass_fields__}
        return cls(**values | {"pages": tuple(row.pages)})


@dataclass(frozen=True)
class Upload:
    """A file that was sent.

    Attributes:
        name: what its sender calls it.
        content: its bytes, or where they lie on this machine.
        study: what groups it with other files; '' if nothing does.
        sha256: of the content; worked out where it is not given.
    """

    name: str
    content: bytes | Path
    study: str = ""
    sha256: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.sha256:
            object.__setattr__(self, "sha256", _sha256(self.content))

    @property
    def path(self) -> Path:
        """Where its content lies; only of one whose content is in a file."""
        assert isinstance(self.content, Path)
        return self.content

    @property
    def size_bytes(self) -> int:
        """Of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Progress:
    """How far an analysis has come, 0 to 1."""

    status: Status
    progress: float

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINISHED


@dataclass(frozen=True)
class Accepted:
    """The analysis of an upload, and whether the upload made it (or it was there already)."""

    analysis: Analysis
    new: bool


class AnalysisStore:
    """Keeps analyses and their files. Safe to use from several threads and processes.

    Where a method takes `owner`, None means anybody's; what belongs to others is not found.
    """

    def __init__(self, database: Database, files: AnalysisFiles) -> None:
        self.database = database
        self.files = files

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The store that the settings name, made where it is missing.

        Raises:
            ConfigurationError: the folder or the database cannot be used.
        """
        files = files_at(settings.files_url, data_dir=settings.data_dir)
        return cls(Database.of(settings.database_url, data_dir=settings.data_dir), files)

    def folder(self, analysis_id: str) -> Path:
        """Where the files of an analysis lie on this machine."""
        assert isinstance(self.files, LocalFiles)
        return self.files.folder(analysis_id)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def answers(self) -> bool:
        """Whether the database can be asked."""
        return self.database.answers()

    def add(
        self,
        uploads: Sequence[Upload],
        *,
        queue_limit: int,
        owner: str = "",
        models: str = "",
        again: bool = False,
        known: Collection[str] | None = None,
    ) -> list[Accepted]:
        """Take files in: on disk first, then one row each in one transaction, all queued.

        Args:
            queue_limit: most analyses that may wait.
            owner: whose they are.
            models: names the models that will look. The same content with the same models is the same analysis,
                sent as often as one likes, unless that failed or was cancelled; '': each upload is one of its own.
            again: analyse anew what was analysed already; the new analysis is then the one of this content.
            known: what `known` said of these files just now; None: it is asked.

        Raises:
            TooManyWaiting: more would wait than the limit allows; then nothing is kept.
        """
        rows = [admission.row_of(upload, owner=owner, models=models) for upload in uploads]
        if known is None:
            known = set() if again else self.known(uploads, owner=owner, models=models)
        written: set[str] = set()
        kept: set[str] = set()

        def write(row: AnalysisRow, upload: Upload) -> None:
            if row.id not in written:
                written.add(row.id)
                self.files.put(row.id, ORIGINAL, upload.content, durable=True)

        try:
            for row, upload in zip(rows, uploads, strict=True):
                if upload.sha256 not in known:
                    write(row, upload)
            accepted: list[Accepted] = []
            with self.database.writing(durable=True) as session:
                self.database.alone(session, ADMISSION_LOCK)
                for row, upload in zip(rows, uploads, strict=True):
                    holder = admission.holder(session, row.content_key, gives_way=again)
                    if holder is None:
                        write(row, upload)  # rarely here: the holder that was known is gone
                        admission.enqueue(session, row)
                    accepted.append(Accepted(Analysis.of(holder or row), new=holder is None))
                admission.check_queue(session, sum(one.new for one in accepted), queue_limit, counted=True)
            kept = {one.analysis.id for one in accepted}
            return accepted
        finally:
            for analysis_id in written - kept:
                self._discard(analysis_id)

    def known(self, uploads: Sequence[Upload], *, owner: str, models: str) -> set[str]:
        """SHA-256 of those files for which `add` would answer with an analysis that there is already."""
        if not models:
            return set()
        keys = {admission.content_key(one.sha256, owner=owner, models=models): one.sha256 for one in uploads}
        with self.database.reading() as session:
            held = session.scalars(select(AnalysisRow.content_key).where(AnalysisRow.content_key.in_(keys)))
            return {keys[key] for key in held if key}

    def check_queue(self, count: int, *, queue_limit: int) -> None:
        """Raises TooManyWaiting where `count` more would be too many."""
        with self.database.reading() as session:
            admission.check_queue(session, count, queue_limit)

    def find(self, analysis_id: str, *, owner: str | None = None) -> Analysis:
        """The analysis of this id; raises AnalysisNotFound."""
        query = _owned(select(AnalysisRow).where(AnalysisRow.id == analysis_id), owner)
        with self.database.reading() as session:
            return Analysis.of(_found(session.scalar(query)))

    def progress(self, analysis_ids: Collection[str]) -> dict[str, Progress]:
        """How far these have come, without their findings; those that are not there (any more) are left out."""
        query = select(AnalysisRow.id, AnalysisRow.status, AnalysisRow.progress).where(AnalysisRow.id.in_(analysis_ids))
        with self.database.reading() as session:
            return {row.id: Progress(row.status, row.progress) for row in session.execute(query)}

    def page(
        self,
        *,
        owner: str | None = None,
        status: Status | None = None,
        decision: Decision | None = None,
        study: str | None = None,
        search: str = "",
        unseen: bool = False,
        limit: int = 20,
        before: int | None = None,
    ) -> list[Analysis]:
        """Analyses, newest first.

        Args:
            search: stands somewhere in the name, capital or small.
            unseen: only those that succeeded and were not looked at.
            before: only those with a smaller number.
        """
        query = _owned(select(AnalysisRow), owner).order_by(AnalysisRow.number.desc()).limit(limit)
        for column, value in (
            (AnalysisRow.status, status),
            (AnalysisRow.decision, decision),
            (AnalysisRow.study, study),
        ):
            if value is not None:
                query = query.where(column == value)
        if search:
            query = query.where(func.lower(AnalysisRow.name).contains(search.lower(), autoescape=True))
        if unseen:
            query = query.where(AnalysisRow.status == "succeeded", AnalysisRow.seen_at.is_(None))
        if before is not None:
            query = query.where(AnalysisRow.number < before)
        with self.database.reading() as session:
            return [Analysis.of(row) for row in session.scalars(query)]

    def changed(self, *, since: datetime, owner: str | None = None) -> tuple[list[Analysis], list[tuple[int, str]]]:
        """What changed from a moment on: analyses as they stand, and (number of the removal, id) of those removed."""
        rows = _owned(select(AnalysisRow).where(AnalysisRow.changed_at >= since), owner)
        gone = select(AuditRow.id, AuditRow.analysis_id).where(AuditRow.at >= since, AuditRow.action == "removed")
        if owner is not None:
            gone = gone.where(AuditRow.owner == owner)
        with self.database.reading() as session:
            analyses = [Analysis.of(row) for row in session.scalars(rows.order_by(AnalysisRow.changed_at))]
            return analyses, [(row.id, row.analysis_id) for row in session.execute(gone)]

    def waiting(self) -> int:
        """How many are queued."""
        with self.database.reading() as session:
            return admission.waiting_count(session)

    def oldest_waiting(self) -> datetime | None:
        """When the one that has been queued for longest was accepted, or None where nothing is queued."""
        query = select(AnalysisRow.created_at).where(AnalysisRow.status == "queued").order_by(AnalysisRow.number)
        with self.database.reading() as session:
            return session.scalar(query.limit(1))

    def mark_seen(self, analysis_id: str, *, seen: bool = True, owner: str | None = None) -> Analysis:
        """Note that somebody looked at the result, or that it shall look new again; raises AnalysisNotFound."""
        with self.database.writing() as session:
            row = _found(session.scalar(_owned(select(AnalysisRow).where(AnalysisRow.id == analysis_id), owner)))
            if seen != (row.seen_at is not None):
                row.seen_at = now() if seen else None
                row.changed_at = now()
            session.flush()
            return Analysis.of(row)

    def cancel(self, analysis_id: str, *, owner: str | None = None, actor: str = "") -> Analysis:
        """Cancel an analysis: at once where it waits, where the work can stop next while it runs.

        Nothing happens to a finished one. Raises AnalysisNotFound.
        """
        with self.database.writing() as session:
            query = _owned(select(AnalysisRow).where(AnalysisRow.id == analysis_id), owner).with_for_update()
            row = _found(session.scalar(query))
            if row.status == "queued":
                row.status, row.finished_at, row.content_key = "cancelled", now(), None
                session.add(admission.trail(row.id, row.owner, "cancelled", actor))
            elif row.status == "running":
                row.cancel_requested = True
            if session.is_modified(row):
                row.changed_at = now()
            session.flush()
            return Analysis.of(row)

    def remove(self, analysis_id: str, *, owner: str | None = None, actor: str = "") -> None:
        """Remove an analysis: its row, the answers to it and all its files; raises AnalysisNotFound."""
        gone = delete(AnalysisRow).where(AnalysisRow.id == analysis_id)
        if owner is not None:
            gone = gone.where(AnalysisRow.owner == owner)
        with self.database.writing(durable=True) as session:
            whose = session.scalar(gone.returning(AnalysisRow.owner))
            if whose is None:
                raise not_found()
            session.execute(delete(AnswerRow).where(AnswerRow.analysis_id == analysis_id))
            session.execute(delete(BonesRow).where(BonesRow.id == analysis_id))
            session.add(admission.trail(analysis_id, whose, "removed", actor))
        self._discard(analysis_id)

    def sweep(self, analysis_id: str) -> None:
        """Remove the files of an analysis that has no row any more."""
        with self.database.reading() as session:
            if session.scalar(select(AnalysisRow.id).where(AnalysisRow.id == analysis_id)) is None:
                self.files.remove(analysis_id)

    def _discard(self, analysis_id: str) -> None:
        """Remove files that no row tells of; where that fails now they are swept later, as all such files are."""
        with suppress(OSError):
            self.files.remove(analysis_id)


def gravest(pages: Sequence[Mapping[str, Any]]) -> Decision | None:
    """The gravest decision of all pages, or None where there is no page."""
    decisions = {page["decision"] for page in pages}
    return next((decision for decision in GRAVEST_FIRST if decision in decisions), None)


def _owned(query: Select[AnalysisRow], owner: str | None) -> Select[AnalysisRow]:
    return query if owner is None else query.where(AnalysisRow.owner == owner)


def not_found() -> AnalysisNotFound:
    """No analysis has the id, or it is somebody else's."""
    return AnalysisNotFound(
        "no analysis has this id", hint="it may have been removed; list all with GET /api/v1/analyses"
    )


def _found(row: AnalysisRow | None) -> AnalysisRow:
    if row is None:
        raise not_found()
    return row


def _sha256(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
