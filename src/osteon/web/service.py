"""What the requests of one application share: pipeline, store, runner, metrics; and what they ask of them."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from osteon.inference.pipeline import Pipeline
from osteon.service.claims import Claims, worker_name
from osteon.service.database import Hold
from osteon.service.intake import Intake, Reading
from osteon.service.jobs import Job
from osteon.service.metrics import Metrics
from osteon.service.models import models_key, pipeline_of
from osteon.service.resumables import Resumables
from osteon.service.retention import Upkeep
from osteon.service.runners import Runner, runner_of
from osteon.service.settings import Settings
from osteon.service.store import Analysis, AnalysisStore, Upload
from osteon.web.schemas import FileErrorOut
from osteon.web.watch import Watch


@dataclass(frozen=True)
class Service:
    """The parts of a running application. The gate is in memory from the start, the detector from its first use."""

    settings: Settings
    pipeline: Pipeline
    store: AnalysisStore
    runner: Runner
    upkeep: Upkeep
    claims: Claims
    metrics: Metrics
    reading: Reading
    intake: Intake
    resumables: Resumables
    watch: Watch
    _opened: ExitStack

    @classmethod
    def of(cls, settings: Settings) -> "Service":
        """A service; nothing runs yet.

        Raises:
            ModelMismatch: the gate's file is missing or none, or has no operating points.
            ConfigurationError: the data folder, the database or the queue cannot be used.
            MissingExtra: a queue is set, and what it needs is not installed.
        """
        pipeline = pipeline_of(settings)
        store = AnalysisStore.of(settings)
        claims = Claims(store.database, settings, worker_name())
        reading = Reading.of(settings)
        metrics = Metrics(
            waiting=store.waiting,
            oldest_waiting=store.oldest_waiting,
            detector_loaded=lambda: pipeline.detector.loaded,
            decoders_lost=lambda: reading.decoders.lost,
        )
        watch = Watch(store)
        runner = runner_of(settings, Job(store, claims, pipeline, metrics, reading, ended=watch.stir))
        intake = Intake(
            settings, store, reading, models_key(settings), runner.submit, hands_over=not settings.queue_url
        )
        resumables = Resumables(store.database, store.files, reading.scratch)
        upkeep = Upkeep(store, claims, also=(resumables.sweep, reading.shelf.tidy))
        parts = (settings, pipeline, store, runner, upkeep, claims, metrics, reading, intake, resumables, watch)
        return cls(*parts, ExitStack())

    def start(self) -> None:
        """Take up what an earlier process left.

        Raises:
            ConfigurationError: another process serves from the same data folder.
        """
        if self.store.database.embedded and not self.settings.queue_url:
            self._opened.callback(Hold(self.settings.data_dir).release)
            self.claims.release_all()
        self.reading.start()
        self.runner.start()
        self.upkeep.start()

    def stop(self) -> None:
        """Finish or hand back what runs, and close the store."""
        self.upkeep.stop()
        self.runner.stop()
        self.reading.stop()
        self._opened.close()
        self.store.close()

    def accept(
        self, uploads: Sequence[Upload], *, owner: str = "", study: str = "", again: bool = False, shelved: str = ""
    ) -> tuple[list[Analysis], list[FileErrorOut]]:
        """Take files in for analysis, as `Intake.accept` does; those that cannot be decoded are named."""
        taken = self.intake.accept(uploads, owner=owner, study=study, again=again, shelved=shelved)
        return list(taken.analyses), [FileErrorOut(**one.to_json()) for one in taken.failures]
