"""Bones that a model outlined against those that were drawn: what overlaps what, what hits, what counts neither way.

Matching follows COCO (Lin et al. 2014) on masks: detections of a picture in order of score, each takes the free truth
it overlaps most if that is at least the IoU threshold. Regions marked `ignore` are crowds of every class, with two
changes: their pixels do not count in any IoU, and a detection that hits nothing counts neither way where more than half
of it lies in them, at whatever threshold. Where a region overlaps a drawn object, the object wins.

In the anatomy-blind view every bone is a bone, whatever it is called, and metal is no class but such a region: models
that know metal and models that do not are judged alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import BONE
from osteon.datasets.labels import bone_class
from osteon.evaluation.records import Facts
from osteon.findings import Bone
from osteon.geometry import shared_px

Mask = NDArray[np.bool_]
"""(height, width) in image pixels."""
MOST = 100
"""Detections of a class on a picture that count, best first, as in COCO."""
MISS = -1
NEUTRAL = -2
ANY = (BONE,)
"""The labels of the anatomy-blind view."""


@dataclass(frozen=True, eq=False)
class Outlined:
    """One picture's bones, found and drawn.

    Attributes:
        name: of the case.
        facts: what is known of it.
        found: by the model, best first.
        truth: as drawn, under the labels of the data; score 1.
        ignored: (height, width) regions marked to be left out.
        gate: (height, width) bone as stage 1 paints it; None: not asked.
        gate_saw: stage 1 was trained on this picture; None: nobody said.
    """

    name: str
    facts: Facts
    found: tuple[Bone, ...]
    truth: tuple[Bone, ...]
    ignored: Mask
    gate: Mask | None = None
    gate_saw: bool | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.facts.height_px, self.facts.width_px

    def painted(self, bones: Sequence[Bone]) -> Mask:
        """(height, width) union of objects."""
        mask = np.zeros(self.shape, np.bool_)
        for bone in bones:
            _crop(mask, bone)[...] |= bone.mask
        return mask


@dataclass(frozen=True, eq=False)
class Compared:
    """The detections of one class on one picture against its truths.

    Attributes:
        scores: (n,) best first.
        iou: (n, m) of masks, pixels of ignored regions left out.
        neutral: (n,) more than half of it lies in ignored regions.
    """

    scores: NDArray[np.float64]
    iou: NDArray[np.float64]
    neutral: Mask

    @property
    def truths(self) -> int:
        """How many objects there are to find."""
        return int(self.iou.shape[1])

    def match(self, *, iou_threshold: float) -> NDArray[np.intp]:
        """(n,) the truth that each detection hits, MISS, or NEUTRAL where it does not count."""
        taken = np.where(self.neutral, NEUTRAL, MISS).astype(np.intp)
        free = np.ones(self.truths, np.bool_)
        for i in np.flatnonzero(self.iou.max(axis=1, initial=0.0) >= iou_threshold):
            choices = np.where(free, self.iou[i], -1.0)
            if choices.max() >= iou_threshold:
                taken[i] = choices.argmax()
                free[taken[i]] = False
        return taken


def compared(picture: Outlined, labels: Sequence[str] = ANY, *, only: str | None = None) -> dict[str, Compared]:
    """A picture's objects, class by class; by default all bones as one class, anatomy-blind.

    Args:
        picture: found and drawn.
        labels: the classes that the model tells apart; what is drawn and none of them is ignored, in `ANY` metal.
        only: one of them, if the others are not asked for.
    """
    unknown = unknown_of(picture, labels)
    made = {}
    for label in labels if only is None else (only,):
        found, truth = (_of(label, objects, labels) for objects in (picture.found, picture.truth))
        found = found[:MOST]
        inside = np.array([_share(bone, unknown) for bone in found], np.float64)
        scores = np.array([bone.score for bone in found], np.float64)
        made[label] = Compared(scores, overlaps(found, truth, ~unknown), inside > 0.5)
    return made


def unknown_of(picture: Outlined, labels: Sequence[str]) -> Mask:
    """(height, width) pixels that count neither way: ignored, or of no class, and no drawn object over them."""
    drawn = [bone for bone in picture.truth if bone_class(bone.label, labels) is not None]
    no_class = [bone for bone in picture.truth if bone_class(bone.label, labels) is None]
    return (picture.ignored | picture.painted(no_class)) & ~picture.painted(drawn)


def overlaps(found: Sequence[Bone], truth: Sequence[Bone], counted: Mask) -> NDArray[np.float64]:
    """(n, m) IoU of masks over the counted pixels; 0 where both have none."""
    cut = [[(bone, bone.mask & _crop(counted, bone)) for bone in bones] for bones in (found, truth)]
    areas = [np.array([int(mask.sum()) for _, mask in side], np.int64) for side in cut]
    shared = np.zeros((len(found), len(truth)), np.int64)
    for i, one in enumerate(cut[0]):
        for j, other in enumerate(cut[1]):
            shared[i, j] = shared_px(one[1], one[0].corner_xy_px, other[1], other[0].corner_xy_px)
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, 1), np.float64)


def _of(label: str, objects: Sequence[Bone], labels: Sequence[str]) -> list[Bone]:
    return [bone for bone in objects if bone_class(bone.label, labels) == label]


def _crop(mask: Mask, bone: Bone) -> Mask:
    """The part of a whole picture's mask that lies below a bone's own; a view."""
    (x, y), (height, width) = bone.corner_xy_px, bone.mask.shape
    return mask[y : y + height, x : x + width]


def _share(bone: Bone, region: Mask) -> float:
    area = int(bone.mask.sum())
    return float((bone.mask & _crop(region, bone)).sum() / area) if area else 0.0
