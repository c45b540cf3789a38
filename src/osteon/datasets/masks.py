"""A case's objects painted as one mask."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.datasets.case import Case, Instance
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
            paint(mask, instance)
    return mask


def paint(mask: Mask, instance: Instance) -> None:
    """Set to 255 what the instance's mask and polygons cover, to a sixteenth of a pixel."""
    if instance.mask is not None:
        mask[instance.mask] = 255
    for polygon in instance.polygons:
        cv2.fillPoly(mask, [np.rint((polygon - 0.5) * 16).astype(np.int32)], 255, shift=4)
