"""The model cards in docs/ are what stands in the model files."""

from pathlib import Path

import pytest

from osteon.inference.bone_judge import Joint, spoken
from osteon.inference.card_text import markdown
from osteon.inference.pipeline import BONE_JUDGE_FILE, BONES_FILE, DETECTOR_FILE, DETECTOR_FLOAT_FILE, GATE_FILE
from osteon.inference.session import read_card

DOCS = Path(__file__).parents[2] / "docs" / "models"


@pytest.mark.parametrize(
    "path", [GATE_FILE, DETECTOR_FILE, DETECTOR_FLOAT_FILE, BONES_FILE, BONE_JUDGE_FILE], ids=lambda path: path.stem
)
def test_the_published_card_is_that_of_the_file(path: Path) -> None:
    card, ref = read_card(path)
    published = (DOCS / f"{card.name}.md").read_text(encoding="utf-8")
    assert published == markdown(card, ref, path.stat().st_size), (
        "osteon models --format markdown FILE > docs/models/..."
    )
    assert ref.sha256 in published
    assert "Not a medical device" in published


def test_the_released_judge_is_joined_with_the_released_detector() -> None:
    """Else nobody would be told a joint probability."""
    joint = Joint.of(read_card(BONE_JUDGE_FILE)[0])
    assert joint and joint.detector == spoken(read_card(DETECTOR_FILE)[0])
    assert joint.film.detector > 0.1 and joint.film.judge > 0.1, "both have a say"


def test_the_released_models_reach_what_is_claimed() -> None:
    """The figures that README quotes are those of the cards."""
    gate, detector = read_card(GATE_FILE)[0].metrics, read_card(DETECTOR_FILE)[0].metrics
    assert gate["bone_dice"] >= 0.88
    assert gate["recall"] == 1
    assert gate["specificity"] >= 0.98
    assert detector["map50"] >= 0.5
    readme = (DOCS.parents[1] / "README.md").read_text(encoding="utf-8")
    russian = (DOCS.parents[1] / "README.ru.md").read_text(encoding="utf-8")
    assert f"Dice {gate['bone_dice']:.3f}" in readme
    own = f"mAP50 {detector['map50']:.3f} and AUROC {detector['auroc']:.3f}"
    assert own in readme and own.replace(".", ",").replace(" and ", " и ") in russian


def test_readme_quotes_the_cross_validation_of_the_card() -> None:
    found = read_card(DETECTOR_FILE)[0].cross_validation
    readme = (DOCS.parents[1] / "README.md").read_text(encoding="utf-8")
    russian = (DOCS.parents[1] / "README.ru.md").read_text(encoding="utf-8")
    figures = found["figures"]
    normal = found["pictures"] - found["fractured"]
    assert f"mAP50 {figures['map50']:.3f}, AUROC by film {figures['auroc']:.3f} | {found['fractured']} frac" in readme
    assert f"and {normal:,} normal" in readme and f"{found['fractured']} снимков" in russian
    for point in found["operating_points"].values():
        sensitivity, specificity = (f"{point['cross_fitted'][name]:.2f}" for name in ("sensitivity", "specificity"))
        assert f"sensitivity {sensitivity}, specificity {specificity}" in readme
        told = f"чувствительность {sensitivity}, специфичность {specificity}"
        assert told.replace("0.", "0,") in russian


def test_readme_quotes_the_card_of_single_bones() -> None:
    card = read_card(BONES_FILE)[0]
    figures, texts = (
        card.metrics,
        [(DOCS.parents[1] / name).read_text("utf-8") for name in ("README.md", "README.ru.md")],
    )
    told = f"AP50 {figures['ap50']:.2f}", f"IoU {figures['matched_iou_mean']:.2f}", f"IoU {figures['implant_iou']:.2f}"
    for value in told:
        assert value in texts[0] and value.replace(".", ",") in texts[1]
    assert figures["ap50"] >= 0.7 and BONES_FILE.stat().st_size <= 60e6


def test_both_detectors_are_of_one_training_and_neither_is_much_better() -> None:
    released, plain = read_card(DETECTOR_FILE)[0], read_card(DETECTOR_FLOAT_FILE)[0]
    assert (released.version, released.split_hash) == (plain.version, plain.split_hash)
    assert released.settings == {**plain.settings, "eight_bit": True}
    assert released.metrics["map50"] >= plain.metrics["map50"] - 0.01
    assert DETECTOR_FILE.stat().st_size < DETECTOR_FLOAT_FILE.stat().st_size / 3
