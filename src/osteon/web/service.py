"""What the requests of one application share: pipeline, store, runner, metrics; and what they ask of them."""

import time
from base64 import b64encode
from dataclasses import dataclass

from osteon.errors import ImageTooLarge, InvalidImage, OsteonError
from osteon.files import Limits, read
from osteon.inference.analysis import failure
from osteon.inference.pipeline import Pipeline
from osteon.service import pictures
from osteon.service.decoded import DecodedPages, Page
from osteon.service.jobs import ImmediateRunner, Job, PoolRunner, Runner
from osteon.service.metrics import Metrics
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
    metrics: Metrics
    shelf: DecodedPages

    @classmethod
    def of(cls, settings: Settings) -> "Service":
        """A service; nothing waits yet.

        Raises:
            ModelMismatch: the gate's file is missing or none, or has no operating points.
            ConfigurationError: the data folder cannot be written.
        """
        pipeline = Pipeline.bundled(gate=settings.gate, detector=settings.detector, threads=settings.threads)
        for cut in ("area_fraction", "confidence"):  # a gate that cannot decide is found now, not at the first upload
            pipeline.gate.card.cut(cut)
        store = AnalysisStore(settings.data_dir)
        metrics = Metrics(waiting=store.waiting, detector_loaded=lambda: pipeline.detector.loaded)
        shelf = DecodedPages()
        job = Job(store, pipeline, metrics, shelf=shelf)
        runner: Runner = ImmediateRunner(job) if settings.immediate else PoolRunner(job, workers=settings.workers)
        return cls(settings, pipeline, store, runner, metrics, shelf)

    def start(self) -> None:
        """Take up what an earlier process left."""
        for analysis_id in self.store.resume(max_attempts=self.settings.max_attempts):
            self.runner.submit(analysis_id)

    def stop(self) -> None:
        """Finish what runs and close the store."""
        self.runner.stop()
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

    def accept(self, uploads: list[Upload]) -> tuple[list[Analysis], list[FileErrorOut]]:
        """Take files in for analysis; those that cannot be decoded are named, the others go on.

        Raises:
            TooManyWaiting: the queue is full.
            InvalidImage: no file can be decoded (the first one's reason).
        """
        self.store.check_queue(len(uploads), queue_limit=self.settings.queue_limit)
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
        analyses = self.store.add([upload for upload, _ in sound], queue_limit=self.settings.queue_limit)
        for analysis, (_, pages) in zip(analyses, sound, strict=True):
            self.shelf.put(analysis.id, pages)
            self.runner.submit(analysis.id)
        return analyses, errors
