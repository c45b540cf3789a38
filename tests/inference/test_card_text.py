"""The model cards in docs/ are what stands in the model files."""

from pathlib import Path

import pytest

from osteon.inference.card_text import markdown
from osteon.inference.pipeline import DETECTOR_FILE, DETECTOR_FLOAT_FILE, GATE_FILE
from osteon.inference.session import read_card

DOCS = Path(__file__).parents[2] / "docs" / "models"


@pytest.mark.parametrize("path", [GATE_FILE, DETECTOR_FILE, DETECTOR_FLOAT_FILE], ids=lambda path: path.stem)
def test_the_published_card_is_that_of_the_file(path: Path) -> None:
    card, ref = read_card(path)
    published = (DOCS / f"{card.name}.md").read_text(encoding="utf-8")
    assert published == markdown(card, ref, path.stat().st_size), (
        "osteon models --format markdown FILE > docs/models/..."
    )
    assert ref.sha256 in published
    assert "Not a medical device" in published


def test_the_released_models_reach_what_is_claimed() -> None:
    """The figures that README quotes are those of the cards."""
    gate, detector = read_card(GATE_FILE)[0].metrics, read_card(DETECTOR_FILE)[0].metrics
    assert gate["bone_dice"] >= 0.88
    assert gate["recall"] == 1
    assert gate["specificity"] >= 0.98
    assert detector["map50"] >= 0.5
    readme = (DOCS.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"Dice {gate['bone_dice']:.3f}" in readme
    assert f"mAP50 {detector['map50']:.2f}" in readme


def test_both_detectors_are_of_one_training_and_neither_is_much_better() -> None:
    released, plain = read_card(DETECTOR_FILE)[0], read_card(DETECTOR_FLOAT_FILE)[0]
    assert (released.version, released.split_hash) == (plain.version, plain.split_hash)
    assert released.settings == {**plain.settings, "eight_bit": True}
    assert released.metrics["map50"] >= plain.metrics["map50"] - 0.01
    assert DETECTOR_FILE.stat().st_size < DETECTOR_FLOAT_FILE.stat().st_size / 3
