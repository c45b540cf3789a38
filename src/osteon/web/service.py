"""What the requests of one application share: pipeline, store, runner, metrics; and what they ask of them."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from osteon.errors import AnalysisNotFound, BonesImpossible, NoBonesModel
from osteon.inference.pipeline import Pipeline
from osteon.service.bone_jobs import BonesJob
from osteon.service.bones import BonesClaims, BonesTask, BonesTasks
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
from osteon.service.work import Several
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
    bones: BonesTasks
    bones_claims: BonesClaims
    bones_watch: Watch
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
        name = worker_name()
        claims, bones_claims = Claims(store.database, settings, name), BonesClaims(store.database, settings, name)
        reading = Reading.of(settings)
        metrics = Metrics(
            waiting=store.waiting,
            oldest_waiting=store.oldest_waiting,
            detector_loaded=lambda: pipeline.detector.loaded,
            bones_loaded=lambda: pipeline.instances is not None and pipeline.instances.loaded,
            decoders_lost=lambda: reading.decoders.lost,
        )
        bones = BonesTasks(store.database)
        watch, bones_watch = Watch(store), Watch(bones)
        job = Job(store, claims, pipeline, metrics, reading, ended=watch.stir)
        bones_job = BonesJob(store, bones_claims, pipeline, metrics, reading, ended=bones_watch.stir)
        runner = runner_of(settings, Several(job, bones_job))
        intake = Intake(
            settings, store, reading, models_key(settings), runner.submit, hands_over=not settings.queue_url
        )
        resumables = Resumables(store.database, store.files, reading.scratch)
        upkeep = Upkeep(store, claims, bones_claims, also=(resumables.sweep, reading.shelf.tidy))
        parts = (settings, pipeline, store, runner, upkeep, claims, metrics, reading, intake, resumables, watch)
        return cls(*parts, bones, bones_claims, bones_watch, ExitStack())

    def start(self) -> None:
        """Take up what an earlier process left.

        Raises:
            ConfigurationError: another process serves from the same data folder.
        """
        if self.store.database.embedded and not self.settings.queue_url:
            self._opened.callback(Hold(self.settings.data_dir).release)
            self.claims.release_all()
            self.bones_claims.release_all()
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
        self,
        uploads: Sequence[Upload],
        *,
        owner: str = "",
        study: str = "",
        again: bool = False,
        shelved: str = "",
        bones: bool = False,
    ) -> tuple[list[Analysis], list[FileErrorOut]]:
        """Take files in for analysis, as `Intake.accept` does; those that cannot be decoded are named.

        Args:
            bones: have their bones found, too.

        Raises:
            TooManyWaiting: of analyses, or of bones; then nothing is kept.
            InvalidImage: no file can be decoded.
        """
        if bones:
            self.check_bones()
            self.bones.check_queue(queue_limit=self.settings.queue_limit)
        taken = self.intake.accept(uploads, owner=owner, study=study, again=again, shelved=shelved)
        for analysis in taken.analyses if bones else ():
            with suppress(BonesImpossible, AnalysisNotFound):  # it failed at once, or was removed
                self._submitted(self.bones.ask(analysis.id, queue_limit=None, owner=owner, actor=owner))
        return list(taken.analyses), [FileErrorOut(**one.to_json()) for one in taken.failures]

    def check_bones(self) -> None:
        """Raises NoBonesModel where bones cannot be found here."""
        if self.pipeline.instances is None:
            raise NoBonesModel(
                "no model of single bones is installed", hint="name its file in OSTEON_BONES and start the server anew"
            )

    def ask_bones(
        self, analysis_id: str, *, owner: str | None = None, again: bool = False, actor: str = ""
    ) -> BonesTask:
        """Have the bones of an analysis found, as `BonesTasks.ask` does; raises NoBonesModel too."""
        self.store.find(analysis_id, owner=owner)  # nobody learns anything of others' first
        self.check_bones()
        limit = self.settings.queue_limit
        return self._submitted(self.bones.ask(analysis_id, queue_limit=limit, owner=owner, again=again, actor=actor))

    def _submitted(self, task: BonesTask) -> BonesTask:
        if task.status == "queued":
            self.runner.submit(task.id)
        return task
