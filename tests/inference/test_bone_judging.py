"""Bones judged on a radiograph, and the judge's word joined with the detector's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bone_judges import FRAMING, card, joined, write_judge
from osteon.anatomy import IMPLANT
from osteon.errors import ModelMismatch
from osteon.findings import Bone, Damage, ModelRef
from osteon.inference.bone_judge import Combination, Joint, damages, detector_scores, framing_of, judged
from osteon.inference.card import Card, PictureScale
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
    joint = Joint("osteon-detector 9", Combination(0.8, 0.6, -1.0), Combination(0.5, 1.0, 0.0))
    carrying = replace(card(), settings={**card().settings, "combination": joint.to_json()})
    assert Joint.of(carrying) == joint
    assert Joint.of(card()) is None
    for broken in ({"detector": 1.0}, joint.to_json() | {"film": None}, joint.to_json() | {"bone": {"judge": 1}}, 3):
        with pytest.raises(ModelMismatch, match="combination"):
            Joint.of(replace(card(), settings={"combination": broken}))


class TestJudged:
    """The left rod is bright, the right one dark, a plate beside them darker; the box lies on the dark one."""

    BOXES = found((115, 60, 165, 90, 0.8))
    DETECTOR = ModelRef("osteon-detector-drawn", "0.0.1", "")

    @pytest.fixture
    def film(self) -> Radiograph:
        pixels = np.full((200, 260), 30, np.uint8)
        pixels[20:180, 40:80], pixels[20:180, 120:160] = 220, 110
        return Radiograph(pixels, "film.png", "0" * 64)

    def session(self, folder: Path, said: Card | None = None) -> Session:
        return Session(write_judge(folder / "judge.onnx", said), task="bone-judge", threads=1)

    def test_bones_and_film_are_judged_and_joined_with_the_detector(self, film: Radiograph, tmp_path: Path) -> None:
        session = self.session(tmp_path, joined())
        plate = replace(rod(200, 20), label=IMPLANT)
        (bright, metal, dark), worst = judged(session, film, [LEFT, plate, RIGHT], self.BOXES, self.DETECTOR)
        assert metal.damage is None and bright.damage and dark.damage and worst
        alone = damages(session, film, [LEFT, RIGHT])
        joint = Joint.of(session.card)
        assert joint
        assert bright.damage == Damage(alone[0], joint.bone.probability(0.0, alone[0]))
        assert dark.damage == Damage(alone[1], joint.bone.probability(0.8, alone[1]))
        assert worst == Damage(alone[1], joint.film.probability(0.8, alone[1]))
        assert worst.probability and worst.probability > joint.film.probability(0.2, alone[1])

    def test_the_film_counts_as_the_detector_scores_it(self, film: Radiograph, tmp_path: Path) -> None:
        """By the sum of all points, where the detector goes by it."""
        session, heavy = self.session(tmp_path, joined()), replace(self.BOXES, mass=9.0, scale=PictureScale(1.0, 0.0))
        _, usual = judged(session, film, [RIGHT], self.BOXES, self.DETECTOR)
        _, worst = judged(session, film, [RIGHT], heavy, self.DETECTOR)
        assert usual and worst and usual.score == worst.score
        joint = Joint.of(session.card)
        assert joint and worst.probability == joint.film.probability(0.9, worst.score)
        assert worst.probability > (usual.probability or 1)

    @pytest.mark.parametrize("said", [None, joined()])
    def test_a_detector_that_it_was_not_joined_with_has_no_part_in_it(
        self, film: Radiograph, tmp_path: Path, said: Card | None
    ) -> None:
        detector = self.DETECTOR if said is None else replace(self.DETECTOR, version="2")
        (dark,), worst = judged(self.session(tmp_path, said), film, [RIGHT], self.BOXES, detector)
        assert dark.damage == worst
        assert worst and worst.probability is None and 0 < worst.score < 1

    def test_without_a_bone_there_is_no_opinion(self, film: Radiograph, tmp_path: Path) -> None:
        session, plate = self.session(tmp_path, joined()), replace(LEFT, label=IMPLANT)
        assert judged(session, film, [plate], self.BOXES, self.DETECTOR) == ((plate,), None)
        assert judged(session, film, [], self.BOXES, self.DETECTOR) == ((), None)


def test_a_card_says_how_bones_are_cut() -> None:
    assert framing_of(card()) == FRAMING
    with pytest.raises(ModelMismatch, match="how bones are cut"):
        framing_of(replace(card(), settings={}))


def test_a_judge_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match="bone-judge model, expected a detector"):
        Session(write_judge(tmp_path / "judge.onnx"), task="detector", threads=1)
