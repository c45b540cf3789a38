"""From model output to boxes: candidates, suppression, voting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from osteon.geometry import Placement, iou
from osteon.inference.postprocess import Detections, candidates, detections, suppressed

SQUARE = Placement.fit(100, 100, side_px=200)


def found(boxes: list[list[float]], scores: list[float]) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32))


def some(seed: int, count: int = 60) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 150, (count, 2))
    return np.hstack([corners, corners + rng.uniform(0, 60, (count, 2))]).astype(np.float32), rng.random(
        count, np.float32
    )


@given(st.integers(0, 500), st.floats(0.1, 0.9))
def test_suppression_of_candidates_is_what_detections_gives(seed: int, threshold: float) -> None:
    boxes, scores = some(seed)
    at_once = detections(boxes, scores, SQUARE, min_score=0.2, iou_threshold=threshold)
    later = suppressed(candidates(boxes, scores, SQUARE, min_score=0.2), iou_threshold=threshold)
    assert np.array_equal(at_once.boxes_xyxy_px, later.boxes_xyxy_px)
    assert np.array_equal(at_once.scores, later.scores)
    overlaps = iou(later.boxes_xyxy_px, later.boxes_xyxy_px) - np.eye(len(later), dtype=np.float32)
    assert overlaps.size == 0 or overlaps.max() <= np.float32(threshold) + 1e-6


def test_candidates_are_sorted_in_image_pixels_and_at_least_a_pixel_wide() -> None:
    boxes = np.array([[0, 0, 40, 40], [10, 10, 11, 60], [20, 20, 300, 80], [0, 0, 50, 50]], np.float32)
    likely = candidates(boxes, np.array([0.3, 0.9, 0.8, 0.1], np.float32), SQUARE, min_score=0.2)
    assert likely.boxes_xyxy_px.tolist() == [[10, 10, 100, 40], [0, 0, 20, 20]]
    assert likely.scores == pytest.approx([0.8, 0.3])


def test_voting_takes_the_mean_of_what_overlaps_by_score() -> None:
    drawn = found([[0, 0, 10, 10], [0, 0, 10, 12], [0, 0, 40, 40]], [0.6, 0.3, 0.2])
    voted = suppressed(drawn, iou_threshold=0.5, voting_iou=0.7)
    assert voted.boxes_xyxy_px[0] == pytest.approx([0, 0, 10, (10 * 0.6 + 12 * 0.3) / 0.9])
    assert voted.boxes_xyxy_px[1].tolist() == [0, 0, 40, 40]
    assert voted.scores == pytest.approx([0.6, 0.2])


def test_voting_is_off_unless_asked_for() -> None:
    drawn = found([[0, 0, 10, 10], [0, 0, 10, 12]], [0.6, 0.3])
    assert suppressed(drawn, iou_threshold=0.5).boxes_xyxy_px.tolist() == [[0, 0, 10, 10]]
    alone = suppressed(drawn, iou_threshold=0.5, voting_iou=1.0)
    assert alone.boxes_xyxy_px.tolist() == [[0, 0, 10, 10]]


@pytest.mark.parametrize("voting_iou", [None, 0.5])
def test_nothing_found_stays_nothing(voting_iou: float | None) -> None:
    empty = suppressed(found([], []), iou_threshold=0.5, voting_iou=voting_iou)
    assert len(empty) == 0 and empty.boxes_xyxy_px.shape == (0, 4)


@given(st.integers(0, 300))
def test_voted_boxes_stay_within_their_voters(seed: int) -> None:
    boxes, scores = some(seed)
    likely = candidates(boxes, scores, SQUARE, min_score=0.05)
    voted = suppressed(likely, iou_threshold=0.4, voting_iou=0.4)
    for box in voted.boxes_xyxy_px:
        assert (box >= likely.boxes_xyxy_px.min(axis=0) - 1e-3).all()
        assert (box <= likely.boxes_xyxy_px.max(axis=0) + 1e-3).all()
        assert (box[2:] > box[:2]).all()
