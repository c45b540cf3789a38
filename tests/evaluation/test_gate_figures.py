"""Figures of masks and of the gate."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.datasets.case import Case, Instance
from osteon.evaluation.gate import GateReading, reading, separation, summary
from osteon.evaluation.judge import truth_boxes, truth_known
from osteon.evaluation.operating_points import Shown
from osteon.evaluation.segmentation import dice_and_iou, spread
from osteon.geometry import Placement

SQUARE = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], np.float64)


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
def test_dice_and_iou_are_those_of_counting(seed: int, first: float, second: float) -> None:
    rng = np.random.default_rng(seed)
    a, b, counted = rng.random((6, 7)) < first, rng.random((6, 7)) < second, rng.random((6, 7)) < 0.7
    dice, iou = dice_and_iou(a, b, counted)
    left, right = set(np.flatnonzero(a & counted)), set(np.flatnonzero(b & counted))
    if left | right:
        assert iou == pytest.approx(len(left & right) / len(left | right))
        assert dice == pytest.approx(2 * iou / (1 + iou))
    else:
        assert (dice, iou) == (1, 1)


def test_spread_of_nothing_is_a_count() -> None:
    assert spread([]) == {"count": 0}


def drawn(**changes: object) -> Case:
    values: dict[str, object] = {
        "name": "a.png",
        "path": Path("a.png"),
        "instances": (Instance("radius", (10, 10, 30, 30), (SQUARE,)),),
    }
    return Case(**values | changes)  # type: ignore[arg-type]


def test_a_perfect_map_reads_as_dice_one_and_its_area() -> None:
    square = np.zeros((40, 40), np.float32)
    square[10:30, 10:30] = 0.9
    read = reading(drawn(), square, Placement.fit(40, 40, side_px=40))
    assert read.dice == pytest.approx(1, abs=0.06)
    assert read.area_fraction == 400 / 1600
    assert read.confidence == pytest.approx(0.9)


def test_what_nobody_could_draw_does_not_count() -> None:
    metal = Instance("ignore", (0, 30, 40, 40), (SQUARE + np.array([0, 20]),), ignore=True)
    square = np.zeros((40, 40), np.float32)
    square[10:40, 10:30] = 0.9
    bones = drawn().instances or ()
    placement = Placement.fit(40, 40, side_px=40)
    with_metal = reading(drawn(instances=(*bones, metal)), square, placement).dice
    without = reading(drawn(), square, placement).dice
    assert with_metal is not None
    assert without is not None
    assert with_metal > 0.93 > without


def test_a_picture_nobody_drew_has_no_dice() -> None:
    read = reading(drawn(instances=None), np.zeros((40, 40), np.float32), Placement.fit(40, 40, side_px=40))
    assert (read.dice, read.iou, read.confidence) == (None, None, 0)


def test_a_fracture_is_no_bone() -> None:
    only = drawn(instances=(Instance("fracture", (10, 10, 30, 30), (SQUARE,)),))
    assert reading(only, np.zeros((40, 40), np.float32), Placement.fit(40, 40, side_px=40)).dice is None


def test_the_summary_counts_drawn_pictures_by_body_part() -> None:
    rows = [GateReading(True, 0.1, 0.9, str(i), part, dice, dice) for i, (part, dice) in enumerate([("leg", 0.8)] * 2)]
    rows.append(GateReading(True, 0.1, 0.9, "c", "hand", 0.5, 0.4))
    rows.append(GateReading(False, 0.0, 0.0, "d", "", None, None))
    figures = summary(rows)
    assert figures["dice"]["count"] == 3
    assert figures["dice_by_body_part"]["leg"]["mean"] == 0.8
    assert figures["iou"]["worst"] == 0.4


def test_separation_is_the_share_of_others_below_every_radiograph() -> None:
    pictures = [Shown(True, 0.5, 0.8), Shown(True, 0.3, 0.9), Shown(False, 0.1, 0.9), Shown(False, 0.4, 0.9)]
    assert separation(pictures) == 0.5
    assert separation(pictures[:2]) == 1


def test_only_fractures_are_a_detectors_truth() -> None:
    box = Instance("Fracture", (1, 2, 3, 4))
    case = drawn(
        fractured=True, instances=(*(drawn().instances or ()), box, Instance("fracture", (5, 5, 6, 6), ignore=True))
    )
    assert truth_boxes(case).tolist() == [[1, 2, 3, 4]]
    assert truth_known(case)


@pytest.mark.parametrize(
    ("fractured", "instances", "known"),
    [
        (None, (), False),
        (False, None, False),
        (False, (), True),
        (True, (), False),
        (True, None, False),
        (True, (Instance("fracture", (0, 0, 1, 1)),), True),
        (False, (Instance("radius", (0, 0, 1, 1)),), True),
    ],
)
def test_a_missing_label_is_no_negative(
    fractured: bool | None, instances: tuple[Instance, ...] | None, known: bool
) -> None:
    assert truth_known(drawn(fractured=fractured, instances=instances)) is known
