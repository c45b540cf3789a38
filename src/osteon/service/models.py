"""The models that the settings name: the pipeline of both, and what tells them from others."""

import hashlib
from contextlib import suppress

from osteon.inference.pipeline import Pipeline
from osteon.service.settings import Settings


def pipeline_of(settings: Settings) -> Pipeline:
    """The pipeline; the gate is loaded, the detector is when it is first needed.

    Raises:
        ModelMismatch: the gate's file is missing or none, or has no operating points.
    """
    pipeline = Pipeline.bundled(gate=settings.gate, detector=settings.detector, threads=settings.threads)
    for cut in ("area_fraction", "confidence"):  # a gate that cannot decide is found now, not at the first upload
        pipeline.gate.card.cut(cut)
    return pipeline


def models_key(settings: Settings) -> str:
    """Names the models that look: other models may find other things in the same file."""
    digests = []
    for path in (settings.gate, settings.detector):
        with suppress(FileNotFoundError), path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return " ".join(digests)
