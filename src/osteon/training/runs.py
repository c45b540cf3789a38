"""A training from data to checkpoint: what `osteon train` calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from osteon.datasets.case import Case, Manifest
from osteon.datasets.masks import has_mask
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError, InvalidDataset
from osteon.evaluation.judge import Progress, truth_known
from osteon.models.csp import ConvBlock, calibrate
from osteon.training import ranks
from osteon.training.architectures import SCRATCH, build, start
from osteon.training.bone_views import class_names
from osteon.training.bones import BonesTask, drawn_share
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import BonesSettings, DetectorSettings, GateSettings, LoopSettings, TuningSettings
from osteon.training.detector import DetectorTask
from osteon.training.fine_tuning import FineTuning, Parts, TuningData
from osteon.training.gate import GateTask
from osteon.training.loop import Training
from osteon.training.masks import targets
from osteon.training.pictures import load

CALIBRATION_BATCHES = 8
joined, in_turn, is_first = ranks.joined, ranks.in_turn, ranks.first


@dataclass(frozen=True)
class Run:
    """Where a training starts and what it leaves: starting weights, and a folder; a run there is gone on with.

    `until` ends it after so many epochs of its schedule; started again without, it goes on.
    """

    folder: Path
    weights: str = SCRATCH
    until: int | None = None


def use_threads(count: int) -> None:
    """Let torch use this many processor threads."""
    torch.set_num_threads(count)


def train_detector(
    manifest: Manifest,
    split: Split,
    run: Run,
    *,
    settings: DetectorSettings,
    loop: LoopSettings,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a fracture detector on the `train` part and validate on `valid`; the best checkpoint.

    Raises:
        InvalidDataset: the training or the validation part holds no fracture with a box.
    """
    train, valid = _known_parts(manifest, split)
    torch.manual_seed(loop.seed)
    model = build("detector", settings.arch, side_px=settings.side_px)
    pretrained = start(model, run.weights)
    pictures = [load(cases, side_px=settings.side_px, progress=progress)[0] for cases in (train, valid)]
    task = DetectorTask(
        pictures[0], pictures[1], settings=settings, loop=loop, split_hash=split.hash, pretrained=pretrained
    )
    _unfold(model, task, pretrained)
    return _trained(Training(model, task, loop, run.folder), progress, until=run.until)


def fine_tune_detector(
    data: TuningData,
    run: Run,
    *,
    settings: DetectorSettings,
    loop: LoopSettings,
    tuning: TuningSettings,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a detector on, from `run.weights`, on new data without forgetting the kept; the best checkpoint.

    The best epoch may be 0, the start itself: then none was better on the new data while the kept figure held.

    Raises:
        ConfigurationError: no weights to start from.
        InvalidDataset: a part of the new or of the kept data holds no fracture with a box.
    """
    if run.weights == SCRATCH:
        raise ConfigurationError("fine-tuning starts from a trained detector", hint="give a checkpoint or an ONNX file")
    torch.manual_seed(loop.seed)
    model = build("detector", settings.arch, side_px=settings.side_px)
    start(model, run.weights)
    everything = frozenset(case.name for case in data.manifest)
    new, kept = (
        Parts(*(load(cases, side_px=settings.side_px, progress=progress)[0] for cases in parts))
        for parts in (
            _known_parts(data.manifest.only(everything - data.kept), data.split),
            _known_parts(data.manifest.only(data.kept), data.split) if data.kept else ((), ()),
        )
    )
    task = FineTuning(new, kept, model, settings=settings, loop=loop, tuning=tuning, split_hash=data.split.hash)
    training = Training(model, task, loop, run.folder)
    if training.fresh():
        training.judge_start()
    return _trained(training, progress, until=run.until)


def train_gate(
    manifest: Manifest,
    split: Split,
    run: Run,
    *,
    settings: GateSettings,
    loop: LoopSettings,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a gate on the `train` part (drawn bones, and pictures without any); the best checkpoint.

    Raises:
        InvalidDataset: the training or the validation part holds no drawn mask.
    """
    parts = [[c for c in cases if has_mask(c) or not c.radiograph] for cases in _parts(manifest, split)]
    for part, cases in zip(("training", "validation"), parts, strict=True):
        if not any(has_mask(case) for case in cases):
            raise InvalidDataset(f"the {part} part holds no mask", hint="give pictures with outlines or mask files")
    torch.manual_seed(loop.seed)
    model = build("gate", settings.arch)
    pretrained = start(model, run.weights)
    train, valid = (targets(load(cases, side_px=settings.side_px, progress=progress)[0]) for cases in parts)
    task = GateTask(train, valid, settings=settings, loop=loop, split_hash=split.hash, pretrained=pretrained)
    _unfold(model, task, pretrained)
    return _trained(Training(model, task, loop, run.folder), progress, until=run.until)


def train_bones(
    manifest: Manifest,
    split: Split,
    run: Run,
    *,
    settings: BonesSettings,
    loop: LoopSettings,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a finder of single bones on the outlined films of the `train` part; the checkpoint to use.

    Raises:
        ConfigurationError: an unknown way to class bones.
        InvalidDataset: the training or the validation part holds no outline.
    """
    names = class_names(settings.classes)
    parts = [[case for case in cases if has_mask(case)] for cases in _parts(manifest, split)]
    for part, cases in zip(("training", "validation"), parts, strict=True):
        if not cases:
            raise InvalidDataset(f"the {part} part holds no outline", hint="give films with an outline for each bone")
    torch.manual_seed(loop.seed)
    model = build("bones", settings.arch, side_px=settings.side_px, classes=len(names))
    pretrained = start(model, run.weights)
    parts[0] = drawn_share(parts[0], settings.share, seed=loop.seed)
    train, valid = (load(cases, side_px=settings.side_px, progress=progress)[0] for cases in parts)
    task = BonesTask(train, valid, settings=settings, loop=loop, split_hash=split.hash, pretrained=pretrained)
    _unfold(model, task, pretrained)
    return _trained(Training(model, task, loop, run.folder), progress, until=run.until)


def _known_parts(manifest: Manifest, split: Split) -> tuple[list[Case], list[Case]]:
    """Cases whose truth is known, to train on and to validate on; raises InvalidDataset where one has no fracture."""
    train, valid = ([case for case in cases if truth_known(case)] for cases in _parts(manifest, split))
    for part, cases in (("training", train), ("validation", valid)):
        if not any(case.fractured for case in cases):
            raise InvalidDataset(
                f"the {part} part of {manifest.name} holds no fracture with a box",
                hint="give a data set with boxes, or another split",
            )
    return train, valid


def _parts(manifest: Manifest, split: Split) -> tuple[Sequence[Case], Sequence[Case]]:
    return split.select(manifest, "train").cases, split.select(manifest, "valid").cases


def _unfold(model: torch.nn.Module, task: DetectorTask | GateTask | BonesTask, pretrained: bool) -> None:
    if pretrained and any(isinstance(module, ConvBlock) for module in model.modules()):
        calibrate(model, [task.batch(0, step % task.steps())[0] for step in range(CALIBRATION_BATCHES)])


def _trained(training: Training[Any], progress: Progress | None, *, until: int | None) -> Checkpoint:
    cv2.setNumThreads(1)  # pictures are changed beside the model; OpenCV's own threads only get in its way
    training.resume()
    return training.run(progress, until=until)
