"""Masks as polygons that a person can correct, and what is wrong with polygons.

An outline runs a sixth of a pixel within the edges of the mask's outer pixels. There painters agree: pixel centres lie
inside it, which is COCO's rule, and those which also fill what the line itself touches (OpenCV's) fill no pixel more.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.datasets.case import Instance, Polygon
from osteon.datasets.masks import filled
from osteon.datasets.rle import Mask, box_of_mask
from osteon.geometry import box_of_points

LEAST_IOU = 0.98
"""Of an outline with its mask, both in whole pixels and in ninths of pixels."""
TOLERANCES_PX = (1.0, 0.7, 0.5, 0.35)
"""Douglas-Peucker distances that are tried; where none keeps `LEAST_IOU`, every corner is kept."""
_SUBPIXELS = 3
_DECIMALS = 2
"""CVAT writes no more of a coordinate."""

Contour = NDArray[Any]
"""(n, 1, 2) points x, y of the enlarged mask."""
Corner = tuple[int, int]
"""x, y of the image pixel that a mask's upper left pixel is."""


def polygons_of(mask: Mask) -> tuple[Polygon, ...] | None:
    """The mask's parts as polygons in the mask's own pixels, with as few points as `LEAST_IOU` allows.

    Returns:
        A polygon for each part, in 1/100 px; None where polygons cannot say what the mask says: it is empty, or has
        holes that together are more than 2% of it.
    """
    fine = np.pad(mask.astype(np.uint8), 1).repeat(_SUBPIXELS, axis=0).repeat(_SUBPIXELS, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if _agreement(contours, fine) < LEAST_IOU:
        return None
    for tolerance_px in TOLERANCES_PX:
        simple = [_simplified(contour, tolerance_px) for contour in contours]
        polygons = tuple(map(_in_pixels, simple))
        if _agreement(simple, fine) >= LEAST_IOU and _is_sound(polygons, mask):
            return polygons
    return tuple(map(_in_pixels, contours))


def _simplified(contour: Contour, tolerance_px: float) -> Contour:
    points = cv2.approxPolyDP(contour, tolerance_px * _SUBPIXELS, True)
    return points if len(points) >= 3 else contour


def _in_pixels(contour: Contour) -> Polygon:
    """Points of the padded, enlarged mask -> points of the mask."""
    return np.asarray(np.round((contour.reshape(-1, 2) + 0.5) / _SUBPIXELS - 1, _DECIMALS), np.float64)


def _agreement(contours: Sequence[Contour], fine: NDArray[np.uint8]) -> float:
    """Intersection over union of the filled contours and the enlarged mask; 0 where both are empty."""
    drawn = np.zeros_like(fine)
    for contour in contours:
        cv2.fillPoly(drawn, [contour], 1)
    return _iou(drawn > 0, fine > 0)


def _is_sound(polygons: Sequence[Polygon], mask: Mask) -> bool:
    """Whether the polygons give back the mask's pixels and none of them crosses itself."""
    return _iou(painted(polygons, *mask.shape), mask) >= LEAST_IOU and not any(map(crossings, polygons))


def _iou(first: Mask, second: Mask) -> float:
    both, either = int(np.count_nonzero(first & second)), int(np.count_nonzero(first | second))
    return both / max(either, 1)


def painted(polygons: Sequence[Polygon], height_px: int, width_px: int) -> Mask:
    """(height_px, width_px) bool: the pixels whose centres lie in one of the polygons."""
    mask = np.zeros((height_px, width_px), bool)
    for polygon in polygons:
        mask |= filled(polygon, mask.shape)
    return mask


def outlined(
    label: str, mask: Mask, corner_xy_px: Corner, *, size_px: tuple[int, int], score: float
) -> Instance | None:
    """A model's mask as an instance: polygons, or the very pixels where polygons will not do.

    Args:
        label: of the object.
        mask: (h, w) bool, a part of the picture.
        corner_xy_px: where that part lies.
        size_px: (height, width) of the picture.
        score: the model's; kept to four decimals.

    Returns:
        The instance in image pixels; None where nothing of the mask lies on the picture.
    """
    seen, (x, y) = _on_picture(mask, corner_xy_px, size_px)
    box = box_of_mask(seen)
    if box is None:
        return None
    polygons = polygons_of(seen)
    if polygons is None:
        whole = np.zeros(size_px, bool)
        whole[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
        x0, y0, x1, y1 = box
        return Instance(label, (x0 + x, y0 + y, x1 + x, y1 + y), mask=whole, score=round(score, 4))
    moved = tuple(np.round(polygon + np.array([x, y]), _DECIMALS) for polygon in polygons)
    return Instance(label, box_of_points(np.concatenate(moved)), moved, score=round(score, 4))


def _on_picture(mask: Mask, corner_xy_px: Corner, size_px: tuple[int, int]) -> tuple[Mask, Corner]:
    """The part of a mask that lies on the picture, and its corner there."""
    (x, y), (height, width) = corner_xy_px, size_px
    left, top = max(-x, 0), max(-y, 0)
    seen = mask[top : max(height - y, 0), left : max(width - x, 0)]
    return seen, (x + left, y + top)


def crossings(polygon: Polygon) -> int:
    """How often edges of a polygon cross each other; a corner that touches an edge does not count.

    >>> crossings(np.array([[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [0.0, 2.0]]))
    1
    """
    x, y = polygon.T
    along_x, along_y = np.roll(x, -1) - x, np.roll(y, -1) - y
    side = along_x[:, None] * (y - y[:, None]) - along_y[:, None] * (x - x[:, None])  # of point j, seen along edge i
    apart = side * np.roll(side, -1, axis=1) < 0
    return int(np.count_nonzero(apart & apart.T) // 2)
