"""Radiograph -> model input, and boxes and masks back. Training and inference share this file."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.errors import InvalidImage
from osteon.geometry import Placement
from osteon.radiograph import Pixels

BLACK_PERCENTILE = 0.5
WHITE_PERCENTILE = 99.5
LEAST_RANGE = 65536 / 4


@dataclass(frozen=True, eq=False)
class Letterboxed:
    """A picture in a model's square: (side_px, side_px) float32 in [0, 1] and where the image lies in it."""

    pixels: NDArray[np.float32]
    placement: Placement


def resize(image: Pixels, height_px: int, width_px: int) -> Pixels:
    """The image at another size: area averaging where it shrinks, bilinear where it grows."""
    if image.shape == (height_px, width_px):
        return image
    shrinks = height_px * width_px < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width_px, height_px), interpolation=interpolation))


def stretch(image: Pixels) -> NDArray[np.float32]:
    """Grey values spread over [0, 1]: the 0.5th percentile becomes black, the 99.5th white.

    So exposure, bit depth and window matter little to a model. A flat picture becomes black.

    >>> stretch(np.full((4, 4), 7, np.uint8)).max()
    np.float32(0.0)
    """
    low, high = _ends(image)
    if high <= low:
        return np.zeros(image.shape, np.float32)
    if image.dtype == np.uint8:  # as below, each grey level once
        return np.asarray(cv2.LUT(image, _spread(np.arange(256, dtype=np.uint8), low, high)))
    return _spread(image, low, high)


def _spread(image: Pixels, low: float, high: float) -> NDArray[np.float32]:
    return np.asarray(np.clip((image.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)


def _ends(image: Pixels) -> tuple[float, float]:
    """The black and the white percentile as `np.percentile` gives them; of 8 bits by counting, which is quicker."""
    if image.dtype != np.uint8:
        low, high = np.percentile(image, (BLACK_PERCENTILE, WHITE_PERCENTILE))
        return float(low), float(high)
    reached = np.cumsum(cv2.calcHist([image], [0], None, [256], [0, 256]), dtype=np.float64)
    ranks = np.array((BLACK_PERCENTILE, WHITE_PERCENTILE)) / 100 * (image.size - 1)
    below, above = (np.searchsorted(reached, rank(ranks), side="right") for rank in (np.floor, np.ceil))
    low, high = below + (above - below) * (ranks - np.floor(ranks))
    return float(low), float(high)


def model_depth(image: Pixels) -> Pixels:
    """The picture in 8 bits, unless it uses so little of 16 that grey levels would be lost.

    Models learn from 8-bit films. So the same picture gives the same findings to the last digit, whether a file holds
    it in 8, 12 or 16 bits; only one that uses less than a quarter of the range keeps its depth.

    >>> model_depth(np.array([[0, 257, 65535]], np.uint16)).tolist()
    [[0, 1, 255]]
    >>> model_depth(np.array([[0, 257, 4095]], np.uint16)).dtype
    dtype('uint16')
    """
    if image.dtype == np.uint8:
        return image
    step = max(1, min(image.shape) // 128)
    low, high = np.percentile(image[::step, ::step], (BLACK_PERCENTILE, WHITE_PERCENTILE))
    if high - low < LEAST_RANGE:
        return image
    return np.asarray(cv2.convertScaleAbs(image, alpha=1 / 257))


def letterbox(image: Pixels, *, side_px: int) -> Letterboxed:
    """The image scaled to fit a square of `side_px`, stretched in grey, padded right and below with black.

    Args:
        image: (height, width) uint8 or uint16, bone bright.

    Returns:
        The (side_px, side_px) float32 pixels in [0, 1] and the placement which brings boxes back to image pixels.

    Raises:
        InvalidImage: a side of zero pixels.

    >>> letterbox(np.zeros((100, 50), np.uint8), side_px=64).placement.scale
    0.64
    """
    if min(image.shape) < 1:
        raise InvalidImage(f"picture of {image.shape} pixels", hint="send a picture with at least one pixel")
    placement = Placement.fit(image.shape[0], image.shape[1], side_px=side_px)
    height, width = placement.placed_height_px, placement.placed_width_px
    square = np.zeros((side_px, side_px), np.float32)
    square[:height, :width] = stretch(resize(model_depth(image), height, width))
    return Letterboxed(square, placement)


def unletterbox(square: NDArray[np.float32], placement: Placement) -> NDArray[np.float32]:
    """The part of a model's (side, side) output map that lies over the image, on the output's own grid.

    The output may be coarser than the input square; the placement is scaled to it.
    """
    ratio = square.shape[0] / placement.side_px
    height = max(1, round(placement.placed_height_px * ratio))
    width = max(1, round(placement.placed_width_px * ratio))
    return square[:height, :width]
