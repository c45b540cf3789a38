"""Which bone a fracture's box lies on, where along its shaft, and what it means to lie on none. NumPy only.

Boxes are loose: a box around a break at a bone's rim is mostly flesh, and often holds a neighbour's edge. So only
the bone within the box counts, and its middle counts most. Bones may overlap (radius and ulna, each complete): where
both lie under the middle, neither is named. Bones of one label (fingers) stand together for the label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import IMPLANT, Third
from osteon.findings import Anchor, Bone, BoxXyxy, Fracture, Grade
from osteon.inference.shafts import third_at

LEAST_COVER = 0.05
"""Share of a box that must lie on bones or metal; below that it is outside."""
FAINT_SCORE = 0.1
"""Bones of this score count here, though they may be too unsure to be shown: a fracture is not outside because its
bone was seen faintly, which broken bones often are."""
LEAST_CONFIDENCE = 0.2
"""From here on a bone is named."""
LEAST_SHARE_OF_LABEL = 0.6
"""Of the part of the label within the box: what one of its bones must have for its thirds to be told."""
_SAMPLES = 64
_LOWER: dict[Grade | None, Grade | None] = {"fracture": "doubt", "doubt": None, None: None}


@dataclass(frozen=True, eq=False)
class _Samples:
    """A box seen through a grid of points.

    Attributes:
        x_px: (s,) columns; y_px: (s,) rows of the image pixels at the points.
        weights: (s, s) how much each point counts, most in the middle; their sum is 1.
    """

    x_px: NDArray[np.intp]
    y_px: NDArray[np.intp]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, box_xyxy_px: BoxXyxy) -> "_Samples":
        x0, y0, x1, y1 = box_xyxy_px
        steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        heights = 1 - np.abs(2 * steps - 1)
        weights = heights[:, None] * heights
        columns, rows = np.floor(x0 + (x1 - x0) * steps), np.floor(y0 + (y1 - y0) * steps)
        return cls(columns.astype(np.intp), rows.astype(np.intp), weights / weights.sum())

    def on(self, bone: Bone) -> NDArray[np.bool_]:
        """(s, s) bool: the points on a bone."""
        height, width = bone.mask.shape
        x, y = self.x_px - bone.corner_xy_px[0], self.y_px - bone.corner_xy_px[1]
        rows, columns = (y >= 0) & (y < height), (x >= 0) & (x < width)
        hits = np.zeros((_SAMPLES, _SAMPLES), np.bool_)
        hits[np.ix_(rows, columns)] = bone.mask[np.ix_(y[rows], x[columns])]
        return hits


def anchored(
    fractures: Sequence[Fracture], bones: Sequence[Bone], *, height_px: int, width_px: int
) -> tuple[Fracture, ...]:
    """The fractures, each with the bone that it lies on.

    Args:
        fractures: of one picture.
        bones: of the same picture; where there are none, nothing can be told, and nothing is outside.
        height_px: of the picture.
        width_px: likewise; a bone that its border cuts is told in thirds from its whole end only.
    """
    size = (height_px, width_px)
    return tuple(replace(fracture, anchor=anchor(fracture.box_xyxy_px, bones, size)) for fracture in fractures)


def anchor(
    box_xyxy_px: BoxXyxy, bones: Sequence[Bone], size_px: tuple[int, int], *, least_cover: float = LEAST_COVER
) -> Anchor:
    """The bone that a box lies on.

    Args:
        box_xyxy_px: in image pixels.
        bones: of the picture.
        size_px: (height, width) of the picture.
        least_cover: share of the box that must lie on bones or metal, else it is outside.
    """
    samples = _Samples.of(box_xyxy_px)
    on = [samples.on(bone) for bone in bones]
    named = [index for index, bone in enumerate(bones) if bone.label != IMPLANT]
    if not bones:
        return Anchor(None, 0.0, 0.0)
    if not np.any(on, axis=0).mean() >= least_cover:
        return Anchor(None, 0.0, 0.0, outside=True)
    within = samples.weights * np.any([on[index] for index in named], axis=0) if named else samples.weights * 0
    total = float(within.sum())
    if total == 0:  # metal alone: bone lies beneath, and nobody can see which
        return Anchor(None, 0.0, 0.0)
    labels = sorted({bones[index].label for index in named})
    shares, supports = {}, {}
    for label in labels:
        members = [index for index in named if bones[index].label == label]
        scores = np.max([on[index] * bones[index].score for index in members], axis=0)
        shares[label] = float(within[scores > 0].sum()) / total
        supports[label] = float((within * scores).sum()) / total
    first, *others = sorted(labels, key=lambda label: -supports[label])
    confidence = supports[first] - (supports[others[0]] if others else 0.0)
    if confidence < LEAST_CONFIDENCE:
        return Anchor(None, shares[first], confidence)
    members = [index for index in named if bones[index].label == first]
    chosen = max(members, key=lambda index: float((samples.weights * on[index]).sum()))
    return Anchor(first, shares[first], confidence, _third(samples, on, chosen, members, bones, size_px))


def _third(
    samples: _Samples,
    on: Sequence[NDArray[np.bool_]],
    chosen: int,
    members: Sequence[int],
    bones: Sequence[Bone],
    size_px: tuple[int, int],
) -> Third | None:
    """The third of the chosen bone's shaft; None where another bone of its label has a good part of the box, too."""
    weights = samples.weights * on[chosen]
    of_label = samples.weights * np.any([on[index] for index in members], axis=0)
    if weights.sum() < LEAST_SHARE_OF_LABEL * of_label.sum():
        return None
    rows, columns = np.nonzero(weights)
    points = np.stack([samples.x_px[columns], samples.y_px[rows]], axis=1).astype(np.float64) + 0.5
    return third_at(bones[chosen], points, weights[rows, columns], bones, size_px)


def cover(box_xyxy_px: BoxXyxy, bones: Sequence[Bone]) -> float:
    """The share of a box that lies on bones or metal, 0 to 1; below `LEAST_COVER` it is outside."""
    samples = _Samples.of(box_xyxy_px)
    return float(np.any([samples.on(bone) for bone in bones], axis=0).mean()) if bones else 0.0


def demoted(fractures: Sequence[Fracture]) -> tuple[Fracture, ...]:
    """The fractures, those outside of the bones found a grade lower: fracture -> doubt -> candidate."""
    return tuple(
        replace(fracture, grade=_LOWER[fracture.grade]) if fracture.anchor and fracture.anchor.outside else fracture
        for fracture in fractures
    )
