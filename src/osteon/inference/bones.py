"""Outputs of a bones model -> single bones in image pixels. Training's evaluation and inference share this file.

A model gives each object's mask as cells over the extent of a box, which may be larger than the object; `pasted` brings
them to the picture's pixels. The object's own box is that of its pixels. A model with a map of metal says where metal
is by that map alone, and one with a map of bone is believed more where it outlines bone that no better outline has.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import IMPLANT
from osteon.datasets.rle import box_of_mask
from osteon.errors import ModelMismatch
from osteon.findings import Bone
from osteon.geometry import Boxes, Placement
from osteon.inference.card import Card
from osteon.inference.naming import LEAST_EVIDENCE, named

MASK_THRESHOLD = 0.5
SAME_IOU = 0.5
LEAST_METAL = 4e-5
"""Of the square: some ten pixels of 512."""


class Cuts(NamedTuple):
    """Least scores at which bone and metal are shown; a model is as sure of the one as it has seen much of it."""

    bone: float
    metal: float

    @classmethod
    def of(cls, card: Card) -> "Cuts":
        """The operating points `bone` and `metal` of a card; without the latter, metal is shown as bone is.

        Raises:
            ModelMismatch: a card without the former.
        """
        bone = card.cut("bone")
        return cls(bone, card.cut("metal") if "metal" in card.operating_points else bone)

    def least(self, label: str) -> float:
        """For an object of this label."""
        return self.metal if label == IMPLANT else self.bone

    def show(self, bone: Bone) -> bool:
        """Whether an object is shown."""
        return bone.score >= self.least(bone.label)


class Said(NamedTuple):
    """What a bones model says of one picture.

    Attributes:
        boxes: (n, 4) what the masks cover, in model pixels.
        scores: (n,) in [0, 1].
        labels: (n,) index into the card's labels.
        masks: (n, m, m) probabilities; cell (i, j) covers the box's part (j / m .. (j + 1) / m, i / m .. (i + 1) / m).
        odds: (n, c) probabilities of the names of bones, the card's labels but metal, each bone seen alone; None: the
            labels stand.
        metal: (k, k) probabilities of metal all over the model's square; None: the boxes alone tell of metal.
        bone: (k, k) probabilities of bone or metal, likewise; None: scores stand.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    labels: NDArray[np.float32]
    masks: NDArray[np.float32]
    odds: NDArray[np.float32] | None = None
    metal: NDArray[np.float32] | None = None
    bone: NDArray[np.float32] | None = None


def bones(said: Said, placement: Placement, *, names: Sequence[str], min_score: float) -> tuple[Bone, ...]:
    """The bones of one picture, best score first; those without a pixel on the picture are left out, and doubles.

    Two objects are one where their masks' IoU is over `SAME_IOU`, whatever their labels: the better score stays. Metal
    lies on bone and is no double of it; where there is a map of it, boxes of metal count for nothing. Where there is a
    map of bone, a bone's score is its geometric mean with the share of bone in its mask that is in no better one's.
    Bones are named in each other's company, see `naming`.

    Args:
        said: by the model, `Said(**session.named(pixels))`.
        placement: where the picture lies in the model's square.
        names: labels of `anatomy.BONES`, or others.
        min_score: lower scores are dropped.

    Raises:
        ModelMismatch: a label that has no name.
    """
    if said.odds is None:
        found = [bone for bone, _ in _of_boxes(said, placement, names, min_score)]
    else:  # the same names, whatever the least score
        all_told = _of_boxes(said, placement, names, min(min_score, LEAST_EVIDENCE))
        found = [bone for bone in _renamed(all_told, said.odds, names) if bone.score >= min_score]
    if said.metal is not None:
        metal = metal_objects(said.metal, placement, min_score=min_score)
        found = sorted([bone for bone in found if bone.label != IMPLANT] + metal, key=lambda bone: -bone.score)
    return tuple(found)


def _of_boxes(said: Said, placement: Placement, names: Sequence[str], min_score: float) -> list[tuple[Bone, int]]:
    """The objects, best score first, each with its row."""
    boxes, scores, masks = said.boxes, said.scores, said.masks
    likely = np.flatnonzero(scores >= (min_score if said.bone is None else min_score**2))
    likely = likely[np.argsort(-scores[likely], kind="stable")]
    in_image = placement.to_image_unclipped(boxes)
    found: list[tuple[Bone, int]] = []
    for index in likely:
        mask, (left, top) = pasted(masks[index], in_image[index], placement.height_px, placement.width_px)
        if (around := box_of_mask(mask)) is None:
            continue
        x0, y0, x1, y1 = (int(value) for value in around)
        box = (float(left + x0), float(top + y0), float(left + x1), float(top + y1))
        corner = (left + x0, top + y0)
        bone = Bone(_name(said.labels[index], names), float(scores[index]), box, corner, mask[y0:y1, x0:x1])
        if not any(_same(bone, other) for other, _ in found):
            found.append((bone, int(index)))
    return found if said.bone is None else _supported(found, said.bone, placement, min_score)


