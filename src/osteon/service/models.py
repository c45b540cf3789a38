"""The models that the settings name: the pipeline of all, and what tells them from others."""

import hashlib
import logging
from contextlib import suppress
from dataclasses import replace

from osteon.inference.pipeline import BONE_JUDGE_FILE, BONES_FILE, Pipeline
from osteon.service.settings import Settings

logger = logging.getLogger(__name__)


def pipeline_of(settings: Settings) -> Pipeline:
    """The pipeline; the gate is loaded, detector and single bones are when they are first needed.

    Raises:
        ModelMismatch: the gate's file is missing or none, or has no operating points.
    """
    pipeline = Pipeline.bundled(
        gate=settings.gate,
        detector=settings.detector,
        bones=settings.bones,
        judge=settings.bone_judge,
        threads=settings.threads,
    )
    if not settings.bones.is_file():
        if settings.bones != BONES_FILE:
            logger.warning("OSTEON_BONES names no file: nobody is shown bones")
        pipeline = replace(pipeline, instances=None)
    if not settings.bone_judge.is_file():
        if settings.bone_judge != BONE_JUDGE_FILE:
            logger.warning("OSTEON_BONE_JUDGE names no file: no bone is judged by itself")
        pipeline = replace(pipeline, judge=None)
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
