"""Long bones in thirds: a mask's axis, which of its ends is distal, and whether the picture's border cuts it.

Only what can be known is told. The neighbours say which end is which: carpals lie beyond the distal end of a radius.
Where an end is cut off, by the picture's border or by a diaphragm (the mask is then too plump for its bone, and no
neighbour touches that end), the shaft's length is unknown, but the third next to its whole end is at least as long as
a third of what is seen. Where the ends cannot be told apart, the middle third still can.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import Third, bone_name
from osteon.findings import Bone

Points = NDArray[np.float64]
"""(n, 2) points x, y in image pixels."""

LEAST_ELONGATION = 1.6
"""Length to width from which a mask has an axis; a stub, or a bone seen along its shaft, has none."""
MOST_SPAN = 2 / 3
"""Share of the shaft from which on what lies there is in no single third."""
LEAST_LEAD = 0.4
"""How much nearer a neighbour must lie to one end than to the other, in lengths of the shaft."""
BORDER_SHARE = 0.015
"""Of the picture's longer side: as near as this to the border, a bone is cut by it."""
TOUCHING = 0.2
"""As near as this, in lengths of the shaft, a neighbour touches an end."""
_MOST_POINTS = 1500
_TIP = 0.1


@dataclass(frozen=True, eq=False)
class Shaft:
    """A bone's axis.

    Attributes:
        direction_xy: (2,) unit vector from the first end to the second.
        start: projection of the first end on the direction, in pixels.
        length_px: from end to end.
        tips_xy: (2, 2) the middles of both tips.
        cut: whether the picture's border cuts each end.
        slenderness: length to width.
    """

    direction_xy: Points
    start: float
    length_px: float
    tips_xy: Points
    cut: tuple[bool, bool]
    slenderness: float

    def places(self, points_xy: Points) -> NDArray[np.float64]:
        """(n,) places of points along the shaft: 0 at its first end, 1 at its second."""
        return np.asarray((points_xy @ self.direction_xy - self.start) / self.length_px)


def shaft_of(bone: Bone, size_px: tuple[int, int]) -> Shaft | None:
    """The principal axis of a bone's mask; None where it is not longer than wide.

    Args:
        bone: its mask has a pixel at least.
        size_px: (height, width) of the picture.
    """
    points = _points(bone)
    if len(points) < 3:
        return None
    spread, axes = np.linalg.eigh(np.cov(points.T))
    slenderness = float(np.sqrt(spread[1] / max(spread[0], 1e-9)))
    if slenderness < LEAST_ELONGATION:
        return None
    along = points @ axes[:, 1]
    start, length = float(along.min()), float(np.ptp(along))
    places = (along - start) / length
    ends = (places <= _TIP, places >= 1 - _TIP)
    margin = max(2.0, BORDER_SHARE * max(size_px))
    height, width = size_px
    inner = np.all((points > margin) & (points < np.array([width, height]) - margin), axis=1)
    return Shaft(
        direction_xy=axes[:, 1],
        start=start,
        length_px=length,
        tips_xy=np.stack([points[end].mean(axis=0) for end in ends]),
        cut=(not inner[ends[0]].all(), not inner[ends[1]].all()),
        slenderness=slenderness,
    )


def third_at(
    bone: Bone,
    points_xy: NDArray[np.float64],
    weights: NDArray[np.float64],
    bones: Sequence[Bone],
    size_px: tuple[int, int],
) -> Third | None:
    """The third of a bone's shaft in which points lie; None where it has no shaft or that cannot be told.

    Args:
        bone: that the points lie on.
        points_xy: (n, 2) in image pixels.
        weights: (n,) how much each counts.
        bones: of the picture; the bone's neighbours among them.
        size_px: (height, width) of the picture.
    """
    shaft = shaft_of(bone, size_px) if bone_name(bone.label).long else None
    if shaft is None:
        return None
    places = shaft.places(points_xy)
    if np.ptp(places) > MOST_SPAN:
        return None
    place = float(np.average(places, weights=weights))
    end = 0 if place < 1 / 3 else 1 if place > 2 / 3 else None
    near = _distances(bone.label, shaft, bones)
    whole = _whole(bone.label, shaft, near)
    if end is None:
        return "middle" if all(whole) else None
    distal = distal_end(near)
    if distal is None or not whole[end]:
        return None
    return "distal" if distal == end else "proximal"


def distal_end(near: NDArray[np.float64]) -> int | None:
    """Which end of a shaft is its distal one, 0 or 1, as its neighbours say; None where they do not.

    Args:
        near: (2, 2) distances of the nearest distal and proximal neighbour from each end, in lengths of the shaft.

    >>> distal_end(np.array([[0.1, 1.1], [np.inf, np.inf]]))
    0
    """
    leads = [second - first if np.isfinite(first) else 0.0 for first, second in near]
    lead = leads[0] - leads[1]
    return None if abs(lead) < LEAST_LEAD else 0 if lead > 0 else 1


def _whole(label: str, shaft: Shaft, near: NDArray[np.float64]) -> tuple[bool, bool]:
    """Whether each end is seen: not cut by the border, and the bone long enough or a neighbour at that end."""
    complete = shaft.slenderness >= bone_name(label).slenderness
    seen = [not cut and (complete or bool((near[:, end] <= TOUCHING).any())) for end, cut in enumerate(shaft.cut)]
    return seen[0], seen[1]


def _distances(label: str, shaft: Shaft, bones: Sequence[Bone]) -> NDArray[np.float64]:
    """(2, 2) distances of the nearest distal, then proximal neighbour from each end, in lengths; infinite for none."""
    name = bone_name(label)
    near = np.full((2, 2), np.inf)
    for row, labels in enumerate((name.distal, name.proximal)):
        points = np.concatenate([np.zeros((0, 2)), *(_points(bone) for bone in bones if bone.label in labels)])
        for end, tip in enumerate(shaft.tips_xy if len(points) else ()):
            near[row, end] = np.sqrt(((points - tip) ** 2).sum(axis=1)).min() / shaft.length_px
    return near


def _points(bone: Bone) -> Points:
    """(n, 2) centres of a bone's pixels in image pixels; of a large one only every so many rows and columns."""
    step = max(1, int(np.sqrt(bone.mask.size / _MOST_POINTS)))
    rows, columns = np.nonzero(bone.mask[::step, ::step])
    return np.asarray(np.stack([columns, rows], axis=1) * float(step) + bone.corner_xy_px + 0.5, np.float64)
