"""Who works on what: analyses are claimed under a lease, and finished by whoever holds the claim, so none twice."""

import os
import random
import secrets
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, Update, and_, or_, select, update
from sqlalchemy.orm import Session

from osteon.service.admission import trail
from osteon.service.database import Database
from osteon.service.settings import Settings
from osteon.service.store import Analysis, Status, gravest
from osteon.service.tables import AnalysisRow, now

Standing = Literal["held", "cancelled", "lost"]
"""Of a claim: still ours; cancelled by somebody; lost (removed, or taken for dead and given to another)."""

_GRACE_SECONDS = 10.0
"""Beyond the time limit until an analysis is failed from outside, where its worker did not see to that itself."""
_OLDEST_FIRST = AnalysisRow.number


def worker_name() -> str:
    """A name for this process that no other ever had."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Claims:
    """Takes queued analyses for one worker process and notes what becomes of them.

    A claim is the analysis as `take` gave it: its worker and attempt fence everything that is noted later.
    """

    database: Database
    settings: Settings
    worker: str

    def take(self, analysis_id: str) -> Analysis | None:
        """Queued -> running, for one worker only; None where it is not queued (any more), or not yet due."""
        return self._take(AnalysisRow.id == analysis_id)

    def take_next(self) -> Analysis | None:
        """The oldest analysis that is due, queued -> running; None where nothing is."""
        oldest = select(AnalysisRow.number).where(_due()).order_by(_OLDEST_FIRST).limit(1)
        return self._take(AnalysisRow.number == oldest.with_for_update(skip_locked=True).scalar_subquery())

    def due(self, *, limit: int) -> list[str]:
        """Ids of what waits and may begin now, oldest first."""
        with self.database.reading() as session:
            return list(session.scalars(select(AnalysisRow.id).where(_due()).order_by(_OLDEST_FIRST).limit(limit)))

    def extend(self, analysis_ids: Collection[str]) -> None:
        """The leases of these run on: the worker lives and works on them."""
        held = AnalysisRow.id.in_(analysis_ids), AnalysisRow.status == "running", AnalysisRow.worker == self.worker
        with self.database.writing() as session:
            session.execute(update(AnalysisRow).where(*held).values(lease_until=self._lease_end()))

    def standing(self, claim: Analysis) -> Standing:
        """How a claim stands."""
        with self.database.reading() as session:
            return _standing(session.scalar(select(AnalysisRow.cancel_requested).where(*self._fence(claim))))

    def advance(self, claim: Analysis, progress: float) -> Standing:
        """Note how far the work has come, 0 to 1; tells how the claim stands."""
        changed = self._changed(claim, progress=progress).returning(AnalysisRow.cancel_requested)
        with self.database.writing() as session:
            return _standing(session.scalar(changed))

    def succeed(self, claim: Analysis, pages: Sequence[Mapping[str, Any]]) -> bool:
        """Running -> succeeded with the findings of each page; False where the claim is lost or shall be cancelled."""
        wanted = AnalysisRow.cancel_requested.is_(False)
        values = {"progress": 1.0, "pages": list(pages), "decision": gravest(pages)}
        return self._note(claim, "succeeded", wanted, **values | self._ended("succeeded"))

    def fail(self, claim: Analysis, error: Mapping[str, str]) -> bool:
        """Running -> failed with `type`, `message` and `hint`; False where the claim is lost."""
        return self._finish(claim, "failed", error=dict(error), content_key=None)

    def cancel(self, claim: Analysis) -> bool:
        """Running -> cancelled; False where the claim is lost."""
        return self._finish(claim, "cancelled", content_key=None)

    def retry(self, claim: Analysis) -> bool:
        """Running -> queued for later after a passing fault; False where the claim is lost or had its last attempt."""
        if claim.attempts >= self.settings.max_attempts:
            return False
        wait = timedelta(seconds=self.settings.retry_seconds * 2 ** (claim.attempts - 1))
        return self._note(claim, "retried", status="queued", progress=0.0, not_before=now() + wait, lease_until=None)

    def hand_back(self, claim: Analysis) -> bool:
        """Running -> queued, as if it had not been begun: the worker stops; False where the claim is lost."""
        values = {"status": "queued", "progress": 0.0, "attempts": claim.attempts - 1, "lease_until": None}
        return self._note(claim, "handed_back", **values)

    def release_expired(self) -> int:
        """Queue again what workers that fell silent had begun, or give it up; how many."""
        return self._release(or_(AnalysisRow.lease_until.is_(None), AnalysisRow.lease_until < now()))

    def release_all(self) -> int:
        """The same for everything that runs, for a process that knows itself alone with the database."""
        return self._release(AnalysisRow.worker.is_distinct_from(self.worker))

    def fail_overdue(self) -> int:
        """Fail what has run for longer than the time limit and did not stop by itself; how many."""
        limit = timedelta(seconds=self.settings.time_limit_seconds + _GRACE_SECONDS)
        error = {
            "type": "AnalysisTimedOut",
            "message": f"the analysis took longer than {self.settings.time_limit_seconds:g} s and did not stop",
            "hint": "export the picture smaller, or raise OSTEON_TIME_LIMIT_SECONDS",
        }
        with self.database.writing() as session:
            overdue = list(session.scalars(_running(AnalysisRow.started_at < now() - limit)))
            for row in overdue:
                self._end(session, row, "failed", error=error, content_key=None)
            return len(overdue)

    def _take(self, which: ColumnElement[bool]) -> Analysis | None:
        moment = now()
        taken = (
            update(AnalysisRow)
            .where(which, _due())
            .values(
                status="running",
                attempts=AnalysisRow.attempts + 1,
                progress=0.0,
                worker=self.worker,
                started_at=moment,
                changed_at=moment,
                lease_until=self._lease_end(),
            )
            .returning(AnalysisRow)
            .execution_options(synchronize_session=False)
        )
        with self.database.writing() as session:
            row = session.scalar(taken)
            if row is None:
                return None
            session.add(trail(row.id, row.owner, "begun", self.worker))
            return Analysis.of(row)

    def _finish(self, claim: Analysis, status: Status, **values: Any) -> bool:
        return self._note(claim, status, **values | self._ended(status))

    def _note(self, claim: Analysis, action: str, *where: ColumnElement[bool], **values: Any) -> bool:
        with self.database.writing() as session:
            changed = self._changed(claim, **values).where(*where).returning(AnalysisRow.id)
            noted = session.scalar(changed) is not None
            if noted:
                session.add(trail(claim.id, claim.owner, action, self.worker))
            return noted

    def _changed(self, claim: Analysis, **values: Any) -> Update:
        changed = update(AnalysisRow).where(*self._fence(claim)).values(**values | {"changed_at": now()})
        return changed.execution_options(synchronize_session=False)

    def _fence(self, claim: Analysis) -> tuple[ColumnElement[bool], ...]:
        """Only the claim itself, not a later one of the same analysis."""
        return (
            AnalysisRow.id == claim.id,
            AnalysisRow.status == "running",
            AnalysisRow.worker == claim.worker,
            AnalysisRow.attempts == claim.attempts,
        )

    def _release(self, which: ColumnElement[bool]) -> int:
        with self.database.writing() as session:
            rows = list(session.scalars(_running(which)))
            for row in rows:
                if row.cancel_requested:
                    self._end(session, row, "cancelled", content_key=None)
                elif row.attempts >= self.settings.max_attempts:
                    self._end(session, row, "failed", error=self._given_up(), content_key=None)
                else:
                    self._requeue(session, row)
            return len(rows)

    def _requeue(self, session: Session, row: AnalysisRow) -> None:
        """At once the first time; then later and later, not all together: one of them may be what ends processes."""
        row.status, row.progress, row.lease_until, row.changed_at = "queued", 0.0, None, now()
        if row.attempts > 1:
            most = self.settings.retry_seconds * 2 ** (row.attempts - 1)
            row.not_before = now() + timedelta(seconds=random.uniform(0, most))
        session.add(trail(row.id, row.owner, "interrupted", row.worker or ""))

    def _given_up(self) -> dict[str, str]:
        return {
            "type": "Interrupted",
            "message": f"the analysis was interrupted {self.settings.max_attempts} times",
            "hint": "the file may be harmful to a decoder; export it in another format",
        }

    def _end(self, session: Session, row: AnalysisRow, status: Status, **values: Any) -> None:
        for name, value in (values | self._ended(status) | {"changed_at": now()}).items():
            setattr(row, name, value)
        session.add(trail(row.id, row.owner, status, self.worker))

    def _ended(self, status: Status) -> dict[str, Any]:
        moment = now()
        days = self.settings.retention_days
        removal_at = moment + timedelta(days=days) if days else None
        return {"status": status, "finished_at": moment, "removal_at": removal_at, "lease_until": None}

    def _lease_end(self) -> datetime:
        return now() + timedelta(seconds=self.settings.lease_seconds)


def _due() -> ColumnElement[bool]:
    waited = or_(AnalysisRow.not_before.is_(None), AnalysisRow.not_before <= now())
    return and_(AnalysisRow.status == "queued", waited)


def _running(which: ColumnElement[bool]) -> Select[AnalysisRow]:
    """Running rows, locked; those that another process sees to at the same time are left to it."""
    return select(AnalysisRow).where(AnalysisRow.status == "running", which).with_for_update(skip_locked=True)


def _standing(cancel_requested: bool | None) -> Standing:
    if cancel_requested is None:
        return "lost"
    return "cancelled" if cancel_requested else "held"
