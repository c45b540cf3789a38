"""Figures of a cross-validation in the card of one of its models: what is taken, and whose is refused."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_folds import drawn_records, massive

import bone_judges
import models
from osteon.errors import InvalidDataset, ModelMismatch
from osteon.evaluation import folds
from osteon.evaluation.adoption import adopted, adopted_judge, read_folds
from osteon.evaluation.plain import plain
from osteon.findings import ModelRef
from osteon.inference.bone_judge import Combination, Joint
from osteon.inference.card import Calibration, Card
from osteon.inference.card_text import group_table, markdown

FOUND: dict[str, Any] = json.loads(json.dumps(plain(folds.report(drawn_records(), samples=30))))
NAMES = ("map50", "map50_95", "auroc")


def card_of(fold: int) -> Card:
    """The card of a fold's model, as its export measured it."""
    row = FOUND["by_fold"]["folds"][fold]
    figures = {name: row[name] for name in NAMES} | {"calibration_error": 0.1}
    return replace(models.detector_card(), metrics=figures, calibration=Calibration(5.0, 5.0))


def test_cuts_and_calibration_become_those_of_all_folds() -> None:
    before = card_of(2)
    card = adopted(before, FOUND)
    assert {name: point.threshold for name, point in card.operating_points.items()} == {
        name: point["threshold"] for name, point in FOUND["operating_points"].items()
    }
    assert card.cut("doubt") != before.cut("doubt")
    assert card.operating_points["doubt"].measured["sensitivity"] >= 0.9
    assert card.calibration == Calibration(**FOUND["calibration"]["platt"])


def test_the_figures_of_the_file_itself_stay_but_not_the_error_of_the_old_calibration() -> None:
    card = adopted(card_of(2), FOUND)
    assert card.metrics == {name: FOUND["by_fold"]["folds"][2][name] for name in NAMES}
    assert card.cross_validation["own_fold"] == "fold3"
    assert card.cross_validation["figures"] == FOUND["pooled"]


def test_a_card_reads_back_and_names_no_picture() -> None:
    card = adopted(card_of(0), FOUND)
    text = card.to_json()
    assert Card.from_json(text) == card
    assert not {"misses", "false_alarms", "models"} & card.cross_validation.keys()
    assert len(text) < 20_000


def test_pictures_are_scored_by_the_scale_of_all_folds() -> None:
    """The file stays as it is; its AUROC is that of its fold by the new scores."""
    found = json.loads(json.dumps(plain(folds.report(massive(drawn_records()), samples=30))))
    before = replace(card_of(1), metrics=card_of(1).metrics | {"auroc": 0.5})
    card = adopted(before, found)
    assert card.picture and card.picture == Card.from_json(card.to_json()).picture
    assert card.picture.score(2.0) > card.picture.score(1.0)
    assert card.metrics["auroc"] == found["by_fold"]["folds"][1]["auroc"] > 0.5
    assert card.cross_validation["by_best_box"] == found["by_best_box"]
    text = markdown(card, ModelRef("d", "1", "0" * 64), 1)
    assert (
        "sum of the scores of all points" in text
        and f"By its best box alone AUROC would be {found['by_best_box']['auroc']:.3f}" in text
    )


def test_without_a_calibration_the_card_keeps_its_own() -> None:
    before = card_of(0)
    card = adopted(before, {**FOUND, "calibration": None})
    assert (card.calibration, card.metrics) == (before.calibration, before.metrics)


def test_the_text_has_intervals_folds_and_groups() -> None:
    text = markdown(adopted(card_of(0), FOUND), ModelRef("d", "1", "0" * 64), 1)
    low, high = FOUND["intervals"]["map50"]
    assert f"| map50 | {FOUND['pooled']['map50']:.3f} ({low:.3f} to {high:.3f}) |" in text
    assert "## Cross-validation of the recipe, 5 folds" in text and "this file is the model of fold1" in text
    assert "| fold1 | fold2 | fold3 | fold4 | fold5 |" in text
    fitted = FOUND["operating_points"]["doubt"]["cross_fitted"]
    assert f"sensitivity {fitted['sensitivity']:.3f} (" in text
    assert "| fractures: one | 100 | all |" in text
    assert "nan" not in text and "None" not in text
    plain_text = markdown(card_of(0), ModelRef("d", "1", "0" * 64), 1)
    assert "Cross-validation" not in plain_text and "By group" not in plain_text


