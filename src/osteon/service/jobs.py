"""What is done with one claimed analysis: its pages are analysed, and the result, or what went wrong, is noted."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from osteon.errors import AnalysisTimedOut, OsteonError
from osteon.inference.analysis import failure
from osteon.inference.pipeline import Pipeline
from osteon.service import logs, pictures
from osteon.service.claims import Claims, Standing
from osteon.service.intake import Reading
from osteon.service.metrics import Metrics
from osteon.service.store import Analysis, AnalysisStore
from osteon.service.tables import now

logger = logging.getLogger(__name__)

PASSING = (OSError, MemoryError, SQLAlchemyError)
"""Faults of the moment (disk, network, database, memory): the same file may well succeed later."""

_READ = 0.1
"""Progress once the first page is decoded."""
_NEWS_SECONDS = 0.25
"""A claim may be lost or cancelled after so long."""


class _Stopped(Exception):
    """The process is about to end."""


class _Cancelled(Exception):
    """Somebody cancelled the analysis."""


class _Lost(Exception):
    """The analysis was removed, or another worker has it now."""


class Job:
    """Does one claimed analysis at a time for each thread that calls it."""

    def __init__(
        self,
        store: AnalysisStore,
        claims: Claims,
        pipeline: Pipeline,
        metrics: Metrics,
        reading: Reading,
        *,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """A job of one process; `ended` is told whenever an analysis ended."""
        self._tell_ended = ended
        self.claims = claims
        self._store = store
        self._pipeline = pipeline
        self._metrics = metrics
        self._reading = reading
        self._stopping = threading.Event()
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, claim: Analysis) -> None:
        """Do it, whatever the file holds.

        Raises:
            SQLAlchemyError: the database cannot be told what became of it; its lease ends then, and it is done again.
        """
        with self._holding(claim):
            try:
                noted = self.claims.succeed(claim, self._pages(claim))
                if not noted and self.claims.standing(claim) == "cancelled":
                    raise _Cancelled
                self._ended(claim, noted, "succeeded")
            except _Stopped:
                if not self.claims.hand_back(claim):
                    self._store.sweep(claim.id)  # removed meanwhile
            except _Cancelled:
                self._ended(claim, self.claims.cancel(claim), "cancelled")
            except _Lost:
                self._store.sweep(claim.id)
            except OsteonError as error:
                self._fail(claim, error)
            except PASSING as error:
                self._retry(claim, error)
            except Exception as error:  # noqa: BLE001 - the edge: one file must not end the worker
                logger.error(
                    "analysis %s failed: %s at %s", claim.id, type(error).__name__, logs.place(error.__traceback__)
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
            self.claims.extend(held)

    @contextmanager
    def _holding(self, claim: Analysis) -> Iterator[None]:
        with self._lock:
            self._held[claim.id] = self._held.get(claim.id, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._held[claim.id] -= 1
                if not self._held[claim.id]:
                    del self._held[claim.id]

    def _pages(self, claim: Analysis) -> list[dict[str, object]]:
        started = time.monotonic()
        until = started + self.claims.settings.time_limit_seconds
        found: list[dict[str, object]] = []
        with self._reading.decoded(self._store.files, claim) as file:
            for page in file.pages:
                if found or time.monotonic() - started > _NEWS_SECONDS:  # a claim of just now is held
                    self._go_on(self.claims.advance(claim, 1 - (1 - _READ) / (len(found) + 1)), until)
                findings = self._pipeline.analyse(page.radiograph(), read_ms=page.read_ms)
                pictures.save(self._store.files, claim.id, file, page, findings.bone)
                self._metrics.analysed(findings)
                found.append(findings.to_json())
        self._go_on("held", until)
        return found

    def _go_on(self, standing: Standing, until: float) -> None:
        """Raises where the work shall end here."""
        if standing == "lost":
            raise _Lost
        if standing == "cancelled":
            raise _Cancelled
        if self._stopping.is_set():
            raise _Stopped
        if time.monotonic() > until:
            limit = self.claims.settings.time_limit_seconds
            raise AnalysisTimedOut(
                f"the analysis took longer than {limit:g} s",
                hint="export fewer or smaller pages, or raise OSTEON_TIME_LIMIT_SECONDS",
            )

    def _retry(self, claim: Analysis, error: BaseException) -> None:
        logger.warning(
            "analysis %s interrupted: %s at %s", claim.id, type(error).__name__, logs.place(error.__traceback__)
        )
        if self.claims.retry(claim):
            self._metrics.retried()
        else:
            hint = "look at disk, memory and database of the server; then send the file again"
            self._fail(claim, OsteonError(f"the analysis failed {claim.attempts} times for want of means", hint=hint))

    def _fail(self, claim: Analysis, error: OsteonError) -> None:
        row = failure(claim.name, error).to_json()
        noted = self.claims.fail(claim, {key: row[key] for key in ("type", "message", "hint")})
        self._ended(claim, noted, "failed")

    def _ended(self, claim: Analysis, noted: bool, status: str) -> None:
        """Count a result that was noted; where the analysis was removed meanwhile, remove what was written since."""
        if noted:
            self._metrics.finished(status)
            seconds = round((now() - (claim.started_at or claim.created_at)).total_seconds(), 3)
            logs.event(logger, "analysis ended", analysis=claim.id, status=status, seconds=seconds)
        else:
            self._store.sweep(claim.id)
        self._tell_ended()
