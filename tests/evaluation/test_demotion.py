"""What demotion of boxes outside of bones does to a detector's figures, on boxes whose truth is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import models
from osteon.datasets.case import Case
from osteon.evaluation.demotion import Covered, covered, demotion, lowered, record_covers
from osteon.evaluation.detection import Judged
from osteon.findings import Bone
from osteon.inference.postprocess import Detections
from osteon.inference.session import Session

BONE = Bone("radius", 0.9, (0, 0, 50, 200), (0, 0), np.ones((200, 50), bool))
ON, OFF = (10, 10, 40, 40), (100, 100, 140, 140)


def picture(name: str, *rows: tuple[tuple[int, ...], float], truth: tuple[tuple[int, ...], ...] = ()) -> Judged:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    found = Detections(boxes, np.array([score for _, score in rows], np.float32))
    return Judged(name, found, np.array(truth, np.float32).reshape(-1, 4))


def test_each_grade_becomes_the_next_and_boxes_on_bones_stay() -> None:
    given = covered(picture("a", (OFF, 0.9), (ON, 0.8), (OFF, 0.5), (OFF, 0.1)), [BONE])
    assert given.covers.tolist() == [0.0, 1.0, 0.0, 0.0]
    found = lowered(given, fracture=0.7, doubt=0.3, least_cover=0.05).found
    assert found.scores.tolist() == pytest.approx([0.8, 0.3, 0.3, 0.1])
    assert [bool(score >= np.float32(0.3)) for score in found.scores] == [True, True, False, False]
    assert found.boxes_xyxy_px[0].tolist() == list(ON)


def test_figures_before_and_after() -> None:
    pictures = [
        covered(picture("true", (ON, 0.9), truth=(ON,)), [BONE]),
        covered(picture("false", (OFF, 0.9)), [BONE]),
        covered(picture("missed", (OFF, 0.9), truth=(OFF,)), [BONE]),
        covered(picture("healthy"), [BONE]),
    ]
    figures = demotion(pictures, fracture=0.7, doubt=0.3)
    before, after = figures["fracture"], figures["fracture, demoted"]
    assert (before["sensitivity"], before["specificity"], before["box_recall"]) == (1.0, 0.5, 1.0)
    assert (after["sensitivity"], after["specificity"], after["box_recall"]) == (0.5, 1.0, 0.5)
    assert before["boxes_outside"] == 2
    assert figures["doubt"] == figures["doubt, demoted"]


def test_where_no_bones_were_found_nothing_is_outside() -> None:
    assert covered(picture("a", (OFF, 0.9)), []).covers.tolist() == [1.0]


def test_a_model_is_run_once_over_the_pictures(tmp_path: Path) -> None:
    session = Session(models.bones_file(tmp_path), task="bones", threads=1)
    assert cv2.imwrite(str(tmp_path / "film.png"), models.radiograph_pixels(450, 350))
    cases = [Case("film.png", tmp_path / "film.png"), Case("other.png", tmp_path / "none.png")]
    inside, beside = (150, 100, 200, 150), (10, 100, 60, 150)
    (found,) = record_covers(session, [picture("film.png", (inside, 0.9), (beside, 0.8))], cases)
    assert isinstance(found, Covered)
    assert found.covers.tolist() == [1.0, 0.0]
