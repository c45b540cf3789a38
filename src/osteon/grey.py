"""Grey values of colour, transparent and wide-range pixels: NumPy only, the same for every file format."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.radiograph import Pixels

# ITU-R BT.601 in 16-bit fixed point; the weights sum to 65536, so that equal channels keep their value exactly.
_RED, _GREEN, _BLUE = 19595, 38470, 7471


def luma(colours: NDArray[Any]) -> Pixels:
    """(height, width) grey of (height, width, 3) RGB, uint8 or uint16, by ITU-R BT.601.

    >>> luma(np.full((1, 1, 3), 200, np.uint8)).item()
    200
    """
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    return np.asarray((red * _RED + green * _GREEN + blue * _BLUE + 0x8000) >> 16, colours.dtype)


def on_black(grey: Pixels, alpha: NDArray[Any]) -> Pixels:
    """Grey values where the picture is opaque, black where it is not.

    >>> on_black(np.array([[200]], np.uint8), np.array([[0]], np.uint8)).item()
    0
    """
    opaque = int(np.iinfo(grey.dtype).max)
    if bool((alpha == opaque).all()):
        return grey
    return np.asarray((grey.astype(np.uint64) * alpha + opaque // 2) // opaque, grey.dtype)


def spread(values: NDArray[Any]) -> Pixels:
    """Whole or real numbers of a wide type as uint8 or uint16.

    Whole numbers that fit 16 bits keep their value, real ones in [0, 1] are a share of white; others are spread from
    their smallest to their greatest. Not-a-number becomes black.
    """
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    if np.issubdtype(values.dtype, np.integer) and low >= 0 and high <= 65535:
        return values.astype(np.uint8 if high <= 255 else np.uint16)
    if np.issubdtype(values.dtype, np.floating) and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    if high <= low:
        return np.zeros(values.shape, np.uint16)
    shares = (np.where(finite, values, low).astype(np.float64) - low) / (high - low)
    return np.asarray(np.rint(shares * 65535), np.uint16)
