"""Figures of masks: Dice and IoU, by picture and by group."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def dice_and_iou(found: Mask, truth: Mask, counted: Mask | None = None) -> tuple[float, float]:
    """Dice coefficient and intersection over union of two masks of the same shape; 1 where both are empty.

    Args:
        counted: where False, neither mask counts.

    >>> dice_and_iou(np.array([[True, True]]), np.array([[True, False]]))
    (0.6666666666666666, 0.5)
    """
    if counted is not None:
        found, truth = found & counted, truth & counted
    shared, sizes = int((found & truth).sum()), int(found.sum()) + int(truth.sum())
    if sizes == 0:
        return 1.0, 1.0
    return 2 * shared / sizes, shared / (sizes - shared)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, median, best and worst of a figure over pictures, to 4 places.

    >>> spread([0.5, 0.9, 1.0])
    {'count': 3, 'mean': 0.8, 'median': 0.9, 'best': 1.0, 'worst': 0.5}
    """
    if not values:
        return {"count": 0}
    array = np.asarray(values, np.float64)
    figures = {"mean": array.mean(), "median": np.median(array), "best": array.max(), "worst": array.min()}
    return {"count": len(values)} | {name: round(float(value), 4) for name, value in figures.items()}
