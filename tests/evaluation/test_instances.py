"""Masks against masks: known answers on drawn ones, and three ways to average precision that agree."""

import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pytest
from outlined_pictures import HEIGHT_PX, WIDTH_PX, bone, picture, random_pictures, region

from osteon.datasets.labels import bone_class
from osteon.evaluation.coco_table import mask_table
from osteon.evaluation.instance_figures import best_cut, best_cuts, best_metal_cut, by_class, report
from osteon.evaluation.instances import ANY, MISS, NEUTRAL, Outlined, compared
from osteon.inference.bones import Cuts

LEFT, RIGHT = (5, 10, 15, 50), (30, 10, 40, 50)
ANATOMY = ("radius", "ulna", "implant")
HALF = Cuts(0.5, 0.5)


def figures(*pictures: Outlined, labels: Sequence[str] = ANY, cut: float = 0.5) -> dict[str, float]:
    return report(pictures, labels, [Cuts(cut, cut)] * len(pictures), samples=5)["figures"]


class TestKnownAnswers:
    def test_perfect(self) -> None:
        truth = [bone(LEFT, label="radius"), bone(RIGHT, label="ulna")]
        found = figures(picture([bone(LEFT, score=0.9), bone(RIGHT, score=0.8)], truth))
        for name in ("ap50", "ap50_95", "recall", "precision", "matched_iou_mean", "all_iou_mean", "union_dice"):
            assert found[name] == pytest.approx(1), name

    def test_shifted(self) -> None:
        """By 2 of 10 px: 8 shared of 12, so 2/3: a hit up to IoU 0.65."""
        moved = (LEFT[0] + 2, LEFT[1], LEFT[2] + 2, LEFT[3])
        found = figures(picture([bone(moved, score=0.9)], [bone(LEFT)]))
        assert found["matched_iou_mean"] == found["matched_iou_best"] == pytest.approx(2 / 3)
        assert (found["ap50"], found["ap50_95"]) == (pytest.approx(1), pytest.approx(0.4))
        assert found["union_dice"] == pytest.approx(0.8)

    def test_missed(self) -> None:
        found = figures(picture([bone(LEFT, score=0.9)], [bone(LEFT), bone(RIGHT)]))
        assert (found["recall"], found["precision"]) == (0.5, 1)
        assert (found["matched_iou_mean"], found["all_iou_mean"]) == (1, 0.5)
        assert found["ap50"] == pytest.approx(51 / 101)

    def test_doubled(self) -> None:
        found = figures(
            picture([bone(LEFT, score=0.9), bone(LEFT, score=0.8), bone(RIGHT, score=0.7)], [bone(LEFT), bone(RIGHT)])
        )
        assert (found["recall"], found["precision"]) == (1, pytest.approx(2 / 3))
        assert found["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)

    def test_found_below_the_cut_is_not_shown_but_counts_in_the_precision_curve(self) -> None:
        found = figures(picture([bone(LEFT, score=0.3)], [bone(LEFT)]))
        assert (found["ap50"], found["recall"], found["all_iou_mean"], found["union_dice"]) == (1, 0, 0, 0)
        assert math.isnan(found["matched_iou_mean"]) and math.isnan(found["precision"])

    def test_nothing_drawn_and_nothing_found(self) -> None:
        found = figures(picture([], []))
        assert math.isnan(found["ap50"]) and math.isnan(found["recall"])
        assert found["union_dice"] == 1

    def test_nothing_found(self) -> None:
        found = figures(picture([], [bone(LEFT)]))
        assert (found["ap50"], found["recall"], found["all_iou_mean"]) == (0, 0, 0)

    def test_median_mean_and_best_of_matched(self) -> None:
        narrower = [bone((5, 10, 5 + width, 50), score=0.9) for width in (10, 9, 6)]
        found = figures(*(picture([one], [bone(LEFT)]) for one in narrower))
        assert found["matched_iou_median"] == pytest.approx(0.9)
        assert found["matched_iou_mean"] == pytest.approx((1 + 0.9 + 0.6) / 3)
        assert found["matched_iou_best"] == 1


class TestIgnoredRegions:
    def test_what_lies_mostly_inside_counts_neither_way(self) -> None:
        """3 px of 5 inside: neutral at every threshold. 2 of 5 inside: wrong."""
        truth, right = [bone(LEFT)], bone(LEFT, score=0.6)
        mostly, partly = bone((25, 10, 30, 20), score=0.9), bone((25, 30, 30, 40), score=0.8)
        ignored = [(27, 10, 40, 20), (28, 30, 40, 40)]
        bones = compared(picture([mostly, partly, right], truth, ignored=ignored))["bone"]
        assert bones.match(iou_threshold=0.5).tolist() == [NEUTRAL, MISS, 0]
        assert bones.match(iou_threshold=0.95).tolist() == [NEUTRAL, MISS, 0]
        found = figures(picture([mostly, partly, right], truth, ignored=ignored))
        assert (found["precision"], found["recall"]) == (0.5, 1)
        assert found["ap50"] == pytest.approx(0.5)

    def test_its_pixels_count_in_no_iou(self) -> None:
        """The model follows the bone into the region; the outline ends at it."""
        longer = (5, 10, 15, 58)
        found = figures(picture([bone(longer, score=0.9)], [bone(LEFT)], ignored=[(0, 50, 50, 60)]))
        assert found["matched_iou_mean"] == found["union_dice"] == 1

    def test_a_drawn_bone_wins_over_it(self) -> None:
        found = figures(picture([bone((5, 10, 15, 30), score=0.9)], [bone(LEFT)], ignored=[(0, 30, 50, 60)]))
        assert found["matched_iou_mean"] == pytest.approx(0.5)
        assert compared(picture([bone(LEFT, score=0.9)], [bone(LEFT)], ignored=[(0, 0, 50, 60)]))["bone"].match(
            iou_threshold=0.9
        ).tolist() == [0]

    def test_metal_is_such_a_region_for_models_that_do_not_know_it(self) -> None:
        plate = (20, 10, 25, 50)
        truth = [bone(LEFT, label="radius"), bone(plate, label="implant")]
        boxes = [bone(plate, score=0.9), bone(LEFT, score=0.8)]
        assert figures(picture(boxes, truth))["precision"] == 1
        strict, _ = by_class([picture(boxes, truth)], ("bone", "implant"), [HALF], samples=2)
        assert strict["bone"]["ap50"] == pytest.approx(0.5)
        assert strict["implant"]["ap50"] == 0


class TestClasses:
    def test_a_wrong_name_costs_by_class_and_not_anatomy_blind(self) -> None:
        shown = picture([bone(LEFT, label="ulna", score=0.9)], [bone(LEFT, label="radius")])
        found = report([shown], ANATOMY, [HALF], samples=5)
        assert (found["figures"]["ap50"], found["figures"]["class_ap50"]) == (1, 0)
        assert found["by_class"]["radius"]["drawn"] == 1
        assert math.isnan(found["by_class"]["ulna"]["ap50"])

    def test_labels_that_a_model_does_not_know(self) -> None:
        assert bone_class("rib", ("rib", "bone")) == "rib"
        assert bone_class("rib", ("radius",)) is None
        assert bone_class("implant", ANY) is None

    def test_metal_is_no_bone(self) -> None:
        plate = (20, 10, 25, 50)
        truth = [bone(LEFT, label="radius"), bone(plate, label="implant")]
        half = (20, 10, 25, 30)
        shown = picture([bone(LEFT, label="radius", score=0.9), bone(half, label="implant", score=0.8)], truth)
        found = figures(shown, labels=ANATOMY)
        assert (found["ap50"], found["precision"], found["union_dice"]) == (1, 1, 1)
        assert found["implant_iou"] == pytest.approx(0.5)
        assert math.isnan(figures(shown)["implant_iou"])
        hidden = report([shown], ANATOMY, [Cuts(0.5, 0.85)], samples=1)
        assert (hidden["figures"]["recall"], hidden["figures"]["implant_iou"]) == (1, 0)
        assert report([shown], ANATOMY, [Cuts(0.95, 0.5)], samples=1)["figures"]["implant_iou"] == pytest.approx(0.5)
        assert math.isnan(figures(picture([], [bone(LEFT, label="radius")]), labels=ANATOMY)["implant_iou"])


class TestStageOne:
    def test_both_masks_are_measured_on_the_same_pixels(self) -> None:
        gate = region((5, 10, 15, 30), (0, 50, 50, 60))
        shown = picture([bone(LEFT, score=0.9)], [bone(LEFT)], ignored=[(0, 50, 50, 60)], gate=gate, gate_saw=True)
        found = figures(shown)
        assert (found["union_dice"], found["gate_dice"]) == (1, pytest.approx(2 / 3))
        assert math.isnan(found["gate_dice_unseen"])

    def test_pictures_that_it_has_not_seen_stand_apart(self) -> None:
        pictures = [
            picture([bone(LEFT, score=0.9)], [bone(LEFT)], gate=region(LEFT), gate_saw=True),
            picture([bone(LEFT, score=0.9)], [bone(LEFT)], gate=region(RIGHT), gate_saw=False),
        ]
        found = figures(*pictures)
        assert (found["gate_dice"], found["gate_dice_unseen"], found["union_dice_unseen"]) == (0.5, 0, 1)


def test_by_body_part_each_has_its_own_figures_and_intervals() -> None:
    pictures = [
        picture([bone(LEFT, score=0.9)], [bone(LEFT)], part="hand"),
        picture([], [bone(LEFT)], part="leg"),
    ]
    found = report(pictures, ANY, [HALF, HALF], samples=50)
    parts = found["by_body_part"]
    assert (parts["hand"]["figures"]["ap50"], parts["leg"]["figures"]["ap50"]) == (1, 0)
    assert parts["hand"]["intervals"]["ap50"] == [1, 1]
    low, high = found["intervals"]["recall"]
    assert low == 0 and high == 1 and found["figures"]["recall"] == 0.5


def test_intervals_hold_their_figures_and_widen_with_fewer_pictures() -> None:
    pictures = random_pictures(3, count=30)
    found = report(pictures, ANATOMY, [Cuts(0.4, 0.4)] * 30, samples=60)
    fewer = report(pictures[:8], ANATOMY, [Cuts(0.4, 0.4)] * 8, samples=60)
    for name, (low, high) in found["intervals"].items():
        if not math.isnan(low):
            assert low <= found["figures"][name] <= high, name
    width, wider = (np.ptp(each["intervals"]["ap50"]) for each in (found, fewer))
    assert 0 < width < wider


def test_the_best_cut_parts_right_from_wrong() -> None:
    pictures = [
        picture([bone(LEFT, score=0.8), bone(RIGHT, score=0.3)], [bone(LEFT)]),
        picture([bone(LEFT, score=0.7), bone(RIGHT, score=0.2)], [bone(LEFT)]),
    ]
    assert best_cut([compared(each)["bone"] for each in pictures]) == pytest.approx(0.7, abs=2e-6)
    assert best_cut([compared(picture([], [bone(LEFT)]))["bone"]]) == 0.5


def test_metal_has_a_cut_of_its_own() -> None:
    plate = bone(RIGHT, label="implant", score=0.2)
    pictures = [
        picture([bone(LEFT, label="radius", score=0.8), plate], [bone(LEFT, label="radius"), plate]),
        picture([bone(LEFT, label="radius", score=0.7), bone(LEFT, label="implant", score=0.1)], [bone(LEFT)]),
    ]
    assert best_cuts(pictures, ANATOMY) == pytest.approx((0.7, 0.15), abs=2e-6)
    assert best_cuts(pictures, ("radius", "ulna")) == pytest.approx((0.7, 0.7), abs=2e-6)


def test_metal_is_cut_where_films_show_it_best() -> None:
    """A screw more is worth less than a film without metal that stays clean; no metal at all is told from a little."""
    plate, screw = bone(RIGHT, label="implant", score=0.6), bone((1, 1, 3, 3), label="implant", score=0.3)
    real = picture([plate, screw], [plate, screw])
    clean = [picture([bone(LEFT, label="implant", score=score)], []) for score in (0.4, 0.2)]
    assert best_metal_cut([real, *clean]) == pytest.approx(0.5)
    assert best_metal_cut([real, clean[1]]) == pytest.approx(0.25)
    assert best_metal_cut([real]) == pytest.approx(0.15)
    assert best_metal_cut(clean) == 0.5
    assert best_metal_cut([picture([bone(LEFT, label="implant", score=0.6)], [plate])]) == pytest.approx(0.8)


# Average precision once more: pixel sets, plain loops, no NumPy


def plain_average_precision(pictures: Sequence[Outlined], labels: Sequence[str], label: str, threshold: float) -> float:
    """By the words of `instances`: slow, and with nothing of its code."""
    rows, truths = [], 0
    for shown in pictures:
        drawn = [pixels(each) for each in shown.truth if meaning(each.label, labels) == label]
        over = set().union(*(pixels(each) for each in shown.truth if meaning(each.label, labels)))
        unknown = set(zip(*np.nonzero(shown.ignored), strict=True))
        unknown |= set().union(*(pixels(each) for each in shown.truth if not meaning(each.label, labels)))
        unknown -= over
        truths += len(drawn)
        free = list(range(len(drawn)))
        for each in sorted(shown.found, key=lambda one: -one.score):
            if meaning(each.label, labels) != label:
                continue
            mine = pixels(each) - unknown
            overlap = {i: len(mine & drawn[i]) / len(mine | drawn[i]) for i in free}
            best = max(overlap, key=lambda i: overlap[i], default=None)
            if best is not None and overlap[best] >= threshold:
                free.remove(best)
                rows.append((each.score, True))
            elif 2 * len(pixels(each) & unknown) <= len(pixels(each)):
                rows.append((each.score, False))
    rows.sort(key=lambda row: -row[0])
    steps = []
    for place in range(len(rows)):
        true = sum(hit for _, hit in rows[: place + 1])
        steps.append((true / truths, true / (place + 1)))
    levels = [step / 100 for step in range(101)]
    return sum(max((p for r, p in steps if r >= level - 1e-12), default=0.0) for level in levels) / 101


def meaning(label: str, labels: Sequence[str]) -> str | None:
    if label in labels:
        return label
    return "bone" if "bone" in labels and label != "implant" else None


def pixels(each) -> set[tuple[int, int]]:
    return set(zip(*np.nonzero(each.on(HEIGHT_PX, WIDTH_PX)), strict=True))


@pytest.mark.parametrize("seed", [1, 2])
def test_average_precision_is_that_of_plain_loops(seed: int) -> None:
    pictures = random_pictures(seed)
    cuts = [HALF] * len(pictures)
    found = report(pictures, ANATOMY, cuts, samples=1)
    plain = [plain_average_precision(pictures, ANY, "bone", t) for t in np.linspace(0.5, 0.95, 10)]
    assert 0.05 < plain[0] < 0.95
    assert found["figures"]["ap50"] == pytest.approx(plain[0], abs=1e-9)
    assert found["figures"]["ap50_95"] == pytest.approx(np.mean(plain), abs=1e-9)
    for label in ANATOMY:
        expected = plain_average_precision(pictures, ANATOMY, label, 0.5)
        assert found["by_class"][label]["ap50"] == pytest.approx(expected, abs=1e-9), label


@pytest.mark.skipif(find_spec("faster_coco_eval") is None, reason="faster-coco-eval is not installed (extra train)")
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("labels", [ANY, ANATOMY, ("bone", "implant")])
def test_average_precision_is_that_of_faster_coco_eval(seed: int, labels: tuple[str, ...]) -> None:
    pictures = random_pictures(seed, count=20)
    table = mask_table(pictures, labels)
    found = report(pictures, labels, [HALF] * len(pictures), samples=1)["figures"]
    prefix = "class_" if len(labels) > 1 else ""
    assert 0.05 < table["AP"] < table["AP50"] < 0.95
    assert table["AP50"] == pytest.approx(found[f"{prefix}ap50"], abs=6e-5)
    assert table["AP"] == pytest.approx(found[f"{prefix}ap50_95"], abs=6e-5)


@pytest.mark.skipif(find_spec("faster_coco_eval") is None, reason="faster-coco-eval is not installed (extra train)")
def test_the_table_of_masks_without_detections_is_zero() -> None:
    assert mask_table([picture([], [bone(LEFT)])]) == {"AP": 0.0, "AP50": 0.0}
