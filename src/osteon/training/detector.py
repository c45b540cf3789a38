"""Training of fracture detectors: pictures and boxes in, scored boxes out, figures of the validation part."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osteon.datasets.labels import FRACTURE_LABELS
from osteon.evaluation.detection import Judged, summary
from osteon.evaluation.judge import MIN_SCORE, truth_boxes
from osteon.inference.postprocess import Detections, detections
from osteon.models.criteria import DetectionTargets
from osteon.training.architectures import DETECTORS
from osteon.training.augment import Motion, erase, move, random_affine, shade, visible_box, warp
from osteon.training.config import DetectorSettings, LoopSettings
from osteon.training.loop import by_start, device
from osteon.training.pictures import Picture, mirrored

IOU_THRESHOLD = 0.5
MASK_STRIDE = 8
HARDNESS_FLOOR = 0.02
Decode = Callable[[Any], tuple[Tensor, Tensor]]
"""What a model gives -> boxes in model pixels and scores; see `architectures.Detector`."""


class Batch(NamedTuple):
    """Pictures (b, 1, canvas, canvas), their truth, and which normal film each is (its index, or -1)."""

    pixels: Tensor
    targets: DetectionTargets
    normals: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Example:
    """A changed picture: (canvas, canvas) float32, (k, 4) boxes, (canvas / 8, canvas / 8) share of fracture."""

    pixels: NDArray[np.float32]
    boxes_xyxy: NDArray[np.float32]
    mask: NDArray[np.float32]


def example(picture: Picture, rng: np.random.Generator, settings: DetectorSettings, *, gentle: bool) -> Example:
    """A random view of a picture; `gentle` shows the whole square, little changed; unaugmented: just the square."""
    if not settings.augment:
        return _whole(picture)
    height, width = picture.pixels.shape
    outlines = picture.outlines(FRACTURE_LABELS)
    middle = (width / 2, height / 2)
    if gentle:
        canvas = settings.side_px
        motion = Motion(8.0, 0.9, 1.1)
    else:
        canvas = settings.canvas_px
        motion = Motion(settings.rotation_degrees, settings.scale_low, settings.scale_high, settings.quarter_turn)
        middle = _centre(outlines, rng, settings, height, width)
    affine = random_affine(rng, motion, centre_xy=middle, canvas_px=canvas)
    grey = shade(rng, warp(picture.pixels, affine, canvas), strength=0.4 if gentle else 1.0)
    moved = [move(points, affine) for points in outlines]
    boxes = [box for box in (visible_box(points, canvas) for points in moved) if box]
    if not gentle and rng.random() < 0.3:
        erase(rng, grey)
    return Example(grey, np.array(boxes, np.float32).reshape(-1, 4), _mask(moved, canvas))


def _whole(picture: Picture) -> Example:
    moved = picture.outlines(FRACTURE_LABELS)
    side = picture.placement.side_px
    boxes = [box for box in (visible_box(points, side) for points in moved) if box]
    return Example(picture.square(), np.array(boxes, np.float32).reshape(-1, 4), _mask(moved, side))


def _centre(
    outlines: list[NDArray[np.float64]], rng: np.random.Generator, settings: DetectorSettings, height: int, width: int
) -> tuple[float, float]:
    """The point that comes to the canvas's middle: near a fracture, or anywhere that keeps the canvas filled."""
    reach = settings.canvas_px / 2
    if outlines and rng.random() < settings.centred:
        x, y = outlines[int(rng.integers(len(outlines)))].mean(axis=0)
        x, y = x + rng.uniform(-0.75, 0.75) * reach, y + rng.uniform(-0.75, 0.75) * reach
    else:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
    low_x, low_y = min(reach * 0.8, width / 2), min(reach * 0.8, height / 2)
    return float(np.clip(x, low_x, width - low_x)), float(np.clip(y, low_y, height - low_y))


