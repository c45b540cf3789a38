"""Three ways to COCO's figures agree: ours, pycocotools, faster-coco-eval."""

import sys

import numpy as np
import pytest
from test_detection_figures import coco_precision, drawn_pictures, judged

from osteon.errors import MissingExtra
from osteon.evaluation.coco_table import NAMES, NAMES_OF_SIZES, coco_table
from osteon.evaluation.detection import average_precision, mean_average_precision

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed (extra train)")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", [11, 12])
def test_all_three_agree(seed: int, whole: bool) -> None:
    pictures = drawn_pictures(seed, whole=whole)
    table, theirs = coco_table(pictures), coco_precision(pictures)
    assert 0.001 < table["AP50"] < 0.99
    assert table["AP"] == pytest.approx(mean_average_precision(pictures), abs=6e-5)
    assert table["AP"] == pytest.approx(theirs.mean(), abs=6e-5)
    assert table["AP50"] == pytest.approx(average_precision(pictures), abs=6e-5)
    assert table["AP50"] == pytest.approx(theirs[0], abs=6e-5)
    assert table["AP75"] == pytest.approx(average_precision(pictures, iou_threshold=0.75), abs=6e-5)


def test_the_table_has_twelve_figures_and_none_for_sizes_that_are_not_there() -> None:
    table = coco_table([judged([[0, 0, 10, 10]], [0.9], [[0, 0, 10, 10]])])
    assert tuple(table) == (*NAMES, *NAMES_OF_SIZES)
    assert table["AP"] == table["AP_small"] == table["AR1"] == 1
    assert np.isnan(table["AP_large"]) and np.isnan(table["AR_medium"])


def test_without_boxes_all_is_zero() -> None:
    assert set(coco_table([judged([], [], [[0, 0, 5, 5]])]).values()) == {0.0}


def test_a_missing_package_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtra) as caught:
        coco_table([])
    assert "osteon[train]" in caught.value.hint
