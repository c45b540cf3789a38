"""`osteon evaluate bones` and `bone-folds`: a model that always finds the same, on pictures whose truth is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from outlined_pictures import SIDE_PX, constant_model, outlined_set

import models
from osteon.cli import main
from osteon.cli.evaluate import has_learned
from osteon.datasets.split import Split
from osteon.evaluation import bone_records
from osteon.inference.session import read_card

LEFT, RIGHT = (8, 8, 20, 56), (40, 8, 52, 56)
LABELS = ("radius", "ulna", "implant")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """film-0: both as found; film-1: one of two; film-2: only what is ignored is found; film-3: nothing is drawn."""
    made = tmp_path_factory.mktemp("outlined")
    both = [("radius", LEFT), ("ulna", RIGHT)]
    outlined_set(made, [both, [("radius", LEFT)], [("ulna", RIGHT), ("ignore", (0, 0, 30, 64))], []])
    parts = {"fold1": ("film-0.png", "film-1.png"), "fold2": ("film-2.png", "film-3.png")}
    Split("outlined", parts, 0, "by hand").write(made / "folds.json")
    constant_model(made / "model.onnx", LABELS, [("radius", 0.9, LEFT), ("ulna", 0.7, RIGHT)], cut=0.5)
    models.model_files(made)
    return made


def run(folder: Path, *words: str | Path) -> Result:
    usual = [
        "evaluate",
        "bones",
        folder / "model.onnx",
        "--data",
        folder / "bones.json",
        "--gate",
        folder / "gate.onnx",
    ]
    return CliRunner().invoke(main, [str(word) for word in [*usual, "--samples", "5", *words]])


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_figures_of_the_whole_set(folder: Path) -> None:
    answer = told(run(folder))
    figures = answer["figures"]["figures"]
    assert (answer["figures"]["pictures"], answer["figures"]["bones"]) == (3, 4)
    assert answer["model"]["name"] == "constant" and answer["split"] is None
    assert (figures["recall"], figures["precision"]) == (1, 0.8)
    assert figures["matched_iou_mean"] == figures["all_iou_mean"] == 1
    assert answer["figures"]["by_class"]["radius"]["ap50"] == 1
    assert answer["figures"]["by_class"]["ulna"]["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-4)
    assert figures["gate_dice"] is not None and figures["gate_dice_unseen"] is None


def test_a_part_of_a_split_with_records_and_report(folder: Path, tmp_path: Path) -> None:
    words = ["--split", folder / "folds.json", "--part", "fold1", "--records", tmp_path / "fold1.jsonl.gz"]
    answer = told(run(folder, *words, "--report", tmp_path / "report"))
    assert answer["split"] == {"hash": Split.read(folder / "folds.json").hash, "part": "fold1"}
    kept = bone_records.read(tmp_path / "fold1.jsonl.gz")
    assert kept.origin.part == "fold1" and kept.origin.labels == LABELS and kept.origin.cuts == (0.5, 0.5)
    assert [each.name for each in kept.pictures] == ["film-0.png", "film-1.png"]
    found = kept.pictures[0].found[0]
    assert np.array_equal(found.on(SIDE_PX, SIDE_PX), kept.pictures[0].truth[0].on(SIDE_PX, SIDE_PX))
    report = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert report == answer["figures"]
    assert (tmp_path / "report" / "report.md").read_text("utf-8").count("| ulna |") == 1


def test_another_cut_shows_less(folder: Path) -> None:
    figures = told(run(folder, "--cut", "0.8"))["figures"]
    assert figures["cuts"] == {"bone": 0.8, "metal": 0.8}
    assert (figures["figures"]["recall"], figures["figures"]["precision"]) == (0.5, 1)


def test_folds_from_records(folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{part}.jsonl.gz" for part in ("fold1", "fold2")]
    for file in files:
        told(run(folder, "--split", folder / "folds.json", "--part", file.name.split(".")[0], "--records", file))
    words = ["evaluate", "bone-folds", *map(str, files), "--samples", "5"]
    answer = told(CliRunner().invoke(main, words))
    assert (answer["pictures"], answer["bones"]) == (3, 4)
    assert [row["fold"] for row in answer["folds"]] == ["fold1", "fold2"]
    text = CliRunner().invoke(main, [*words, "--markdown"]).stdout
    assert text.count("| fold2 |") == 1 and "| ulna |" in text
    refused = CliRunner().invoke(main, ["evaluate", "bone-folds", str(files[0])])
    assert refused.exit_code == 1 and "two or more" in refused.stderr


def test_what_the_gate_has_seen_is_believed_of_its_own_split_only(folder: Path, tmp_path: Path) -> None:
    refused = run(folder, "--gate-split", folder / "folds.json")
    assert refused.exit_code != 0 and "was trained on split" in refused.stderr
    assert read_card(folder / "gate.onnx")[0].split_hash in refused.stderr


def test_a_part_that_the_model_has_learned_from_is_told(folder: Path, tmp_path: Path) -> None:
    split = Split.read(folder / "folds.json")
    card = replace(read_card(folder / "model.onnx")[0], split_hash=split.fold("fold1").hash)
    assert has_learned(card, folder / "folds.json", "fold2")
    assert not has_learned(card, folder / "folds.json", "fold1")
    assert not has_learned(replace(card, split_hash="0" * 16), folder / "folds.json", "fold2")


def test_pictures_without_outlines_are_refused(folder: Path) -> None:
    Split("outlined", {"empty": ("film-3.png",)}, 0, "by hand").write(folder / "empty.json")
    refused = run(folder, "--split", folder / "empty.json", "--part", "empty")
    assert refused.exit_code == 1 and "no outlines of bones" in refused.stderr


def test_folds_that_follow_those_of_another_task(folder: Path, tmp_path: Path) -> None:
    """film-3 is not in the other split, so it is left out."""
    Split("whole", {"fold1": ("film-2.png", "x"), "fold2": ("film-0.png", "film-1.png")}, 3, "by hand").write(
        tmp_path / "whole.json"
    )
    words = ["data", "split", folder / "bones.json", "--follow", tmp_path / "whole.json"]
    made = told(CliRunner().invoke(main, [str(word) for word in words]))
    assert made["parts"] == {
        "fold1": ["film-2.png"],
        "fold2": ["film-0.png", "film-1.png"],
        "left_out": ["film-3.png"],
    }
    refused = CliRunner().invoke(main, [str(word) for word in [*words, "--folds", "2"]])
    assert refused.exit_code == 2 and "--follow" in refused.stderr