def _supported(
    found: Sequence[tuple[Bone, int]], likely: NDArray[np.float32], placement: Placement, min_score: float
) -> list[tuple[Bone, int]]:
    """Objects, best first by what they add to the better ones; see `bones`. Metal keeps its score."""
    values = _everywhere(likely, placement)
    judged: list[tuple[Bone, int]] = []
    for bone, row in found:
        if bone.label != IMPLANT:
            (x, y), (height, width) = bone.corner_xy_px, bone.mask.shape
            part = values[y : y + height, x : x + width]
            bone = replace(bone, score=math.sqrt(bone.score * float(part[bone.mask].mean())))
            part[bone.mask] = 0.0
        if bone.score >= min_score:
            judged.append((bone, row))
    return sorted(judged, key=lambda each: -each[0].score)


def _renamed(found: Sequence[tuple[Bone, int]], odds: NDArray[np.float32], names: Sequence[str]) -> list[Bone]:
    """The same objects in the same order, bones under the names that they have together."""
    of_bones = [row for bone, row in found if bone.label != IMPLANT]
    scores = np.array([bone.score for bone, _ in found if bone.label != IMPLANT], np.float32)
    told = iter(named(odds[of_bones], scores, names[: odds.shape[1]]))
    return [bone if bone.label == IMPLANT else replace(bone, label=next(told)) for bone, _ in found]


def metal_objects(
    likely: NDArray[np.float32], placement: Placement, *, min_score: float, least_share: float = LEAST_METAL
) -> list[Bone]:
    """The connected regions of a map of metal, their scores the mean of their pixels.

    Args:
        likely: (k, k) probabilities all over the model's square.
        placement: where the picture lies in it.
        min_score: lower scores are dropped.
        least_share: smaller regions, as a share of the square, are dropped.
    """
    values = _everywhere(likely, placement)
    over = values > MASK_THRESHOLD
    count, regions, measures, _ = cv2.connectedComponentsWithStats(over.astype(np.uint8), connectivity=8)
    least_px = least_share * max(placement.height_px, placement.width_px) ** 2
    found = []
    for number in range(1, count):
        x, y, width, height, area = (int(value) for value in measures[number])
        mask = regions[y : y + height, x : x + width] == number
        score = float(values[y : y + height, x : x + width][mask].mean())
        if area >= least_px and score >= min_score:
            box = (float(x), float(y), float(x + width), float(y + height))
            found.append(Bone(IMPLANT, score, box, (x, y), mask))
    return found


def _everywhere(likely: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """A (k, k) map of the model's square on the picture's pixels."""
    square = np.array([[0, 0, placement.side_px, placement.side_px]], np.float32)
    return _spread(likely, placement.to_image_unclipped(square)[0], placement.height_px, placement.width_px)[0]


def _same(bone: Bone, other: Bone) -> bool:
    if (bone.label == IMPLANT) != (other.label == IMPLANT):
        return False
    less, more = sorted((bone.area_px, other.area_px))
    if less <= SAME_IOU * more:  # their IoU cannot be higher; large pictures are not looked at in vain
        return False
    return bone.iou(other) > SAME_IOU


def pasted(
    cells: NDArray[np.float32], box_xyxy_px: NDArray[np.float32], height_px: int, width_px: int
) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """A box's cells as pixels of the picture.

    Every pixel whose centre lies in the box gets the cells' value at its centre, interpolated linearly where cells are
    larger than pixels, averaged where they are smaller.

    Args:
        cells: (m, m) probabilities.
        box_xyxy_px: (4,) in image pixels; may reach beyond the picture.

    Returns:
        (h, w) bool, True where the probability is over one half, and the image pixel (x, y) of its upper left one.
        Nothing (0 rows or columns) for a box beside the picture, of no size, or of no number.
    """
    values, corner = _spread(cells, box_xyxy_px, height_px, width_px)
    return np.asarray(values > MASK_THRESHOLD), corner


def _spread(
    cells: NDArray[np.float32], box_xyxy_px: NDArray[np.float32], height_px: int, width_px: int
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The probabilities of `pasted` before they are cut, and the same corner."""
    if not np.isfinite(box_xyxy_px).all():
        return np.zeros((0, 0), np.float32), (0, 0)
    x0, y0, x1, y1 = (float(value) for value in box_xyxy_px)
    left, across = _weights(x0, x1, width_px, cells.shape[1])
    top, down = _weights(y0, y1, height_px, cells.shape[0])
    return np.asarray(down @ cells @ across.T, np.float32), (left, top)


def _weights(start: float, end: float, size_px: int, cells: int) -> tuple[int, NDArray[np.float32]]:
    """The first pixel from `start` to `end`, and (pixels, cells) how much of each cell each pixel takes.

    A triangle around each pixel's centre, as wide as a cell or a pixel, whichever is wider.
    """
    first = min(max(int(np.ceil(start - 0.5)), 0), size_px)
    last = min(max(int(np.ceil(end - 0.5)), first), size_px)
    if last == first:
        return first, np.zeros((0, cells), np.float32)
    cells_a_pixel = cells / (end - start)
    middles = (np.arange(first, last) + 0.5 - start) * cells_a_pixel
    away = np.abs(middles[:, None] - (np.arange(cells) + 0.5)) / max(cells_a_pixel, 1.0)
    weights = np.maximum(1 - away, 0)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _name(label: np.float32, names: Sequence[str]) -> str:
    index = round(float(label))
    if not 0 <= index < len(names):
        raise ModelMismatch(
            f"the bones model gives label {index}, its card names {len(names)}",
            hint="export the checkpoint again with `osteon export`",
        )
    return names[index]
