"""Who sees to it that queued analyses are done, in this process or (`cluster`) in others.

A runner is a small seam: it is told ids and may forget them all, since what is to be done stands in the store.
"""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from osteon.errors import MissingExtra
from osteon.service.settings import Settings
from osteon.service.work import Doer

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between looks for what nobody told of: what is due after a back-off, what a dead worker had begun."""


class Runner(Protocol):
    """Whoever sees to it that submitted analyses are done."""

    def start(self) -> None:
        """Begin, also with what an earlier process left."""

    def submit(self, analysis_id: str) -> None:
        """Have an analysis done, now or soon."""

    def stop(self) -> None:
        """Take no more, hand back what runs, return once nothing is running. What waits stays queued in the store."""

    def answers(self) -> bool:
        """Whether it can be told of analyses now."""


class Periodic:
    """Does something again and again in a thread of its own; a failure is logged, and the next turn comes."""

    def __init__(self, step: Callable[[], object], *, seconds: float, name: str) -> None:
        self._step = step
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"osteon-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the turn that runs."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - the edge: the next turn may go better
                logger.warning("%s: %s", self._thread.name, type(error).__name__)


class ImmediateRunner:
    """Does each analysis at once, in the caller's thread; for tests."""

    def __init__(self, work: Doer) -> None:
        self._work = work

    def start(self) -> None:
        """What waits is done now."""
        while turn := self._work.begin_next():
            turn()

    def submit(self, analysis_id: str) -> None:
        """Do it now, and what follows from it."""
        while turn := self._work.begin(analysis_id):
            turn()

    def stop(self) -> None:
        """Nothing runs between calls."""

    def answers(self) -> bool:
        """Always."""
        return True


class PoolRunner:
    """Does analyses in threads of this process, oldest first."""

    def __init__(self, work: Doer, *, workers: int) -> None:
        self._work = work
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"osteon-job-{number}", daemon=True) for number in range(workers)
        ]
        self._heartbeat = Periodic(work.heartbeat, seconds=work.settings.lease_seconds / 4, name="heartbeat")

    def start(self) -> None:
        """Begin with the oldest that waits."""
        self._heartbeat.start()
        for thread in self._threads:
            thread.start()

    def submit(self, analysis_id: str) -> None:  # noqa: ARG002 - all look into the store
        """Wake a thread, if one sleeps."""
        self._wake.set()

    def stop(self) -> None:
        """Have what runs finished or handed back."""
        self._stopping.set()
        self._work.stop()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._heartbeat.stop()

    def answers(self) -> bool:
        """Whether all its threads live."""
        return all(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                turn = self._work.begin_next()
                if turn:
                    self._wake.set()  # there may be more: others look too
                    turn()
            except Exception as error:  # noqa: BLE001 - the edge: the lease ends, and it is done again
                logger.warning("%s: %s", threading.current_thread().name, type(error).__name__)
                turn = None
            if turn is None and not self._stopping.is_set():
                self._wake.wait(LOOK_SECONDS)


def runner_of(settings: Settings, work: Doer) -> Runner:
    """The runner that the settings ask for.

    Raises:
        MissingExtra: a queue is set, and what it needs is not installed.
        ConfigurationError: the queue's address cannot be read.
    """
    if settings.immediate:
        return ImmediateRunner(work)
    if settings.queue_url:
        try:
            from osteon.service.cluster import DramatiqRunner
        except ImportError as error:
            raise MissingExtra("no support for a queue", hint="pip install 'osteon[cluster]'") from error
        return DramatiqRunner(settings.queue_url)
    return PoolRunner(work, workers=settings.workers)
