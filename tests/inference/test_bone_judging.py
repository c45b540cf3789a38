"""Bones judged on a radiograph, and the judge's word joined with the detector's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bone_judges import FRAMING, card, write_judge
from osteon.errors import ModelMismatch
from osteon.findings import Bone
from osteon.inference.bone_judge import Combination, damages, detector_scores, framing_of
from osteon.inference.postprocess import Detections
from osteon.inference.session import Session
from osteon.radiograph import Radiograph


def rod(x: int, width: int) -> Bone:
    """An upright rod, 160 high."""
    mask = np.ones((160, width), np.bool_)
    return Bone("radius", 0.9, (float(x), 20.0, float(x + width), 180.0), (x, 20), mask)


LEFT, RIGHT = rod(40, 40), rod(120, 40)


def found(*boxes: tuple[float, float, float, float, float]) -> Detections:
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    return Detections(rows[:, :4], rows[:, 4])


def test_each_bone_of_a_film_gets_its_own_word(tmp_path: Path) -> None:
    """The hand-made judge calls dark bones damaged."""
    pixels = np.full((200, 200), 30, np.uint8)
    pixels[20:180, 40:80], pixels[20:180, 95:135] = 220, 110
    near = rod(95, 40)
    session = Session(write_judge(tmp_path / "judge.onnx"), task="bone-judge", threads=1)
    radiograph = Radiograph(pixels, "film.png", "0" * 64)
    bright, dark = damages(session, radiograph, [LEFT, near])
    assert bright < 0.2 < dark - 0.2
    assert damages(session, radiograph, [near]) == (dark,)
    assert damages(session, radiograph, []) == ()


def test_boxes_speak_of_the_bones_that_they_lie_on() -> None:
    bones = [LEFT, RIGHT]
    assert detector_scores(found((30, 60, 90, 90, 0.5), (35, 100, 85, 120, 0.8)), bones) == pytest.approx((0.8, 0))
    assert detector_scores(found((60, 60, 140, 90, 0.5)), bones) == pytest.approx((0.5, 0.5))
    assert detector_scores(found((85, 60, 115, 90, 0.9)), bones) == (0, 0)
    assert detector_scores(found(), bones) == (0, 0)
    assert detector_scores(found((30, 60, 90, 90, 0.5)), []) == ()


def test_a_joint_word_rises_with_both() -> None:
    curve = Combination(detector=1.0, judge=0.5, intercept=-0.2)
    assert curve.probability(0.5, 0.5) == pytest.approx(1 / (1 + np.exp(0.2)), abs=1e-6)
    assert curve.probability(0.9, 0.5) > curve.probability(0.5, 0.9) > curve.probability(0.5, 0.5)
    assert 0 < curve.probability(0.0, 0.0) < curve.probability(1.0, 1.0) < 1


def test_a_card_carries_the_joint_curve() -> None:
    curve = Combination(0.8, 0.6, -1.0)
    carrying = replace(card(), settings={**card().settings, "combination": curve.to_json()})
    assert Combination.of(carrying) == curve
    assert Combination.of(card()) is None
    with pytest.raises(ModelMismatch, match="combination"):
        Combination.of(replace(card(), settings={"combination": {"detector": 1.0}}))


def test_a_card_says_how_bones_are_cut() -> None:
    assert framing_of(card()) == FRAMING
    with pytest.raises(ModelMismatch, match="how bones are cut"):
        framing_of(replace(card(), settings={}))


def test_a_judge_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match="bone-judge model, expected a detector"):
        Session(write_judge(tmp_path / "judge.onnx"), task="detector", threads=1)
