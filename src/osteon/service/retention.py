"""What is put in order from time to time: dead workers' claims, analyses whose time is over, files without a row."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, or_, select

from osteon.errors import AnalysisNotFound
from osteon.service.claims import Claiming
from osteon.service.runners import LOOK_SECONDS, Periodic
from osteon.service.store import FINISHED, AnalysisStore
from osteon.service.tables import AnalysisRow, UploadRow, now

ORPHAN_AGE = timedelta(hours=1)
"""Files without a row may belong to an upload that is being taken in; after this time they do not."""

SWEEP_SECONDS = 60.0
_AT_A_TIME = 200


def release(*claims: Claiming[Any]) -> None:
    """Queue again what dead workers had begun, and fail what runs beyond all limits."""
    for one in claims:
        one.release_expired()
        one.fail_overdue()


def remove_expired(store: AnalysisStore, *, days: float) -> int:
    """Remove finished analyses whose time is over; how many.

    Args:
        days: kept after the end, for those that were not told at their end when to go; 0: kept.
    """
    over = AnalysisRow.removal_at <= now()
    if days:
        untold = and_(AnalysisRow.removal_at.is_(None), AnalysisRow.finished_at <= now() - timedelta(days=days))
        over = or_(over, untold)
    query = select(AnalysisRow.id).where(AnalysisRow.status.in_(FINISHED), over).limit(_AT_A_TIME)
    with store.database.reading() as session:
        expired = list(session.scalars(query))
    for analysis_id in expired:
        with suppress(AnalysisNotFound):  # another process was quicker
            store.remove(analysis_id, actor="retention")
    return len(expired)


def remove_orphans(store: AnalysisStore, *, age: timedelta = ORPHAN_AGE) -> int:
    """Remove files without a row that nobody has written to for a while; how many analyses' worth."""
    found = store.files.ids(until=now() - age)
    with store.database.reading() as session:
        known: set[str] = set()
        for start in range(0, len(found), _AT_A_TIME):
            some = found[start : start + _AT_A_TIME]
            known |= set(session.scalars(select(AnalysisRow.id).where(AnalysisRow.id.in_(some))))
            known |= set(session.scalars(select(UploadRow.id).where(UploadRow.id.in_(some))))
    orphans = [analysis_id for analysis_id in found if analysis_id not in known]
    for analysis_id in orphans:
        store.files.remove(analysis_id)
    return len(orphans)


class Upkeep:
    """Keeps a store in order in the background."""

    def __init__(self, store: AnalysisStore, *claims: Claiming[Any], also: Sequence[Callable[[], object]] = ()) -> None:
        """`also`: what else is to be done each minute."""
        days = claims[0].settings.retention_days

        def sweep() -> None:
            remove_expired(store, days=days)
            for step in also:
                step()

        self._turns = (
            Periodic(lambda: release(*claims), seconds=LOOK_SECONDS, name="release"),
            Periodic(sweep, seconds=SWEEP_SECONDS, name="sweep"),
            Periodic(lambda: remove_orphans(store), seconds=ORPHAN_AGE.total_seconds() / 4, name="orphans"),
        )

    def start(self) -> None:
        """Begin."""
        for turn in self._turns:
            turn.start()

    def stop(self) -> None:
        """End."""
        for turn in self._turns:
            turn.stop()
