"""Figures as JSON takes them."""

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any, *, places: int = 4) -> Any:
    """The value with its numbers rounded, and null for what has none: JSON knows no NaN.

    Cuts and curves of a calibration keep six places: a picture at the cut must still reach it.

    >>> plain({"auroc": float("nan"), "map50": (0.12345, 2), "threshold": 0.12345})
    {'auroc': None, 'map50': [0.1235, 2], 'threshold': 0.12345}
    """
    if isinstance(value, Mapping):
        return {key: plain(item, places=6 if key in _FINE else places) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, places=places) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, places)
    return value


_FINE = ("threshold", "cuts", "curve", "platt", "picture")
