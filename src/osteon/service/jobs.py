"""Queued analyses are done here: what one job does, and who runs it.

A runner is a small seam: it is told ids and sees to it that `Job` runs for each. What is to be done stands in
the store, so a runner may forget everything; after a restart it is told again.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from osteon.errors import OsteonError
from osteon.inference.analysis import failure
from osteon.inference.pipeline import Pipeline
from osteon.service import decoded, pictures
from osteon.service.decoded import DecodedPages
from osteon.service.metrics import Metrics
from osteon.service.store import ORIGINAL, Analysis, AnalysisStore

logger = logging.getLogger(__name__)

_READ = 0.1
"""Progress once the first page is decoded."""


class Job:
    """Claim a queued analysis, analyse each page of its file, note the result. Called with an id."""

    def __init__(
        self, store: AnalysisStore, pipeline: Pipeline, metrics: Metrics, *, shelf: DecodedPages | None = None
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._metrics = metrics
        self._shelf = shelf or DecodedPages()

    def __call__(self, analysis_id: str) -> None:
        """Do it; never raises, whatever the file holds. Nothing happens where it is not queued any more."""
        ready = self._shelf.take(analysis_id)
        analysis = self._store.claim(analysis_id)
        if analysis is None:
            return
        try:
            self._keep(analysis, self._store.succeed(analysis.id, self._pages(analysis, ready)), "succeeded")
        except OsteonError as error:
            self._fail(analysis, error)
        except Exception as error:  # noqa: BLE001 - the edge: one file must not end the worker
            mistake = OsteonError("the analysis failed inside Osteon", hint="report it with its id")
            if self._fail(analysis, mistake):
                logger.error("analysis %s failed: %s at %s", analysis.id, type(error).__name__, _where(error))

    def _pages(self, analysis: Analysis, ready: list[decoded.Page]) -> list[dict[str, object]]:
        folder = self._store.folder(analysis.id)
        found: list[dict[str, object]] = []
        for page in ready or decoded.pages(folder / ORIGINAL, name=analysis.name):
            if not found:
                self._store.advance(analysis.id, _READ)
            findings = self._pipeline.analyse(page.radiograph, read_ms=page.read_ms)
            pictures.save(folder, page.radiograph, findings.bone)
            self._metrics.analysed(findings)
            found.append(findings.to_json())
            self._store.advance(analysis.id, 1 - (1 - _READ) / (len(found) + 1))
        return found

    def _fail(self, analysis: Analysis, error: OsteonError) -> bool:
        row = failure(analysis.name, error).to_json()
        noted = self._store.fail(analysis.id, {key: row[key] for key in ("type", "message", "hint")})
        return self._keep(analysis, noted, "failed")

    def _keep(self, analysis: Analysis, noted: bool, status: str) -> bool:
        """Count a result that was noted; where the analysis was removed meanwhile, remove what was written since."""
        if noted:
            self._metrics.finished(status)
        else:
            self._store.sweep(analysis.id)
        return noted


def _where(error: BaseException) -> str:
    """File and line that raised it; the message is left out, since it may quote the file's content."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"


class Runner(Protocol):
    """Whoever sees to it that submitted analyses are done."""

    def submit(self, analysis_id: str) -> None:
        """Have an analysis done, now or soon."""

    def stop(self) -> None:
        """Take no more; return once nothing is running. What waits stays queued in the store."""


class ImmediateRunner:
    """Does each analysis at once, in the caller's thread; for tests."""

    def __init__(self, job: Callable[[str], None]) -> None:
        self._job = job

    def submit(self, analysis_id: str) -> None:
        """Do it now."""
        self._job(analysis_id)

    def stop(self) -> None:
        """Nothing runs between calls."""


class PoolRunner:
    """Does analyses in threads of this process, oldest first."""

    def __init__(self, job: Callable[[str], None], *, workers: int) -> None:
        self._job = job
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="osteon-job")

    def submit(self, analysis_id: str) -> None:
        """Do it when a thread is free."""
        self._pool.submit(self._job, analysis_id)

    def stop(self) -> None:
        """Finish what runs and forget what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)
