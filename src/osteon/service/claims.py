"""Who works on what: analyses are claimed under a lease, and finished by whoever holds the claim, so none twice."""

import os
import random
import secrets
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from sqlalchemy import ColumnElement, Select, Update, and_, or_, select, update
from sqlalchemy.orm import Session

from osteon.service.admission import trail
from osteon.service.database import Database
from osteon.service.settings import Settings
from osteon.service.store import Analysis, Status, gravest
from osteon.service.tables import AnalysisRow, BonesRow, Claimable, now

Standing = Literal["held", "cancelled", "lost"]
"""Of a claim: still ours; cancelled by somebody; lost (removed, or taken for dead and given to another)."""

_GRACE_SECONDS = 10.0
"""Beyond the time limit until an analysis is failed from outside, where its worker did not see to that itself."""


class Claim(Protocol):
    """What `take` gives; worker and attempt fence everything that is noted later."""

    @property
    def id(self) -> str:
        """Of the analysis."""

    @property
    def owner(self) -> str:
        """Whose it is."""

    @property
    def worker(self) -> str | None:
        """Who took it."""

    @property
    def attempts(self) -> int:
        """How often it was begun."""

    @property
    def created_at(self) -> datetime:
        """When it was asked for."""

    @property
    def started_at(self) -> datetime | None:
        """When it was last begun."""


C = TypeVar("C", bound=Claim)


def worker_name() -> str:
    """A name for this process that no other ever had."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Claiming(Generic[C]):
    """Takes what is queued in a table for one worker process and notes what becomes of it.

    A claim is the row's value as `take` gave it: its worker and attempt fence everything that is noted later.
    """

    database: Database
    settings: Settings
    worker: str

    rows: ClassVar[type[Claimable]]
    what: ClassVar[str] = ""
    """Stands before what is done with it in the audit trail."""
    undone: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Values of a row that failed or was cancelled."""

    def claimed(self, row: Any) -> C:
        """The value of a row."""
        raise NotImplementedError

    def take(self, analysis_id: str) -> C | None:
        """Queued -> running, for one worker only; None where it is not queued (any more), or not yet due."""
        return self._take(self.rows.id == analysis_id)

    def take_next(self) -> C | None:
        """The oldest that is due, queued -> running; None where nothing is."""
        oldest = select(self.rows.number).where(self._due()).order_by(self.rows.number).limit(1)
        return self._take(self.rows.number == oldest.with_for_update(skip_locked=True).scalar_subquery())

    def due(self, *, limit: int) -> list[str]:
        """Ids of what waits and may begin now, oldest first."""
        with self.database.reading() as session:
            query = select(self.rows.id).where(self._due()).order_by(self.rows.number).limit(limit)
            return list(session.scalars(query))

    def extend(self, analysis_ids: Collection[str]) -> None:
        """The leases of these run on: the worker lives and works on them."""
        held = self.rows.id.in_(analysis_ids), self.rows.status == "running", self.rows.worker == self.worker
        with self.database.writing() as session:
            session.execute(update(self.rows).where(*held).values(lease_until=self._lease_end()))

    def standing(self, claim: C) -> Standing:
        """How a claim stands."""
        with self.database.reading() as session:
            return _standing(session.scalar(select(self.rows.cancel_requested).where(*self._fence(claim))))

    def advance(self, claim: C, progress: float) -> Standing:
        """Note how far the work has come, 0 to 1; tells how the claim stands."""
        changed = self._changed(claim, progress=progress).returning(self.rows.cancel_requested)
        with self.database.writing() as session:
            return _standing(session.scalar(changed))

    def fail(self, claim: C, error: Mapping[str, str]) -> bool:
        """Running -> failed with `type`, `message` and `hint`; False where the claim is lost."""
        return self._finish(claim, "failed", error=dict(error), **self.undone)

    def cancel(self, claim: C) -> bool:
        """Running -> cancelled; False where the claim is lost."""
        return self._finish(claim, "cancelled", **self.undone)

    def retry(self, claim: C) -> bool:
        """Running -> queued for later after a passing fault; False where the claim is lost or had its last attempt."""
        if claim.attempts >= self.settings.max_attempts:
            return False
        wait = timedelta(seconds=self.settings.retry_seconds * 2 ** (claim.attempts - 1))
        return self._note(claim, "retried", status="queued", progress=0.0, not_before=now() + wait, lease_until=None)

    def hand_back(self, claim: C) -> bool:
        """Running -> queued, as if it had not been begun: the worker stops; False where the claim is lost."""
        values: dict[str, Any] = {"status": "queued", "progress": 0.0, "lease_until": None}
        values["attempts"] = claim.attempts - 1
        return self._note(claim, "handed_back", **values)

    def release_expired(self) -> int:
        """Queue again what workers that fell silent had begun, or give it up; how many."""
        return self._release(or_(self.rows.lease_until.is_(None), self.rows.lease_until < now()))

    def release_all(self) -> int:
        """The same for everything that runs, for a process that knows itself alone with the database."""
        return self._release(self.rows.worker.is_distinct_from(self.worker))

    def fail_overdue(self) -> int:
        """Fail what has run for longer than the time limit and did not stop by itself; how many."""
        limit = timedelta(seconds=self.settings.time_limit_seconds + _GRACE_SECONDS)
        error = {
            "type": "AnalysisTimedOut",
            "message": f"the analysis took longer than {self.settings.time_limit_seconds:g} s and did not stop",
            "hint": "export the picture smaller, or raise OSTEON_TIME_LIMIT_SECONDS",
        }
        with self.database.writing() as session:
            overdue = list(session.scalars(self._running(self.rows.started_at < now() - limit)))
            for row in overdue:
                self._end(session, row, "failed", error=error, **self.undone)
            return len(overdue)

    def _take(self, which: ColumnElement[bool]) -> C | None:
        moment = now()
        taken = (
            update(self.rows)
            .where(which, self._due())
            .values(
                status="running",
                attempts=self.rows.attempts + 1,
                progress=0.0,
                worker=self.worker,
                started_at=moment,
                changed_at=moment,
                lease_until=self._lease_end(),
            )
            .returning(self.rows)
            .execution_options(synchronize_session=False)
        )
        with self.database.writing() as session:
            row = session.scalar(taken)
            if row is None:
                return None
            self._trail(session, row, "begun")
            return self.claimed(row)

    def _finish(self, claim: C, status: Status, **values: Any) -> bool:
        return self._note(claim, status, **values | self._ended(status))

    def _note(
        self,
        claim: C,
        action: str,
        *where: ColumnElement[bool],
        first: Callable[[Session], object] = lambda _: None,
        also: Callable[[Session], object] = lambda _: None,
        **values: Any,
    ) -> bool:
        """`first` begins the transaction; `also` is done in it, too, where the claim is still ours."""
        with self.database.writing() as session:
            first(session)
            changed = self._changed(claim, **values).where(*where).returning(self.rows.id)
            noted = session.scalar(changed) is not None
            if noted:
                self._trail(session, claim, action)
                also(session)
            return noted

    def _trail(self, session: Session, of: Claim | Claimable, action: str) -> None:
        session.add(trail(of.id, of.owner, self.what + action, self.worker))

    def _changed(self, claim: C, **values: Any) -> Update:
        changed = update(self.rows).where(*self._fence(claim)).values(**values | {"changed_at": now()})
        return changed.execution_options(synchronize_session=False)

    def _fence(self, claim: C) -> tuple[ColumnElement[bool], ...]:
        """Only the claim itself, not a later one of the same analysis."""
        return (
            self.rows.id == claim.id,
            self.rows.status == "running",
            self.rows.worker == claim.worker,
            self.rows.attempts == claim.attempts,
        )

    def _release(self, which: ColumnElement[bool]) -> int:
        with self.database.writing() as session:
            rows = list(session.scalars(self._running(which)))
            for row in rows:
                if row.cancel_requested:
                    self._end(session, row, "cancelled", **self.undone)
                elif row.attempts >= self.settings.max_attempts:
                    self._end(session, row, "failed", error=self._given_up(), **self.undone)
                else:
                    self._requeue(session, row)
            return len(rows)

    def _requeue(self, session: Session, row: Claimable) -> None:
        """At once the first time; then later and later, not all together: one of them may be what ends processes."""
        row.status, row.progress, row.lease_until, row.changed_at = "queued", 0.0, None, now()
        if row.attempts > 1:
            most = self.settings.retry_seconds * 2 ** (row.attempts - 1)
            row.not_before = now() + timedelta(seconds=random.uniform(0, most))
        session.add(trail(row.id, row.owner, self.what + "interrupted", row.worker or ""))

    def _given_up(self) -> dict[str, str]:
        return {
            "type": "Interrupted",
            "message": f"the analysis was interrupted {self.settings.max_attempts} times",
            "hint": "the file may be harmful to a decoder; export it in another format",
        }

    def _end(self, session: Session, row: Claimable, status: Status, **values: Any) -> None:
        for name, value in (values | self._ended(status) | {"changed_at": now()}).items():
            setattr(row, name, value)
        self._trail(session, row, status)

    def _ended(self, status: Status) -> dict[str, Any]:
        return {"status": status, "finished_at": now(), "lease_until": None}

    def _lease_end(self) -> datetime:
        return now() + timedelta(seconds=self.settings.lease_seconds)

    def _due(self) -> ColumnElement[bool]:
        waited = or_(self.rows.not_before.is_(None), self.rows.not_before <= now())
        return and_(self.rows.status == "queued", waited)

    def _running(self, which: ColumnElement[bool]) -> Select[Any]:
        """Running rows, locked; those that another process sees to at the same time are left to it."""
        return select(self.rows).where(self.rows.status == "running", which).with_for_update(skip_locked=True)


