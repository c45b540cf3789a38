"""The bones of an analysis, asked for: how that stands, and who works on it. They are found by a worker, once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from osteon.errors import BonesImpossible, BonesNotFound, TooManyWaiting
from osteon.service.admission import trail
from osteon.service.claims import Claiming
from osteon.service.database import Database
from osteon.service.store import FINISHED, Progress, Status, gravest, not_found
from osteon.service.tables import AnalysisRow, BonesRow, now


@dataclass(frozen=True)
class BonesTask:
    """Bones that were asked for, as that stands.

    Attributes:
        id: of the analysis.
        owner: whose analysis it is.
        status: queued (perhaps until the analysis succeeded), running, succeeded, failed.
        progress: 0 to 1.
        attempts: how often it was begun.
        error: `type`, `message` and `hint` of what went wrong, or None.
        worker: who works on it, or worked last.
        created_at: when they were asked for (UTC).
        started_at: when it was last begun (UTC), or None.
    """

    id: str
    owner: str
    status: Status
    progress: float
    attempts: int
    error: Mapping[str, str] | None
    worker: str | None
    created_at: datetime
    started_at: datetime | None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen unless somebody asks again."""
        return self.status in FINISHED

    @classmethod
    def of(cls, row: BonesRow) -> Self:
        """The value of a row."""
        return cls(**{name: getattr(row, name) for name in cls.__dataclass_fields__})

    @classmethod
    def waiting(cls, row: AnalysisRow) -> Self:
        """Of an analysis that has not succeeded yet."""
        return cls(row.id, row.owner, "queued", 0.0, 0, None, None, row.created_at, None)


@dataclass(frozen=True)
class BonesTasks:
    """What was asked for, in SQL. Where a method takes `owner`, None means anybody's."""

    database: Database

    def check_queue(self, *, queue_limit: int) -> None:
        """Raises TooManyWaiting where no more may wait."""
        with self.database.reading() as session:
            _check_queue(session, queue_limit)

    def ask(
        self,
        analysis_id: str,
        *,
        queue_limit: int | None,
        owner: str | None = None,
        again: bool = False,
        actor: str = "",
    ) -> BonesTask:
        """Have the bones of an analysis found; what was found before stays, unless `again`; a failure is tried again.

        Args:
            queue_limit: most that may wait; None: it was looked at before.
            actor: who asks.

        Raises:
            AnalysisNotFound: there is none, or it is somebody else's.
            BonesImpossible: the analysis failed or was cancelled.
            TooManyWaiting: more would wait than the limit allows.
        """
        with self.database.writing(durable=True) as session:
            analysis = _analysis(session, analysis_id, owner, lock=True)
            if analysis.status in ("failed", "cancelled"):
                raise _impossible(analysis)
            if analysis.status != "succeeded":
                if not analysis.bones_wanted:
                    analysis.bones_wanted = True
                    session.add(trail(analysis_id, analysis.owner, "bones_asked", actor))
                return BonesTask.waiting(analysis)
            row = session.scalar(select(BonesRow).where(BonesRow.id == analysis_id))
            if row and not (again and row.status in FINISHED) and row.status != "failed":
                return BonesTask.of(row)
            if queue_limit is not None:
                _check_queue(session, queue_limit)
            if row:
                session.delete(row)
                session.flush()
            made = BonesRow(id=analysis_id, owner=analysis.owner, status="queued", progress=0.0, attempts=0)
            session.add_all((made, trail(analysis_id, analysis.owner, "bones_asked", actor)))
            session.flush()
            return BonesTask.of(made)

    def find(self, analysis_id: str, *, owner: str | None = None) -> BonesTask:
        """How it stands.

        Raises:
            AnalysisNotFound: there is none, or it is somebody else's.
            BonesImpossible: the analysis failed or was cancelled.
            BonesNotFound: nobody asked.
        """
        with self.database.reading() as session:
            analysis = _analysis(session, analysis_id, owner)
            row = session.scalar(select(BonesRow).where(BonesRow.id == analysis_id))
            if row:
                return BonesTask.of(row)
            if analysis.status in ("failed", "cancelled"):
                raise _impossible(analysis)
            if analysis.bones_wanted and analysis.status != "succeeded":
                return BonesTask.waiting(analysis)
        raise BonesNotFound(
            "nobody asked for the bones of this analysis", hint="ask with POST at the same address, then come again"
        )

    def progress(self, analysis_ids: Collection[str]) -> dict[str, Progress]:
        """How far these have come; analyses that were removed are left out. One that failed has no bones: finished."""
        query = (
            select(AnalysisRow.id, AnalysisRow.status.label("whole"), BonesRow.status, BonesRow.progress)
            .outerjoin(BonesRow, BonesRow.id == AnalysisRow.id)
            .where(AnalysisRow.id.in_(analysis_ids))
        )
        found = {}
        with self.database.reading() as session:
            for row in session.execute(query):
                status: Status = row.status or (row.whole if row.whole in ("failed", "cancelled") else "queued")
                found[row.id] = Progress(status, row.progress or 0.0)
        return found


@dataclass(frozen=True)
class BonesClaims(Claiming[BonesTask]):
    """Claims bones that were asked for."""

    rows = BonesRow
    what = "bones_"

    def claimed(self, row: BonesRow) -> BonesTask:
        """The value of a row."""
        return BonesTask.of(row)

    def succeed(self, claim: BonesTask, pages: Sequence[Mapping[str, Any]]) -> bool:
        """Running -> succeeded; the findings of the analysis say from now on where on which bone each fracture lies.

        Returns:
            False where the claim is lost, or the analysis was removed.
        """

        def lock(session: Session) -> None:  # the analysis before its bones, as all do: nobody waits crosswise
            session.execute(select(AnalysisRow.number).where(AnalysisRow.id == claim.id).with_for_update())

        def tell(session: Session) -> None:
            values = {"pages": list(pages), "decision": gravest(pages), "changed_at": now()}
            session.execute(update(AnalysisRow).where(AnalysisRow.id == claim.id).values(**values))

        values: dict[str, Any] = {"progress": 1.0, "error": None}
        return self._note(claim, "succeeded", first=lock, also=tell, **values | self._ended("succeeded"))

    def _fence(self, claim: BonesTask) -> tuple[ColumnElement[bool], ...]:
        """Whoever asks again after a failure makes a row that counts attempts anew; the one of before is lost."""
        return *super()._fence(claim), BonesRow.created_at == claim.created_at


def _analysis(session: Session, analysis_id: str, owner: str | None, *, lock: bool = False) -> AnalysisRow:
    query = select(AnalysisRow).where(AnalysisRow.id == analysis_id)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None or owner not in (None, row.owner):
        raise not_found()
    return row


def _impossible(analysis: AnalysisRow) -> BonesImpossible:
    return BonesImpossible(
        f"the analysis {'failed' if analysis.status == 'failed' else 'was cancelled'}, so no bones can be looked for",
        hint="send the file again",
    )


def _check_queue(session: Session, queue_limit: int) -> None:
    waiting = session.scalar(select(func.count()).where(BonesRow.status == "queued")) or 0
    if waiting >= queue_limit:
        raise TooManyWaiting(f"the bones of {waiting} analyses wait, at most {queue_limit} may", hint="ask again soon")
