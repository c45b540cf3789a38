"""One bone cut out of a film, upright and with its own mask, and whether it is the one that is broken.

Training and inference cut by this file. A crop is twice as high as wide; the bone's long axis stands upright in it, and
bones without a long axis (carpals, patella) stay as they lie on the film.

What FracAtlas knows is where fractures are, not which bone has them, so a bone's `Damage` is told by how much of the
drawn fracture lies on it. The fracture goes to the bone that holds the largest share of it. Another bone that holds
half as much or more is as good a guess (outlines touch two bones, or the bones lie over each other): then all of these
are `shared`. Every other bone of that film is `unknown`: nobody said that it is whole. Only the bones of films without
a fracture are `intact`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.datasets.case import Case, Instance, Polygon
from osteon.datasets.labels import FRACTURE_LABELS
from osteon.datasets.masks import filled
from osteon.findings import Bone, BoxXyxy
from osteon.geometry import shared_px
from osteon.preprocess import model_depth, stretch
from osteon.radiograph import Pixels

Damage = Literal["damaged", "shared", "intact", "unknown"]
Affine = NDArray[np.float64]
"""(2, 3) matrix taking points of the film to points of the crop."""
Grey = NDArray[np.uint8]
Pyramid = tuple[Grey, ...]
"""A film's grey values, stretched to 8 bits, and the same at half the size, again and again."""

GREY, MASK = 0, 1
"""Channels of a crop."""
LEAST_SHARE = 0.2
"""Of a drawn fracture that must lie on a bone, so that it is that bone's."""
AS_GOOD = 0.5
"""Share of the best bone's share from which on another bone is as good a guess."""
ELONGATED = 1.5
"""Spread along the axis over that across it, from which on a bone has a long axis."""
_LEAST_SIDE_PX = 64


@dataclass(frozen=True)
class Framing:
    """How bones are cut: `side_px` high and half as wide, with a margin on each side of the bone.

    `margin` is a share of the bone's length and width; small bones are enlarged by no more than `largest_scale`.
    """

    side_px: int = 256
    margin: float = 0.12
    largest_scale: float = 4.0

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a crop."""
        return self.side_px, self.side_px // 2


def pyramid(pixels: Pixels) -> Pyramid:
    """The film made ready for cutting: (height, width) uint8 or uint16, bone bright, with its smaller versions."""
    levels = [np.asarray(np.rint(stretch(model_depth(pixels)) * 255), np.uint8)]
    while min(levels[-1].shape) >= 2 * _LEAST_SIDE_PX:
        height, width = (round(side / 2) for side in levels[-1].shape)
        levels.append(np.asarray(cv2.resize(levels[-1], (width, height), interpolation=cv2.INTER_AREA), np.uint8))
    return tuple(levels)


def upright(bone: Bone, framing: Framing) -> Affine:
    """The turn, scale and shift that bring a bone upright to the middle of its crop; points are continuous.

    The axis is the principal one of the mask's pixels; its lower end on the film stays below.
    """
    points = _points(bone)
    offsets = points - points.mean(axis=0)
    spreads, axes = np.linalg.eigh(offsets.T @ offsets / len(points))
    across, along = (1.0, 0.0), (0.0, 1.0)
    if spreads[1] >= ELONGATED**2 * max(spreads[0], 1e-9):
        x, y = axes[:, 1] * (-1 if (axes[1, 1], axes[0, 1]) < (0, 0) else 1)
        across, along = (float(y), float(-x)), (float(x), float(y))
    turn = np.array([across, along])
    turned = points @ turn.T
    low, high = turned.min(axis=0) - 0.5, turned.max(axis=0) + 0.5
    height, width = framing.shape
    rooms = np.array([width, height]) / ((high - low) * (1 + 2 * framing.margin))
    scale = min(float(rooms.min()), framing.largest_scale)
    shift = np.array([width / 2, height / 2]) - scale * (low + high) / 2
    return np.asarray(np.hstack([scale * turn, shift[:, None]]), np.float64)


def _points(bone: Bone) -> NDArray[np.float64]:
    """(n, 2) middles of the mask's pixels on the film; the corners of its box where the mask is empty."""
    rows, columns = np.nonzero(bone.mask)
    if rows.size:
        return np.stack([columns, rows], axis=1).astype(np.float64) + 0.5 + np.array(bone.corner_xy_px, np.float64)
    x0, y0, x1, y1 = bone.box_xyxy_px
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def crop(film: Pyramid, bone: Bone, framing: Framing) -> NDArray[np.uint8]:
    """(2, side, side / 2) uint8: the film along the bone, stretched in grey, and the bone's mask as 0 or 255."""
    affine = upright(bone, framing)
    scale = float(np.hypot(*affine[:, 0]))
    level = min(max(0, int(np.floor(-np.log2(scale)))), len(film) - 1)
    ratios = np.array(film[0].shape[::-1]) / np.array(film[level].shape[::-1])
    from_level = np.hstack([affine[:, :2] * ratios, affine[:, 2:]])
    grey = np.rint(stretch(warp(film[level], from_level, framing.shape)) * 255)
    from_corner = affine.copy()
    from_corner[:, 2] += affine[:, :2] @ np.array(bone.corner_xy_px, np.float64)
    mask = warp(np.asarray(bone.mask, np.uint8) * np.uint8(255), from_corner, framing.shape)
    return np.stack([grey, np.where(mask > 127, 255, 0)]).astype(np.uint8)


