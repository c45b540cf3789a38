"""A process that analyses what others have taken in: `osteon worker`."""

from collections.abc import Callable
from dataclasses import dataclass

from osteon.errors import ConfigurationError, MissingExtra
from osteon.inference.pipeline import Pipeline
from osteon.service.bone_jobs import BonesJob
from osteon.service.bones import BonesClaims
from osteon.service.claims import Claims, worker_name
from osteon.service.intake import Reading
from osteon.service.jobs import Job
from osteon.service.metrics import Metrics
from osteon.service.models import pipeline_of
from osteon.service.retention import Upkeep
from osteon.service.runners import Runner
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore
from osteon.service.work import Several


@dataclass(frozen=True)
class Worker:
    """The parts of a worker process. The gate is in memory from the start, the detector from its first use."""

    store: AnalysisStore
    reading: Reading
    runner: Runner
    upkeep: Upkeep
    end_metrics: Callable[[], None]

    @classmethod
    def of(cls, settings: Settings, *, pipeline: Pipeline | None = None) -> "Worker":
        """A worker; nothing runs yet.

        Args:
            pipeline: None: the one that the settings name.

        Raises:
            ConfigurationError: no queue is set, or the data folder, the database or the queue cannot be used.
            MissingExtra: what a queue needs is not installed.
            ModelMismatch: the gate's file is missing or none, or has no operating points.
        """
        if not settings.queue_url:
            raise ConfigurationError(
                "no queue is set: `osteon serve` analyses itself",
                hint="set OSTEON_QUEUE_URL to redis://host:6379/0 for the server and for the workers",
            )
        try:
            from osteon.service.cluster import DramatiqWorkers
        except ImportError as error:
            raise MissingExtra("no support for a queue", hint="pip install 'osteon[cluster]'") from error
        pipeline = pipeline or pipeline_of(settings)
        store = AnalysisStore.of(settings)
        name = worker_name()
        claims, bones = Claims(store.database, settings, name), BonesClaims(store.database, settings, name)
        reading = Reading.of(settings)
        metrics = Metrics(
            waiting=store.waiting,
            detector_loaded=lambda: pipeline.detector.loaded,
            bones_loaded=lambda: pipeline.instances is not None and pipeline.instances.loaded,
            oldest_waiting=store.oldest_waiting,
            decoders_lost=lambda: reading.decoders.lost,
        )
        parts = (pipeline, metrics, reading)
        work = Several(Job(store, claims, *parts), BonesJob(store, bones, *parts))
        runner = DramatiqWorkers(work, settings.queue_url, workers=settings.workers)
        end_metrics = metrics.serve(settings.metrics_port) if settings.metrics_port else lambda: None
        return cls(store, reading, runner, Upkeep(store, claims, bones), end_metrics)

    def start(self) -> None:
        """Begin."""
        self.reading.start()
        self.runner.start()
        self.upkeep.start()

    def stop(self) -> None:
        """Finish or hand back what runs, and close the store."""
        self.end_metrics()
        self.upkeep.stop()
        self.runner.stop()
        self.reading.stop()
        self.store.close()
