"""Boxes, polygons and the letterbox's placement: plane geometry in pixels, NumPy only.

Frames: *image* pixels are those of the picture as a person sees it; *model* pixels those of the square that a
model is given. Both have their origin in the upper left corner of the upper left pixel; x grows right, y down.
Boxes are `[x0, y0, x1, y1]`, sizes are (height, width).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""(n, 4) boxes `[x0, y0, x1, y1]`."""


@dataclass(frozen=True)
class Placement:
    """Where an image of (height_px, width_px) lies in a square of side_px: scaled by `scale`, upper left.

    >>> Placement.fit(100, 50, side_px=64).scale
    0.64
    """

    height_px: int
    width_px: int
    side_px: int
    scale: float

    @classmethod
    def fit(cls, height_px: int, width_px: int, *, side_px: int) -> "Placement":
        """The placement which scales the longer side to `side_px`."""
        if min(height_px, width_px, side_px) < 1:
            raise ValueError(f"cannot place {height_px}x{width_px} px in a square of {side_px} px")
        return cls(height_px, width_px, side_px, side_px / max(height_px, width_px))

    @property
    def placed_height_px(self) -> int:
        """Rows of the square which the image covers."""
        return max(1, round(self.height_px * self.scale))

    @property
    def placed_width_px(self) -> int:
        """Columns of the square which the image covers."""
        return max(1, round(self.width_px * self.scale))

    def _scales_xyxy(self) -> NDArray[np.float32]:
        x, y = self.placed_width_px / self.width_px, self.placed_height_px / self.height_px
        return np.array([x, y, x, y], np.float32)

    def to_model(self, boxes_xyxy: Boxes) -> Boxes:
        """Boxes in image pixels -> boxes in model pixels."""
        return np.asarray(boxes_xyxy * self._scales_xyxy(), np.float32)

    def to_image(self, boxes_xyxy: Boxes) -> Boxes:
        """Boxes in model pixels -> boxes in image pixels, clipped to the image."""
        return clip(self.to_image_unclipped(boxes_xyxy), self.height_px, self.width_px)

    def to_image_unclipped(self, boxes_xyxy: Boxes) -> Boxes:
        """Boxes in model pixels -> boxes in image pixels, some of which may reach beyond the image."""
        return np.asarray(boxes_xyxy / self._scales_xyxy(), np.float32)


def clip(boxes_xyxy: Boxes, height_px: int, width_px: int) -> Boxes:
    """The boxes cut at the image's border.

    >>> clip(np.array([[-5, 2, 30, 9]], np.float32), 8, 20).tolist()
    [[0.0, 2.0, 20.0, 8.0]]
    """
    limits = np.array([width_px, height_px, width_px, height_px], np.float32)
    return np.asarray(np.clip(boxes_xyxy, 0, limits), np.float32)


def area(boxes_xyxy: Boxes) -> NDArray[np.float32]:
    """(n,) areas; an empty or reversed box has none."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def iou(first_xyxy: Boxes, second_xyxy: Boxes) -> NDArray[np.float32]:
    """(n, m) intersection over union of each pair; 0 where both are empty.

    >>> iou(np.array([[0, 0, 2, 2]], np.float32), np.array([[1, 0, 3, 2]], np.float32)).round(3).tolist()
    [[0.3330000042915344]]
    """
    upper_left = np.maximum(first_xyxy[:, None, :2], second_xyxy[None, :, :2])
    lower_right = np.minimum(first_xyxy[:, None, 2:], second_xyxy[None, :, 2:])
    sides = np.maximum(lower_right - upper_left, 0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(first_xyxy)[:, None] + area(second_xyxy)[None, :] - intersection
    return np.asarray(intersection / np.maximum(union, 1e-9), np.float32)


def suppress(boxes_xyxy: Boxes, scores: NDArray[np.float32], *, iou_threshold: float) -> NDArray[np.intp]:
    """Indices that greedy non-maximum suppression keeps, best score first."""
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[iou(boxes_xyxy[best : best + 1], boxes_xyxy[left])[0] <= iou_threshold]
    return np.array(kept, np.intp)


def box_of_points(points_xy: NDArray[Any]) -> tuple[float, float, float, float]:
    """The smallest box around (n, 2) points.

    >>> box_of_points(np.array([[1, 5], [4, 2]]))
    (1.0, 2.0, 4.0, 5.0)
    """
    x0, y0 = points_xy.min(axis=0)
    x1, y1 = points_xy.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def polygon_area(points_xy: NDArray[Any]) -> float:
    """Area of a simple polygon (shoelace formula).

    >>> polygon_area(np.array([[0, 0], [4, 0], [4, 3], [0, 3]]))
    12.0
    """
    x, y = np.asarray(points_xy, np.float64).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def shared_px(
    first: NDArray[np.bool_], first_xy: tuple[int, int], second: NDArray[np.bool_], second_xy: tuple[int, int]
) -> int:
    """How many pixels two masks have in common, each a crop of one picture.

    Args:
        first: (h, w) crop.
        first_xy: the picture's pixel that its upper left one is.
        second: likewise.
        second_xy: likewise.

    >>> shared_px(np.ones((2, 3), bool), (0, 0), np.ones((5, 5), bool), (1, 1))
    2
    """
    x0, y0 = max(first_xy[0], second_xy[0]), max(first_xy[1], second_xy[1])
    x1 = min(first_xy[0] + first.shape[1], second_xy[0] + second.shape[1])
    y1 = min(first_xy[1] + first.shape[0], second_xy[1] + second.shape[0])
    if x1 <= x0 or y1 <= y0:
        return 0
    parts = [mask[y0 - y : y1 - y, x0 - x : x1 - x] for mask, (x, y) in ((first, first_xy), (second, second_xy))]
    return int(np.count_nonzero(parts[0] & parts[1]))