def warp(image: Grey, affine: Affine, shape: tuple[int, int]) -> Grey:
    """The picture moved into a black canvas of (height, width), bilinear; a pixel's middle is at +0.5."""
    if not image.size:
        return np.zeros(shape, np.uint8)
    shifted = affine.copy()
    shifted[:, 2] += affine[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return np.asarray(cv2.warpAffine(image, shifted, shape[::-1], flags=cv2.INTER_LINEAR), np.uint8)


def fracture_area(case: Case, bone: Bone, framing: Framing) -> NDArray[np.bool_]:
    """(side, side / 2) where in the bone's crop a fracture of the film is drawn, whichever bone it is of."""
    affine, area = upright(bone, framing), np.zeros(framing.shape, np.bool_)
    for fracture in fractures(case):
        for polygon in outlines(fracture):
            area |= filled(polygon @ affine[:, :2].T + affine[:, 2], framing.shape)
    return area


def fractures(case: Case) -> list[Instance]:
    """The case's drawn fractures."""
    return [i for i in case.instances or () if not i.ignore and i.label.lower() in FRACTURE_LABELS]


def outlines(instance: Instance) -> tuple[Polygon, ...]:
    """Its polygons, or its box as one."""
    x0, y0, x1, y1 = instance.box_xyxy_px
    return instance.polygons or (np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64),)


def damages(case: Case, bones: Sequence[Bone]) -> tuple[Damage, ...]:
    """What is known of each bone of a film; see the top of this file."""
    if case.fractured is False:
        return tuple("intact" for _ in bones)
    found: list[Damage] = ["unknown" for _ in bones]
    for fracture in fractures(case) if case.fractured else ():
        held = touched(outlines(fracture), bones)
        for index in held:
            if found[index] != "damaged":
                found[index] = "damaged" if len(held) == 1 else "shared"
    return tuple(found)


def touched(area: Sequence[Polygon], bones: Sequence[Bone], *, least: float = LEAST_SHARE) -> tuple[int, ...]:
    """Indices of the bones that a drawn area is of, the one with the largest share first; none, one, or several."""
    window, corner = _painted(area)
    shares = [_share(window, corner, bone) for bone in bones]
    best = max(shares, default=0.0)
    if best < least:
        return ()
    held = [index for index, share in enumerate(shares) if share >= AS_GOOD * best]
    return tuple(sorted(held, key=lambda index: -shares[index]))


def box_outline(box_xyxy_px: BoxXyxy) -> tuple[Polygon, ...]:
    """A box as `touched` takes it."""
    return outlines(Instance("", box_xyxy_px))


def _painted(area: Sequence[Polygon]) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """The area's pixels, no more of the film than it takes, and the film's pixel (x, y) of their upper left one."""
    points = np.concatenate(area)
    x0, y0 = (int(value) for value in np.floor(points.min(axis=0)))
    x1, y1 = (int(value) for value in np.ceil(points.max(axis=0)))
    window = np.zeros((max(1, y1 - y0), max(1, x1 - x0)), np.bool_)
    for polygon in area:
        window |= filled(polygon - np.array([x0, y0], np.float64), window.shape)
    return window, (x0, y0)


def _share(window: NDArray[np.bool_], corner_xy_px: tuple[int, int], bone: Bone) -> float:
    """Share of an area's pixels that lie on the bone's mask."""
    return shared_px(window, corner_xy_px, bone.mask, bone.corner_xy_px) / max(1, int(np.count_nonzero(window)))
