"""A case's objects painted as one mask."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.datasets.case import Case, Instance, Polygon
from osteon.datasets.labels import FRACTURE_LABELS

Mask = NDArray[np.uint8]
"""(height, width) uint8, 0 or 255."""
NOT_BONE = frozenset({"implant", *FRACTURE_LABELS})
"""Labels that are no bone; bone beneath metal is drawn as bone by the data's own convention."""


def has_mask(case: Case) -> bool:
    """Somebody drew the case's bones (or the objects that stand for them); a mere box is no mask."""
    drawn = (i for i in case.instances or () if not i.ignore and i.label not in NOT_BONE)
    return case.mask_path is not None or any(i.polygons or i.mask is not None for i in drawn)


def painted(case: Case, *, ignore: bool, shape: tuple[int, int]) -> Mask:
    """The union of a case's bones, or of its ignored regions: (height, width) uint8, 0 or 255, in image pixels."""
    if case.mask_path and not ignore:
        with Image.open(case.mask_path) as file:
            mask = np.asarray(file.convert("L"))
        return np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST) > 127, np.uint8) * 255
    mask = np.zeros(shape, np.uint8)
    for instance in case.instances or ():
        if instance.ignore == ignore and instance.label not in NOT_BONE:
            _paint(mask, instance)
    return mask


def _paint(mask: Mask, instance: Instance) -> None:
    if instance.mask is not None:
        mask[instance.mask] = 255
    for polygon in instance.polygons:
        cv2.fillPoly(mask, [np.rint((polygon - 0.5) * 16).astype(np.int32)], 255, shift=4)


def outlined(instance: Instance, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width) pixels of one object: those whose centres its polygons hold, and those of its mask.

    OpenCV fills the border's pixels too, which is right for a region but adds a fifth to the area of a finger's bone.
    """
    mask = np.zeros(shape, np.bool_) if instance.mask is None else instance.mask.copy()
    for polygon in instance.polygons:
        mask |= filled(polygon, shape)
    return mask


def filled(polygon: Polygon, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width) pixels whose centres lie within a polygon (even-odd rule), as COCO counts them.

    >>> filled(np.array([[1.0, 0.0], [3.0, 0.0], [3.0, 2.0], [1.0, 2.0]]), (3, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    mask = np.zeros(shape, np.bool_)
    low = np.clip(np.floor(polygon.min(axis=0)), 0, shape[::-1]).astype(int)
    high = np.clip(np.ceil(polygon.max(axis=0)), 0, shape[::-1]).astype(int)
    part = mask[low[1] : high[1], low[0] : high[0]]
    height, width = part.shape
    start, middles = polygon - low, np.arange(height) + 0.5
    end = np.roll(start, -1, axis=0)
    edge, row = np.nonzero((start[:, 1:] <= middles) != (end[:, 1:] <= middles))
    slope = (end[edge, 0] - start[edge, 0]) / (end[edge, 1] - start[edge, 1])
    crossing = start[edge, 0] + (middles[row] - start[edge, 1]) * slope
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.intp)
    crossed = np.zeros((height, width + 1), np.uint8)
    np.bitwise_xor.at(crossed, (row, column), 1)
    part[:] = np.bitwise_xor.accumulate(crossed, axis=1)[:, :width]
    return mask