def _mask(outlines: list[NDArray[np.float64]], canvas_px: int) -> NDArray[np.float32]:
    mask = np.zeros((canvas_px // 2, canvas_px // 2), np.uint8)
    for points in outlines:
        cv2.fillPoly(mask, [np.rint(points / 2).astype(np.int32)], 255)
    side = canvas_px // MASK_STRIDE
    return np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)


class DetectorTask:
    """Trains on fractured pictures and a fresh draw of normals each epoch; validates on whole pictures."""

    name = "detector"
    figure = "selection"

    def __init__(
        self,
        train: Sequence[Picture],
        valid: Sequence[Picture],
        *,
        settings: DetectorSettings,
        loop: LoopSettings,
        split_hash: str,
        pretrained: bool,
    ) -> None:
        self.arch, self.split_hash, self.family = settings.arch, split_hash, DETECTORS[settings.arch]
        if settings.four_fold:
            train = [view for picture in train for view in mirrored(picture)]
        self.detector, self.loop, self.valid, self.pretrained = settings, loop, valid, pretrained
        self.fractured = [p for p in train if p.case.fractured]
        self.normal = [p for p in train if p.case.fractured is False]
        self._number = {id(picture): index for index, picture in enumerate(self.normal)}
        self._hardness = np.ones(len(self.normal))
        self._merged = self._hardness.copy()
        self._orders: dict[int, list[Picture]] = {}
        self._ordering = threading.Lock()  # two threads may ask for an epoch's first batches at once

    def state(self) -> dict[str, Any]:
        """How hard each normal film was when last shown."""
        return {"hardness": torch.from_numpy(self._hardness.copy())}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave; nothing from checkpoints of before."""
        if "hardness" in state:
            self._hardness = state["hardness"].numpy().copy()
            self._merged = self._hardness.copy()

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Take what each process has learned of the films that it alone has shown since the last time."""
        merged = self._merged.copy()
        for state in states:
            theirs = state["hardness"].numpy()
            changed = theirs != self._merged
            merged[changed] = theirs[changed]
        self._hardness, self._merged = merged, merged.copy()

    def settings(self) -> dict[str, Any]:
        """The detector's settings and how many pictures of each kind it saw."""
        counts = {"fractured": len(self.fractured), "normal": len(self.normal), "valid": len(self.valid)}
        return {"detector": asdict(self.detector), "pictures": counts}

    def steps(self) -> int:
        """Batches in an epoch, the last incomplete one left out."""
        return max(1, (len(self.fractured) + self._drawn()) // self.loop.batch)

    def _drawn(self) -> int:
        """How many normal films an epoch shows."""
        return min(len(self.normal), round(len(self.fractured) * self.detector.normals))

    def _order(self, epoch: int) -> list[Picture]:
        if epoch not in self._orders:
            rng = np.random.default_rng((self.loop.seed, epoch))
            mixed = [*self.fractured, *(self.normal[i] for i in self._drawn_normals(rng))]
            self._orders = {epoch: [mixed[i] for i in rng.permutation(len(mixed))]}
        return self._orders[epoch]

    def _drawn_normals(self, rng: np.random.Generator) -> list[int]:
        """Indices of an epoch's normal films: the hard ones by their score, then others evenly."""
        count = self._drawn()
        if not count:
            return []
        weights = self._hardness + HARDNESS_FLOOR
        by_score = round(count * self.detector.hard_normals)
        hard = rng.choice(len(weights), by_score, replace=False, p=weights / weights.sum())
        others = np.setdiff1d(np.arange(len(weights)), hard)
        return [*map(int, hard), *map(int, rng.choice(others, count - by_score, replace=False))]

    def batch(self, epoch: int, step: int) -> Batch:
        """A batch of random views, the same for the same seed and history."""
        size = self.loop.batch
        gentle = epoch >= self.loop.epochs - self.detector.settle_epochs
        with self._ordering:
            order = self._order(epoch)
        chosen = order[step * size : (step + 1) * size]
        views = [
            example(p, np.random.default_rng((self.loop.seed, epoch, step, i)), self.detector, gentle=gentle)
            for i, p in enumerate(chosen)
        ]
        pixels = torch.from_numpy(np.stack([v.pixels for v in views]))[:, None]
        masks = torch.from_numpy(np.stack([v.mask for v in views]))[:, None]
        targets = DetectionTargets([torch.from_numpy(v.boxes_xyxy) for v in views], masks)
        return Batch(pixels, targets, tuple(self._number.get(id(picture), -1) for picture in chosen))

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named parts of the criterion."""
        predictions = model(batch.pixels.contiguous(memory_format=torch.channels_last))
        with torch.no_grad():
            best = self.family.decode(predictions)[1].amax(1).cpu().tolist()
        for number, score in zip(batch.normals, best, strict=True):
            if number >= 0:
                self._hardness[number] = score
        return self.family.criterion(predictions, batch.targets)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures of the validation pictures; see `figures_of`."""
        return figures_of(model, self.valid, self.family.decode)

    def groups(self, model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Pre-trained: all but the architecture's fresh layers, where the model starts from other weights."""
        return by_start(model, (lambda name: name.startswith(self.family.fresh)) if self.pretrained else None)


def figures_of(model: nn.Module, pictures: Sequence[Picture], decode: Decode) -> dict[str, float]:
    """Figures of a model on pictures, and `selection`: the mean of mAP50, mAP30 and, with normals, AUROC."""
    judged = [
        Judged(p.case.name, found, truth_boxes(p.case))
        for p, found in zip(pictures, detect(model, pictures, decode), strict=True)
    ]
    figures = summary(judged)
    figures["selection"] = round(float(np.nanmean([figures[n] for n in ("map50", "map30", "auroc")])), 4)
    return figures


@torch.inference_mode()
def detect(model: nn.Module, pictures: Sequence[Picture], decode: Decode, *, batch: int = 4) -> list[Detections]:
    """The model's boxes on whole pictures, in image pixels."""
    model.eval()
    found = []
    where = device()
    for start in range(0, len(pictures), batch):
        chosen = pictures[start : start + batch]
        pixels = torch.from_numpy(np.stack([p.square() for p in chosen]))[:, None].to(where)
        with torch.autocast(where.type, dtype=torch.bfloat16):
            predictions = model(pixels.contiguous(memory_format=torch.channels_last))
        boxes, scores = (values.cpu().numpy() for values in decode(predictions))
        for picture, its_boxes, its_scores in zip(chosen, boxes, scores, strict=True):
            found.append(
                detections(its_boxes, its_scores, picture.placement, min_score=MIN_SCORE, iou_threshold=IOU_THRESHOLD)
            )
    return found
