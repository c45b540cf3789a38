"""Radiographs to send: one drawn film in any number of copies, no two of which are the same."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.samples import drawn

SIZE_PX = (454, 373)
"""Of a typical film of FracAtlas, (height, width)."""
_BITS = 16
_CELL_PX = 4


def film(number: int) -> bytes:
    """A JPEG of `SIZE_PX`; the number, below 65,536, stands in its corner as light and dark squares."""
    pixels = _drawn().copy()
    for bit in range(_BITS):
        left = bit * _CELL_PX
        pixels[:_CELL_PX, left : left + _CELL_PX] = 60 if number >> bit & 1 else 0
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def film_name(number: int) -> str:
    """What the film is called when it is sent."""
    return f"film-{number:05d}.jpg"


@cache
def _drawn() -> NDArray[np.uint8]:
    height_px, width_px = SIZE_PX
    return np.asarray(cv2.resize(drawn()[0], (width_px, height_px), interpolation=cv2.INTER_AREA), np.uint8)
