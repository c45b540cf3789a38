"""Outlines as pixels: those whose centres they hold, no more."""

import numpy as np
import pytest
from numpy.typing import NDArray

from osteon.datasets.case import Instance
from osteon.datasets.masks import filled, outlined
from osteon.geometry import polygon_area


def inside(x: float, y: float, points: NDArray[np.float64]) -> bool:
    """Even-odd, edge by edge."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y):
            crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) < x
    return crossings % 2 == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_pixel_is_filled_where_its_centre_lies_inside(seed: int) -> None:
    """Any polygon, also one that crosses itself or leaves the picture."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-6, 26, (int(rng.integers(3, 9)), 2))
    found = filled(points, (20, 16))
    expected = [[inside(column + 0.5, row + 0.5, points) for column in range(16)] for row in range(20)]
    assert found.tolist() == expected
    assert 0 < found.sum() < found.size


def test_small_objects_are_as_large_as_they_were_drawn() -> None:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    areas = []
    for shift in np.linspace(0, 1, 9):
        finger = np.stack([20 + shift + 4 * np.cos(angles), 20 + shift / 3 + 7 * np.sin(angles)], axis=1)
        areas.append(filled(finger, (40, 40)).sum() / polygon_area(finger))
    assert np.mean(areas) == pytest.approx(1, abs=0.02)


def test_parts_and_pixels_of_one_object_are_joined() -> None:
    square = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]])
    parts = Instance("femur", (1, 1, 9, 3), (square, square + np.array([6, 0])))
    assert outlined(parts, (10, 10)).sum() == 8
    mask = np.eye(10, dtype=bool)
    assert np.array_equal(outlined(Instance("femur", (0, 0, 10, 10), mask=mask), (10, 10)), mask)
    assert not filled(square + np.array([20, 0]), (10, 10)).any()
