"""What the requests of one application share: pipeline, store, runner, metrics; and what they ask of them."""

import hashlib
import time
from base64 import b64encode
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from osteon.errors import ImageTooLarge, InvalidImage, OsteonError
from osteon.files import Limits, read
from osteon.inference.analysis import failure
from osteon.inference.pipeline import Pipeline
from osteon.service import pictures
from osteon.service.claims import Claims, worker_name
from osteon.service.database import Hold
from osteon.service.decoded import DecodedPages, Page
from osteon.service.jobs import Job
from osteon.service.metrics import Metrics
from osteon.service.retention import Upkeep
from osteon.service.runners import ImmediateRunner, PoolRunner, Runner
from osteon.service.settings import Settings
from osteon.service.store import Analysis, AnalysisStore, Upload
from osteon.web.schemas import FileErrorOut, PreviewOut

PREVIEW_SIDE_PX = 512
PREVIEW_BYTES = 4 * 2**20
_PREVIEW_LIMITS = Limits(max_bytes=PREVIEW_BYTES, max_side_px=PREVIEW_SIDE_PX, max_pages=1)


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
    shelf: DecodedPages
    models: str
    _opened: ExitStack

    @classmethod
    def of(cls, settings: Settings) -> "Service":
        """A service; nothing runs yet.

        Raises:
            ModelMismatch: the gate's file is missing or none, or has no operating points.
            ConfigurationError: the data folder, the database or the queue cannot be used.
        """
        pipeline = Pipeline.bundled(gate=settings.gate, detector=settings.detector, threads=settings.threads)
        for cut in ("area_fraction", "confidence"):  # a gate that cannot decide is found now, not at the first upload
            pipeline.gate.card.cut(cut)
        store = AnalysisStore.of(settings)
        claims = Claims(store.database, settings, worker_name())
        metrics = Metrics(waiting=store.waiting, detector_loaded=lambda: pipeline.detector.loaded)
        shelf = DecodedPages()
        job = Job(store, claims, pipeline, metrics, shelf=shelf)
        runner = _runner(settings, job)
        models = models_key(settings)
        upkeep = Upkeep(store, claims)
        return cls(settings, pipeline, store, runner, upkeep, claims, metrics, shelf, models, ExitStack())

    def start(self) -> None:
        """Take up what an earlier process left.

        Raises:
            ConfigurationError: another process serves from the same data folder.
        """
        if self.store.database.embedded and not self.settings.queue_url:
            self._opened.callback(Hold(self.settings.data_dir).release)
            self.claims.release_all()
        self.runner.start()
        self.upkeep.start()

    def stop(self) -> None:
        """Finish or hand back what runs, and close the store."""
        self.upkeep.stop()
        self.runner.stop()
        self._opened.close()
        self.store.close()

    def preview(self, upload: Upload) -> PreviewOut:
        """The gate's answer to a preview of at most 512 px; never touches the detector.

        Raises:
            InvalidImage: no picture.
            ImageTooLarge: more pixels or bytes than a preview has.
        """
        started = time.perf_counter()
        try:
            radiograph = read(upload.content, name=upload.name, limits=_PREVIEW_LIMITS)[0]
        except ImageTooLarge as error:
            hint = f"scale the preview to {PREVIEW_SIDE_PX} px, or send the full-size image to /api/v1/analyses"
            raise ImageTooLarge(error.message, hint=hint) from error
        decoded = time.perf_counter()
        bone = self.pipeline.bone(radiograph)
        timing = {"read": (decoded - started) * 1000, "gate": (time.perf_counter() - decoded) * 1000}
        self.metrics.gated(bone)
        assert bone.probability_map is not None
        mask = "data:image/png;base64," + b64encode(pictures.mask_png(bone.probability_map)).decode()
        gate = self.pipeline.gate
        return PreviewOut.of(bone, gate.card, gate.ref, mask=mask, timing_ms=timing)

    def accept(
        self, uploads: list[Upload], *, owner: str = "", again: bool = False
    ) -> tuple[list[Analysis], list[FileErrorOut]]:
        """Take files in for analysis; those that cannot be decoded are named, the others go on.

        Args:
            owner: whose analyses they are.
            again: analyse anew what was analysed already.

        Raises:
            TooManyWaiting: the queue is full.
            InvalidImage: no file can be decoded (the first one's reason).
        """
        limit = self.settings.queue_limit
        self.store.check_queue(1, queue_limit=limit)
        sound: list[tuple[Upload, list[Page]]] = []
        errors: list[FileErrorOut] = []
        first: OsteonError | None = None
        for upload in uploads:
            try:
                sound.append((upload, self.shelf.checked(upload.content, name=upload.name)))
            except InvalidImage as error:
                first = first or error
                errors.append(FileErrorOut(**failure(upload.name, error).to_json()))
        if first and not sound:
            raise first
        files = [upload for upload, _ in sound]
        accepted = self.store.add(files, queue_limit=limit, owner=owner, models=self.models, again=again)
        for one, (_, pages) in zip(accepted, sound, strict=True):
            if one.new:
                self.shelf.put(one.analysis.id, pages)
                self.runner.submit(one.analysis.id)
        return [one.analysis for one in accepted], errors


def models_key(settings: Settings) -> str:
    """Names the models that look: other models may find other things in the same file."""
    digests = []
    for path in (settings.gate, settings.detector):
        with suppress(FileNotFoundError), path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return " ".join(digests)


def _runner(settings: Settings, job: Job) -> Runner:
    if settings.immediate:
        return ImmediateRunner(job)
    return PoolRunner(job, workers=settings.workers)
