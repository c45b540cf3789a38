"""Cross-validation: pooled out of fold, chosen without looking, calibrated without looking."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_detection_figures import judged
from test_records import FACTS, ORIGIN

from osteon.errors import InvalidDataset
from osteon.evaluation import folds
from osteon.evaluation.calibration import cross_fitted, goodness, isotonic, platt, reliability
from osteon.evaluation.detection import Judged, summary
from osteon.evaluation.operating_points import calibration_error, detector_points
from osteon.evaluation.records import Record, Records

BOX = [0, 0, 10, 10]
LEG = replace(FACTS, body_part="leg")
_number = count()


def picture(score: float, *, fractured: bool, hit: bool = True) -> Judged:
    made = judged([BOX if hit else [50, 50, 60, 60]], [score], [BOX] if fractured else [])
    return replace(made, name=f"{next(_number)}")


def drawn_fold(seed: int, *, size: int = 60, shift: float = 0.0) -> list[Judged]:
    """Fractured pictures score higher than normal ones, and a box hits as often as its score says."""
    rng = np.random.default_rng(seed)
    fold = []
    for i in range(size):
        score = float(np.clip(rng.beta(3, 2) if i % 3 == 0 else rng.beta(1.5, 5), 0.02, 0.98))
        fold.append(picture(min(score + shift, 0.99), fractured=i % 3 == 0, hit=rng.random() < score))
    return fold


def drawn_folds(*, size: int = 60, shift: float = 0.0) -> dict[str, list[Judged]]:
    return {f"fold{k}": drawn_fold(k, size=size, shift=shift * k) for k in range(1, 6)}


def drawn_records() -> list[Records]:
    return [records_of(fold, part=name) for name, fold in drawn_folds().items()]


def records_of(fold: list[Judged], **origin: str) -> Records:
    return Records(replace(ORIGIN, **origin), tuple(Record(p, FACTS) for p in fold))


def massive(parts: list[Records]) -> list[Records]:
    """The same boxes with masses that tell fractured pictures better."""
    rng = np.random.default_rng(3)

    def of(record: Record) -> Record:
        mass = float(np.exp(rng.normal(2.5 if record.judged.fractured else 0.0)))
        return replace(record, judged=replace(record.judged, found=replace(record.judged.found, mass=mass)))

    return [replace(records, pictures=tuple(map(of, records.pictures))) for records in parts]


def test_pictures_are_called_by_their_mass_where_it_is_known() -> None:
    plain, found = (folds.report(parts, samples=30) for parts in (drawn_records(), massive(drawn_records())))
    assert plain["picture"] is None
    boxes = ("map50", "map50_95", "map30", "best_iou_mean", "sensitivity_at_0.25")
    assert {name: plain["pooled"][name] for name in boxes} == {name: found["pooled"][name] for name in boxes}
    assert found["by_best_box"]["auroc"] == plain["pooled"]["auroc"] < found["pooled"]["auroc"]
    for name, figure in (("doubt", "sensitivity"), ("fracture", "specificity")):
        point = found["operating_points"][name]
        assert point["threshold"] == plain["operating_points"][name]["threshold"]
        assert found["by_best_box"][name][figure] == plain["operating_points"][name]["measured"][figure]
        assert point["measured"][figure] >= {"sensitivity": 0.9, "specificity": 0.95}[figure]
    assert found["operating_points"]["doubt"]["measured"]["specificity"] > 0.6, "masses two deviations apart"
    honest, boxes_alone = (each["operating_points"]["fracture"]["cross_fitted"] for each in (found, plain))
    assert 0 < found["picture_calibration"]["ece"] < 0.1 and plain["picture_calibration"] is None
    assert honest["specificity"] < 1 and honest["sensitivity"] > boxes_alone["sensitivity"]


def test_folds_pool_into_all_pictures_and_figures() -> None:
    parts = drawn_records()
    made = folds.named(parts)
    found = folds.report(parts, samples=60)
    together = [p for fold in made.values() for p in fold]
    assert [(model["part"], found["split"]) for model in found["models"]] == [
        (name, ORIGIN.split_hash) for name in made
    ]
    assert (found["pictures"], found["fractured"]) == (300, 100)
    assert found["pooled"] == summary(together)
    rows = found["by_fold"]["folds"]
    assert [row["map50"] for row in rows] == [summary(fold)["map50"] for fold in made.values()]
    values = [row["auroc"] for row in rows]
    assert found["by_fold"]["mean"]["auroc"] == pytest.approx(np.mean(values), abs=1e-4)
    assert found["by_fold"]["spread"]["auroc"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
    for name, (low, high) in found["intervals"].items():
        assert low <= found["pooled"][name] + 1e-4 and found["pooled"][name] <= high + 1e-4
    assert found["operating_points"]["doubt"]["threshold"] == detector_points(together)["doubt"].threshold


def test_a_picture_in_two_folds_is_refused() -> None:
    made = drawn_folds(size=6)
    made["fold2"] = [*made["fold2"], made["fold1"][0]]
    with pytest.raises(InvalidDataset, match="more than one fold"):
        folds.pooled(made)


def test_files_are_folds_of_one_cross_validation() -> None:
    first, second = drawn_fold(1, size=6), drawn_fold(2, size=6)
    both = [records_of(first, part="fold1"), records_of(second, part="fold2")]
    assert list(folds.named(both)) == ["fold1", "fold2"]
    assert list(folds.named([records_of(f, part="") for f in (first, second)])) == ["fold1", "fold2"]
    with pytest.raises(InvalidDataset, match="two or more"):
        folds.named(both[:1])
    with pytest.raises(InvalidDataset, match="of its own"):
        folds.named([both[0], both[0]])
    with pytest.raises(InvalidDataset, match="2 splits"):
        folds.named([both[0], records_of(second, part="fold2", split_hash="other")])


def test_cross_fitted_cuts_see_only_the_other_folds() -> None:
    """Two folds whose scores lie apart: a cut of the high one finds nothing in the low one, and the reverse all."""
    low = [picture(s, fractured=True) for s in np.linspace(0.2, 0.3, 10)]
    low += [picture(s, fractured=False) for s in np.linspace(0.05, 0.15, 10)]
    high = [picture(s, fractured=True) for s in np.linspace(0.7, 0.8, 10)]
    high += [picture(s, fractured=False) for s in np.linspace(0.5, 0.6, 10)]
    doubt = folds.operating_points({"a": low, "b": high}, samples=20)["doubt"]
    assert doubt["measured"]["sensitivity"] >= 0.9
    honest = doubt["cross_fitted"]
    assert honest["sensitivity"] == honest["specificity"] == 0.5
    assert honest["cuts"] == pytest.approx([0.7, 0.2], abs=2e-6)
    assert honest["sensitivity_interval"][0] < 0.5 < honest["sensitivity_interval"][1]


def test_cross_fitted_probabilities_see_only_the_other_folds() -> None:
    made = [drawn_fold(1), drawn_fold(2)]
    probabilities, hits = cross_fitted(made, "platt")
    scores = [np.concatenate([p.found.scores for p in fold]).astype(np.float64) for fold in made]
    assert len(probabilities) == len(hits) == sum(map(len, scores))
    own = platt(scores[1], hits[len(scores[0]) :])(scores[0])
    assert probabilities[: len(scores[0])] == pytest.approx(own)


def test_calibration_is_honest_where_scores_shift_between_folds() -> None:
    """Fitted and judged on the same boxes, shifted folds look better than they are."""
    made = list(drawn_folds(size=120, shift=0.12).values())
    probabilities, hits = cross_fitted(made, "isotonic")
    scores = np.concatenate([p.found.scores for fold in made for p in fold]).astype(np.float64)
    itself = isotonic(scores, hits)(scores)
    assert goodness(itself, hits)["brier"] < goodness(probabilities, hits)["brier"]
    assert goodness(itself, hits)["ece"] < 0.01 < goodness(probabilities, hits)["ece"]


def test_both_curves_are_told_of_all_boxes_and_of_those_shown() -> None:
    found = folds.calibration(drawn_folds())
    assert found["cross_fitted"].keys() == {"platt", "isotonic"}
    for fit in found["cross_fitted"].values():
        assert fit["shown"]["boxes"] <= fit["all"]["boxes"] == 300
        assert sum(b["boxes"] for b in fit["bins"]) == 300


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
def test_isotonic_is_the_best_rising_function(rows: list[tuple[int, bool]]) -> None:
    """Rising, and its errors sum to nothing within each step: the conditions of the optimum."""
    scores, hits = np.array([row[0] / 8 for row in rows]), np.array([row[1] for row in rows])
    found = isotonic(scores, hits)(scores)
    order = np.argsort(scores)
    assert (np.diff(found[order]) >= -1e-12).all()
    assert (found >= 0).all() and (found <= 1).all()
    for level in np.unique(found):
        assert (hits[found == level] - level).sum() == pytest.approx(0, abs=1e-9)
    rng = np.random.default_rng(0)
    places = np.unique(scores)
    for _ in range(5):
        other = np.sort(rng.random(len(places)))[np.searchsorted(places, scores)]
        assert ((found - hits) ** 2).sum() <= ((other - hits) ** 2).sum() + 1e-9


def test_reliability_by_hand() -> None:
    probabilities, hits = np.array([0.05, 0.05, 0.95, 1.0]), np.array([False, True, True, True])
    low, high = reliability(probabilities, hits)
    assert (low.low, low.high, low.count, low.share) == (0.0, 0.1, 2, 0.5)
    assert (high.count, high.share, high.probability) == (2, 1.0, pytest.approx(0.975))
    assert low.interval.low < 0.5 < low.interval.high
    gaps = sum(abs(b.probability - b.share) * b.count for b in (low, high)) / 4
    assert gaps == pytest.approx(calibration_error(probabilities, hits), abs=1e-4)


def test_goodness_of_no_boxes_has_no_value() -> None:
    assert np.isnan(goodness(np.array([0.01]), np.array([False]), least=0.5)["ece"])


def test_variants_are_rows_of_figures(tmp_path: Path) -> None:
    doubled = judged([BOX, [0, 0, 10, 9], [30, 30, 40, 40]], [0.9, 0.8, 0.3], [BOX])
    rows = folds.variants([records_of([doubled])], iou_thresholds=(0.5, 0.95), voting_ious=(None,), min_scores=(0, 0.5))
    assert [(r["iou_threshold"], r["min_score"]) for r in rows] == [(0.5, 0), (0.5, 0.5), (0.95, 0), (0.95, 0.5)]
    assert rows[0]["sensitivity_at_1.0"] == rows[2]["sensitivity_at_1.0"] == 1


def test_groups_and_the_worst_pictures_are_told_at_the_pooled_cut() -> None:
    """A fractured leg on which nothing is found, and a normal one that is called most surely."""
    parts = drawn_records()
    silent, loud = picture(0.03, fractured=True, hit=False), picture(0.999, fractured=False)
    pictures = (*parts[0].pictures, Record(silent, LEG), Record(loud, LEG))
    found = folds.report([replace(parts[0], pictures=pictures), *parts[1:]], samples=30)
    assert found["misses"][0]["name"] == silent.name
    assert found["false_alarms"][0]["name"] == loud.name
    assert len(found["false_alarms"]) <= folds.WORST
    (leg,) = [row for row in found["groups"] if row["name"] == "leg"]
    assert (leg["fractured"], leg["normal"], leg["sensitivity"], leg["specificity"]) == (1, 1, 0.0, 0.0)


def test_markdown_has_a_row_for_each_fold_cut_and_curve() -> None:
    text = folds.markdown(folds.report(drawn_records(), samples=30))
    starts = ("| fold5 |", "| mean ± sd |", "| pooled (95%) |", "| doubt |", "| fracture |", "| isotonic |")
    for start in (*starts, "| fractures: one | 100 | all |"):
        assert text.count("\n" + start) == 1, start
    assert "nan" not in text
