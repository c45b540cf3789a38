"""Work that is claimed and done once, whatever the file holds: analyses (`jobs`), bones of one (`bone_jobs`)."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, Protocol

from sqlalchemy.exc import SQLAlchemyError

from osteon.errors import AnalysisTimedOut, OsteonError
from osteon.inference.pipeline import Pipeline
from osteon.service import logs
from osteon.service.claims import C, Claiming, Standing
from osteon.service.intake import Reading
from osteon.service.metrics import Metrics
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore
from osteon.service.tables import now

logger = logging.getLogger(__name__)

PASSING = (OSError, MemoryError, SQLAlchemyError)
"""Faults of the moment (disk, network, database, memory): the same file may well succeed later."""

Turn = Callable[[], None]
"""Something that was claimed: the call does it."""


class Doer(Protocol):
    """What a runner runs."""

    @property
    def settings(self) -> Settings:
        """Of the process."""

    def begin(self, analysis_id: str) -> Turn | None:
        """Claim what waits under this id; None where nothing does, or not yet."""

    def begin_next(self) -> Turn | None:
        """Claim what has waited for longest; None where nothing is due."""

    def due(self, *, limit: int) -> list[str]:
        """Ids of what waits and may begin now."""

    def stop(self) -> None:
        """Have what runs handed back at the next point where it can."""

    def heartbeat(self) -> None:
        """Tell the database that what this process has claimed is being worked on."""


class _Stopped(Exception):
    """The process is about to end."""


class _Cancelled(Exception):
    """Somebody cancelled the analysis."""


class _Lost(Exception):
    """The analysis was removed, or another worker has it now."""


class Work(Generic[C]):
    """Does one claimed thing at a time for each thread that calls it; what there is to do stands in `done`."""

    of: str
    """Whose end is told in the log."""

    def __init__(
        self,
        store: AnalysisStore,
        claims: Claiming[C],
        pipeline: Pipeline,
        metrics: Metrics,
        reading: Reading,
        *,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Work of one process; `ended` is told whenever something ended."""
        self._tell_ended = ended
        self._claiming = claims
        self._store = store
        self._pipeline = pipeline
        self._metrics = metrics
        self._reading = reading
        self._stopping = threading.Event()
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def done(self, claim: C) -> bool:
        """Do it and note the result; False where the claim is lost or shall be cancelled."""
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """Of the process."""
        return self._claiming.settings

    def begin(self, analysis_id: str) -> Turn | None:
        """Claim what waits under this id; None where nothing does, or not yet, or this is about to stop."""
        claim = None if self._stopping.is_set() else self._claiming.take(analysis_id)
        return partial(self, claim) if claim else None

    def begin_next(self) -> Turn | None:
        """Claim what has waited for longest; None where nothing is due, or this is about to stop."""
        claim = None if self._stopping.is_set() else self._claiming.take_next()
        return partial(self, claim) if claim else None

    def due(self, *, limit: int) -> list[str]:
        """Ids of what waits and may begin now, oldest first."""
        return self._claiming.due(limit=limit)

    def __call__(self, claim: C) -> None:
        """Do it, whatever the file holds.

        Raises:
            SQLAlchemyError: the database cannot be told what became of it; its lease ends then, and it is done again.
        """
        with self._holding(claim):
            try:
                noted = self.done(claim)
                if not noted and self._claiming.standing(claim) == "cancelled":
                    raise _Cancelled
                self._ended(claim, noted, "succeeded")
            except _Stopped:
                if not self._claiming.hand_back(claim):
                    self._store.sweep(claim.id)  # removed meanwhile
            except _Cancelled:
                self._ended(claim, self._claiming.cancel(claim), "cancelled")
            except _Lost:
                self._store.sweep(claim.id)
            except OsteonError as error:
                self._fail(claim, error)
            except PASSING as error:
                self._retry(claim, error)
            except Exception as error:  # noqa: BLE001 - the edge: one file must not end the worker
                logger.error(
                    "%s %s failed: %s at %s", self.of, claim.id, type(error).__name__, logs.place(error.__traceback__)
                )
                self._fail(claim, OsteonError("the analysis failed inside Osteon", hint="report it with its id"))

    def stop(self) -> None:
        """Have what runs handed back at the next point where it can."""
        self._stopping.set()

    def heartbeat(self) -> None:
        """Tell the database that what this process has claimed is being worked on."""
        with self._lock:
            held = list(self._held)
        if held:
            self._claiming.extend(held)

    @contextmanager
    def _holding(self, claim: C) -> Iterator[None]:
        with self._lock:
            self._held[claim.id] = self._held.get(claim.id, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._held[claim.id] -= 1
                if not self._held[claim.id]:
                    del self._held[claim.id]

    def go_on(self, standing: Standing, until: float) -> None:
        """Raises where the work shall end here."""
        if standing == "lost":
            raise _Lost
        if standing == "cancelled":
            raise _Cancelled
        if self._stopping.is_set():
            raise _Stopped
        if time.monotonic() > until:
            limit = self._claiming.settings.time_limit_seconds
            raise AnalysisTimedOut(
                f"the analysis took longer than {limit:g} s",
                hint="export fewer or smaller pages, or raise OSTEON_TIME_LIMIT_SECONDS",
            )

    def _retry(self, claim: C, error: BaseException) -> None:
        logger.warning(
            "%s %s interrupted: %s at %s", self.of, claim.id, type(error).__name__, logs.place(error.__traceback__)
        )
        if self._claiming.retry(claim):
            self._metrics.retried()
        else:
            hint = "look at disk, memory and database of the server; then send the file again"
            self._fail(claim, OsteonError(f"the analysis failed {claim.attempts} times for want of means", hint=hint))

    def _fail(self, claim: C, error: OsteonError) -> None:
        told = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        noted = self._claiming.fail(claim, told)
        self._ended(claim, noted, "failed")

    def _ended(self, claim: C, noted: bool, status: str) -> None:
        """Count a result that was noted; where the analysis was removed meanwhile, remove what was written since."""
        if noted:
            self.count(status)
            seconds = round((now() - (claim.started_at or claim.created_at)).total_seconds(), 3)
            logs.event(logger, f"{self.of} ended", analysis=claim.id, status=status, seconds=seconds)
        else:
            self._store.sweep(claim.id)
        self._tell_ended()

    def count(self, status: str) -> None:
        """Count something that ended."""


class Several:
    """Several kinds of work as one: the first kinds come first."""

    def __init__(self, *works: Doer) -> None:
        self._works = works

    @property
    def settings(self) -> Settings:
        """Of the process."""
        return self._works[0].settings

    def begin(self, analysis_id: str) -> Turn | None:
        """Claim what waits under this id; None where nothing does, or not yet."""
        return _first(partial(work.begin, analysis_id) for work in self._works)

    def begin_next(self) -> Turn | None:
        """Claim what has waited for longest of the first kind of which anything is due; None where nothing is."""
        return _first(work.begin_next for work in self._works)

    def due(self, *, limit: int) -> list[str]:
        """Ids of what waits and may begin now."""
        return [one for work in self._works for one in work.due(limit=limit)]

    def stop(self) -> None:
        """Have what runs handed back at the next point where it can."""
        for work in self._works:
            work.stop()

    def heartbeat(self) -> None:
        """Tell the database that what this process has claimed is being worked on."""
        for work in self._works:
            work.heartbeat()


def _first(asked: Iterable[Callable[[], Turn | None]]) -> Turn | None:
    return next((turn for ask in asked if (turn := ask())), None)
