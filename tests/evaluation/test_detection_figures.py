"""Figures of detectors against pycocotools, brute force and examples by hand."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from osteon.evaluation.detection import (
    Judged,
    auroc,
    average_precision,
    best_iou,
    froc,
    image_auroc,
    match,
    mean_average_precision,
    precision_recall,
    summary,
)
from osteon.inference.postprocess import Detections

NOTHING = np.zeros((0, 4), np.float32)


def judged(found: Sequence[Sequence[float]], scores: Sequence[float], truth: Sequence[Sequence[float]]) -> Judged:
    """One picture from lists; scores best first."""
    boxes = np.array(found, np.float32).reshape(-1, 4)
    detections = Detections(boxes, np.array(scores, np.float32))
    return Judged("drawn", detections, np.array(truth, np.float32).reshape(-1, 4))


def drawn_pictures(seed: int, *, whole: bool, count: int = 30, most: int = 100) -> list[Judged]:
    """Random truths, detections near and far from them; `whole` pixels make overlaps exactly at the thresholds."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        corners = rng.uniform(0, 300, (int(rng.integers(0, 5)), 2))
        truth = np.hstack([corners, corners + rng.uniform(10, 90, corners.shape)])
        near = truth[rng.integers(0, len(truth), 9)] + rng.normal(0, 6, (9, 4)) if len(truth) else NOTHING
        corners = rng.uniform(0, 300, (int(rng.integers(0, most - 9)), 2))
        found = np.vstack([near, np.hstack([corners, corners + rng.uniform(5, 80, corners.shape)])])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        if whole:
            truth, found = truth.round(), found.round()
        scores = np.sort(rng.random(len(found)))[::-1]
        found = found[rng.permutation(len(found))]
        pictures.append(judged(found.tolist(), scores.tolist(), truth.tolist()))
    return pictures


def coco_precision(pictures: Sequence[Judged]) -> NDArray[np.float64]:
    """(10,) average precision at each IoU threshold by pycocotools; area all, 100 detections a picture."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def row(box: NDArray[np.float32], image: int) -> dict[str, object]:
        x0, y0, x1, y1 = (float(v) for v in box)
        size = [x0, y0, x1 - x0, y1 - y0]
        return {"image_id": image, "category_id": 1, "bbox": size, "area": size[2] * size[3], "iscrowd": 0}

    truth = [row(box, i) for i, p in enumerate(pictures) for box in p.truth_xyxy_px]
    found = [
        row(box, i) | {"score": float(score)}
        for i, p in enumerate(pictures)
        for box, score in zip(p.found.boxes_xyxy_px, p.found.scores, strict=True)
    ]
    coco = COCO()
    images = [{"id": i, "width": 400, "height": 400} for i in range(len(pictures))]
    annotations = [item | {"id": n} for n, item in enumerate(truth, 1)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fracture"}]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, 0, 0, 2]).mean(axis=1)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_coco(seed: int, whole: bool) -> None:
    pictures = drawn_pictures(seed, whole=whole)
    expected = coco_precision(pictures)
    assert 0.001 < expected[0] < 0.99
    assert average_precision(pictures) == pytest.approx(expected[0], abs=1e-6)
    assert mean_average_precision(pictures) == pytest.approx(expected.mean(), abs=1e-6)


def test_an_overlap_of_exactly_the_threshold_is_a_hit_as_in_coco() -> None:
    """7 of 10 pixels: 0.7 in double precision, a little less in single."""
    pictures = [judged([[0, 0, 7, 1]], [0.9], [[0, 0, 10, 1]])]
    assert mean_average_precision(pictures) == pytest.approx(coco_precision(pictures).mean()) == pytest.approx(0.5)


def test_without_detections_or_truth_average_precision_is_zero() -> None:
    assert average_precision([]) == 0
    assert average_precision([judged([], [], [[0, 0, 5, 5]])]) == 0
    assert average_precision([judged([[0, 0, 5, 5]], [0.9], [])]) == 0


def test_normal_pictures_without_detections_change_nothing() -> None:
    pictures = drawn_pictures(3, whole=False)
    assert average_precision([*pictures, judged([], [], [])]) == average_precision(pictures)


def test_a_truth_is_hit_once_by_the_better_detection() -> None:
    picture = judged([[0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.8, 0.7], [[0, 0, 10, 10]])
    assert match(picture, iou_threshold=0.5).tolist() == [True, False, False]
    _, precision, recall = precision_recall([picture])
    assert precision.tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert recall.tolist() == [1, 1, 1]


FOUR = [
    judged([[0, 0, 10, 10], [70, 70, 80, 80]], [0.9, 0.3], [[0, 0, 10, 10], [30, 30, 40, 40]]),
    judged([[0, 0, 10, 10], [30, 30, 40, 40]], [0.8, 0.6], [[30, 30, 40, 40]]),
    judged([[5, 5, 9, 9]], [0.5], []),
    judged([], [], [[1, 1, 9, 9]]),
]
"""In order of score: hit, false, hit, false, false; four truths, four pictures."""


def test_froc_by_hand() -> None:
    rates = froc(FOUR, rates=(0.0, 0.25, 0.5, 0.75))
    assert rates == {0.0: 0.25, 0.25: 0.5, 0.5: 0.5, 0.75: 0.5}
    assert froc([], rates=(1.0,)) == {1.0: 0.0}


def test_the_summary_takes_precision_on_fractured_and_auroc_on_all() -> None:
    figures = summary(FOUR)
    assert figures["map50"] == round(average_precision([FOUR[0], FOUR[1], FOUR[3]]), 4)
    assert figures["map50_all"] == round(average_precision(FOUR), 4)
    assert figures["auroc"] == round(2 / 3, 4)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_ordered_pairs(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([row[0] / 6 for row in rows], np.float32)
    positive = np.array([row[1] for row in rows])
    pairs = [(h > low) + (h == low) / 2 for h in scores[positive] for low in scores[~positive]]
    if pairs:
        assert auroc(scores, positive) == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(auroc(scores, positive))


def test_a_picture_scores_as_its_best_box() -> None:
    pictures = [judged([[0, 0, 5, 5]], [0.9], [[0, 0, 5, 5]]), judged([], [], []), judged([], [], [[0, 0, 5, 5]])]
    assert image_auroc(pictures) == 0.75


def test_best_iou_is_that_of_the_top_box_on_fractured_pictures() -> None:
    values = best_iou(FOUR, min_score=0.85)
    assert values.tolist() == [1, 0, 0]
    assert best_iou(FOUR, min_score=0.5).tolist() == [1, 0, 0]
