"""Laws of plane geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from osteon.geometry import Placement, area, clip, iou, polygon_area, suppress

sides = st.integers(1, 6000)
shares = st.floats(0, 1, width=32)
coordinates = st.floats(-500, 500, width=16)


@st.composite
def boxes(draw: st.DrawFn, *, most: int = 8) -> NDArray[np.float32]:
    """Up to `most` boxes with ordered corners."""
    rows = draw(st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), min_size=1, max_size=most))
    drawn = np.array(rows, np.float32).reshape(-1, 2, 2)
    return np.concatenate([drawn.min(axis=1), drawn.max(axis=1)], axis=1)


@given(sides, sides, st.sampled_from((32, 224, 640, 1024)), st.tuples(shares, shares), st.tuples(shares, shares))
def test_letterbox_there_and_back(
    height: int, width: int, side: int, columns: tuple[float, float], rows: tuple[float, float]
) -> None:
    (x0, x1), (y0, y1) = sorted(columns), sorted(rows)
    box = np.array([[x0 * width, y0 * height, x1 * width, y1 * height]], np.float32)
    placement = Placement.fit(height, width, side_px=side)
    np.testing.assert_allclose(placement.to_image(placement.to_model(box)), box, rtol=0, atol=1e-3)


@given(sides, sides, st.integers(1, 1024))
def test_the_placed_image_touches_the_border_of_the_square(height: int, width: int, side: int) -> None:
    placement = Placement.fit(height, width, side_px=side)
    placed = placement.placed_height_px, placement.placed_width_px
    assert max(placed) == side
    assert min(placed) >= 1
    whole = placement.to_model(np.array([[0, 0, width, height]], np.float32))
    np.testing.assert_allclose(whole[0], [0, 0, placed[1], placed[0]], rtol=1e-5)


def test_boxes_come_back_within_the_image() -> None:
    placement = Placement.fit(100, 50, side_px=64)
    assert placement.to_image(np.array([[-9, 4, 64, 80]], np.float32)).tolist() == [[0, 6.25, 50, 100]]


@pytest.mark.parametrize("sizes", [(0, 5, 64), (5, 0, 64), (5, 5, 0)])
def test_nothing_can_be_placed_without_pixels(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot place"):
        Placement.fit(sizes[0], sizes[1], side_px=sizes[2])


@given(boxes(), boxes())
def test_iou_is_symmetric_and_within_bounds(first: NDArray[np.float32], second: NDArray[np.float32]) -> None:
    overlap = iou(first, second)
    assert overlap.shape == (len(first), len(second))
    np.testing.assert_array_equal(overlap, iou(second, first).T)
    assert overlap.min() >= 0
    assert overlap.max() <= 1 + 1e-6


@given(boxes())
def test_a_box_overlaps_itself_entirely(drawn: NDArray[np.float32]) -> None:
    itself = np.diag(iou(drawn, drawn))
    np.testing.assert_allclose(itself, area(drawn) > 0, atol=1e-6)


def test_iou_of_boxes_apart_or_only_touching_is_zero() -> None:
    first = np.array([[0, 0, 2, 2]], np.float32)
    assert iou(first, np.array([[2, 0, 4, 2], [5, 5, 6, 6], [1, 1, 1, 1]], np.float32)).tolist() == [[0, 0, 0]]


@given(boxes(most=20), st.floats(0, 1), st.randoms(use_true_random=False))
def test_suppression_keeps_the_best_and_no_two_that_overlap(
    drawn: NDArray[np.float32], threshold: float, random: object
) -> None:
    scores = np.array([random.random() for _ in drawn], np.float32)  # type: ignore[attr-defined]
    kept = suppress(drawn, scores, iou_threshold=threshold)
    assert kept[0] == scores.argmax()
    assert (np.diff(scores[kept]) <= 0).all()
    overlap = iou(drawn[kept], drawn[kept])
    np.fill_diagonal(overlap, 0)
    assert overlap.max() <= threshold
    for dropped in set(range(len(drawn))) - set(kept.tolist()):
        better = kept[scores[kept] >= scores[dropped]]
        assert iou(drawn[[dropped]], drawn[better]).max() > threshold


def test_suppression_of_nothing_keeps_nothing() -> None:
    assert suppress(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), iou_threshold=0.5).size == 0


@given(boxes(), st.integers(1, 400), st.integers(1, 400))
def test_clipped_boxes_lie_within_and_clipping_again_changes_nothing(
    drawn: NDArray[np.float32], height: int, width: int
) -> None:
    cut = clip(drawn, height, width)
    assert cut.min() >= 0
    assert (cut <= np.array([width, height, width, height])).all()
    np.testing.assert_array_equal(clip(cut, height, width), cut)
    within = (drawn >= 0).all(1) & (drawn <= [width, height, width, height]).all(1)
    np.testing.assert_array_equal(cut[within], drawn[within])


def test_a_reversed_box_has_no_area() -> None:
    assert area(np.array([[4, 4, 1, 1], [0, 0, 2, 3], [1, 1, 1, 9]], np.float32)).tolist() == [0, 6, 0]


@given(st.lists(st.floats(0.1, 1), min_size=3, max_size=12), st.floats(-1000, 1000), st.integers(0, 11))
def test_polygon_area_is_the_sum_of_its_triangles_wherever_it_starts(
    radii: list[float], shift: float, start: int
) -> None:
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array(radii)[:, None]
    triangles = sum(a * b for a, b in zip(radii, np.roll(radii, -1), strict=True)) * np.sin(angles[1]) / 2
    assert polygon_area(points + shift) == pytest.approx(triangles, abs=1e-6)
    assert polygon_area(np.roll(points, start, axis=0)[::-1]) == pytest.approx(triangles, abs=1e-9)
