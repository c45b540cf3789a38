"""Bone masks for the gate at the model's size, every drawn bone together."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from osteon.datasets.masks import Mask, painted
from osteon.training.pictures import Picture


@dataclass(frozen=True, eq=False)
class Target:
    """A picture in the gate's square, its bone mask, and the region nobody could draw; both uint8 0 to 255.

    The masks have the size of the placed picture; values between are shares of a pixel.
    """

    picture: Picture
    bone: Mask
    unknown: Mask


def targets(pictures: Sequence[Picture]) -> list[Target]:
    """The gate's truth for pictures whose bones are drawn, or that show none."""
    return [_target(picture) for picture in pictures]


def _target(picture: Picture) -> Target:
    shape = (picture.placement.height_px, picture.placement.width_px)
    size = picture.pixels.shape[::-1]
    bone = painted(picture.case, ignore=False, shape=shape)
    unknown = painted(picture.case, ignore=True, shape=shape)
    unknown[bone > 0] = 0
    small = [np.asarray(cv2.resize(m, size, interpolation=cv2.INTER_AREA), np.uint8) for m in (bone, unknown)]
    return Target(picture, small[0], small[1])