def test_a_model_of_another_cross_validation_is_refused() -> None:
    other = replace(card_of(0), metrics={"map50": 0.123, "map50_95": 0.05})
    with pytest.raises(ModelMismatch, match="none of the folds has"):
        adopted(other, FOUND)
    with pytest.raises(ModelMismatch, match="is a gate model"):
        adopted(models.gate_card(), FOUND)


@pytest.mark.parametrize("lacking", ["by_fold", "operating_points", "calibration", "groups", "pooled"])
def test_other_figures_are_refused(lacking: str) -> None:
    part = copy.deepcopy(FOUND)
    del part[lacking]
    with pytest.raises(InvalidDataset, match=lacking):
        adopted(card_of(0), part)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\x00"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text(text)
    with pytest.raises(InvalidDataset, match="holds no figures"):
        read_folds(tmp_path / "folds.json")


def test_groups_too_small_to_tell_are_left_blank() -> None:
    row = {"kind": "metal", "name": "visible", "fractured": 51, "normal": 1}
    for name, value in {"sensitivity": 0.88, "specificity": 0.0, "auroc": 0.35, "map50": 0.28}.items():
        row |= {name: value, f"{name}_interval": [0.1, 0.9]}
    assert group_table([row])[-1] == "| metal: visible | 51 | 1 | 0.88 (0.10 to 0.90) |  |  | 0.28 (0.10 to 0.90) |"
    assert group_table([row | {"fractured": 4, "normal": 60}])[-1] == (
        "| metal: visible | 4 | 60 |  | 0.00 (0.10 to 0.90) |  |  |"
    )


SAID: dict[str, float] = {"detector": 0.9, "judge": 0.8, "both": 0.95}
JUDGED: dict[str, Any] = {
    "films": 30,
    "fractured": 10,
    "detector": "osteon-detector 9",
    "judges": [{"name": "osteon-bone-judge", "version": "1", "sha256": "", "split_hash": "0" * 16}],
    "combination": {
        name: {"all": {"detector": detector, "judge": 0.5, "intercept": -1.0}, "cross_fitted": {}}
        for name, detector in (("by_film", 1.5), ("by_bone", 0.7))
    },
    **{
        name: {"auroc": {who: {"value": value, "interval": [0.1, 1.0]} for who, value in SAID.items()}}
        for name in ("by_film", "by_bone", "by_bone_of_a_label")
    },
}


def test_a_judge_takes_how_it_is_joined_and_what_that_gains() -> None:
    before = bone_judges.card(metrics={"auroc_bone": 0.8})
    card = adopted_judge(before, JUDGED)
    joint = Joint.of(card)
    assert joint == Joint("osteon-detector 9", Combination(1.5, 0.5, -1.0), Combination(0.7, 0.5, -1.0))
    assert card.metrics["auroc_by_film_both"] == 0.95 and card.metrics["auroc_bone"] == 0.8
    assert card.settings.items() > before.settings.items()
    assert Card.from_json(card.to_json()) == card
    text = markdown(card, ModelRef("judge", "1", "e" * 64), 10**6)
    assert "Joined with osteon-detector 9, a film's `probability` = logistic(1.500 logit" in text
    assert "(1, 2, 64, 32) float32" in text


def test_a_judge_of_other_figures_or_without_a_detector_is_refused() -> None:
    with pytest.raises(ModelMismatch, match="none of the judges"):
        adopted_judge(bone_judges.card(split_hash="f" * 16), JUDGED)
    alone = JUDGED | {"detector": None, "combination": {}}
    with pytest.raises(InvalidDataset, match="judge alone"):
        adopted_judge(bone_judges.card(), alone)
    for name in ("judges", "combination", "by_film", "films"):
        with pytest.raises(InvalidDataset):
            adopted_judge(bone_judges.card(), {key: value for key, value in JUDGED.items() if key != name})