@dataclass(frozen=True)
class Claims(Claiming[Analysis]):
    """Claims analyses."""

    rows = AnalysisRow
    undone = MappingProxyType({"content_key": None})

    def claimed(self, row: AnalysisRow) -> Analysis:
        """The analysis of a row."""
        return Analysis.of(row)

    def succeed(self, claim: Analysis, pages: Sequence[Mapping[str, Any]]) -> bool:
        """Running -> succeeded with the findings of each page; False where the claim is lost or shall be cancelled.

        Where its bones were asked for meanwhile, they wait from now on.
        """

        def bones(session: Session) -> None:
            if session.scalar(select(AnalysisRow.bones_wanted).where(AnalysisRow.id == claim.id)):
                session.add(BonesRow(id=claim.id, owner=claim.owner, status="queued"))

        wanted = AnalysisRow.cancel_requested.is_(False)
        values: dict[str, Any] = {"progress": 1.0, "pages": list(pages), "decision": gravest(pages)}
        return self._note(claim, "succeeded", wanted, also=bones, **values | self._ended("succeeded"))

    def _ended(self, status: Status) -> dict[str, Any]:
        days = self.settings.retention_days
        removal_at = now() + timedelta(days=days) if days else None
        return super()._ended(status) | {"removal_at": removal_at}


def _standing(cancel_requested: bool | None) -> Standing:
    if cancel_requested is None:
        return "lost"
    return "cancelled" if cancel_requested else "held"
