"""The study of single bones in miniature: rows as YAML, trained, measured, told; what was not run says so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import drawn
import pytest
import torch
from click.testing import CliRunner

from osteon.cli import main
from osteon.datasets.case import Manifest
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError
from osteon.evaluation import bone_records
from osteon.training import bone_study
from osteon.training.architectures import BONES
from osteon.training.bone_release import EXPORTED
from osteon.training.bone_study import bones_kind
from osteon.training.bone_views import CLASSES
from osteon.training.config import BONES_LOOP
from osteon.training.rows import BonesRow, rows_of
from osteon.training.study import Study, run_study

torch.set_num_threads(1)
PLANNED = Path(__file__).parents[2] / "docs" / "rows" / "bones.yaml"
ROWS = """
shared:
  loop: {epochs: 1, batch: 2, warmup_steps: 1, evaluate_every: 1}
  bones: {side_px: 64, canvas_px: 64, settle_epochs: 0}
rows:
  - name: half
    label: Half of the films
    bones: {classes: bone, share: 0.5}
  - name: later
    label: Not yet
    gpu: true
    note: Waits for a larger machine.
    bones: {classes: anatomy}
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[BonesRow, ...]:
    file = tmp_path_factory.mktemp("rows") / "rows.yaml"
    file.write_text(ROWS)
    return rows_of(file, BonesRow)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Split]:
    manifest, split = drawn.films(tmp_path_factory.mktemp("films"), train=4, valid=2)
    cases = tuple(replace(case, fractured=None) for case in manifest if case.radiograph)
    return Manifest("drawn", cases), split


@pytest.fixture(scope="module")
def done(
    films: tuple[Manifest, Split], rows: tuple[BonesRow, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, dict[str, Any]]:
    """Trained and measured as a reference, for the export takes as long as all of this file."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bone_study, "EXPORTED", "nothing")
        study = Study(tmp_path_factory.mktemp("study"), *films, samples=5, kind=bones_kind())
        return study, run_study(study, rows, only=("half",))


def test_rows_take_shared_settings_and_their_own(rows: tuple[BonesRow, ...]) -> None:
    half, later = rows
    assert (half.bones.share, half.bones.classes, half.bones.side_px) == (0.5, "bone", 64)
    assert (later.bones.share, later.bones.classes) == (1.0, "anatomy")
    assert half.loop == replace(BONES_LOOP, epochs=1, batch=2, warmup_steps=1, evaluate_every=1)
    assert half.said().keys() >= {"bones", "loop"} and "detector" not in half.said()


def test_a_row_of_a_detector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text("rows:\n- {name: a, detector: {side_px: 640}}")
    with pytest.raises(ConfigurationError, match="unknown detector"):
        rows_of(tmp_path / "rows.yaml", BonesRow)


def test_a_row_is_trained_measured_and_told(done: tuple[Study, dict[str, Any]]) -> None:
    study, found = done
    half = found["rows"][0]
    assert (half["status"], half["epochs"]) == ("complete", "1 of 1")
    assert half["parameters"] > 100_000
    kept = bone_records.read(study.folder / "rows" / "half" / "records.jsonl.gz")
    assert len(kept.pictures) == half["measured"]["pictures"] == 2
    assert half["measured"]["bones"] == sum(len(each.truth) for each in kept.pictures) > 0
    assert 0 <= half["measured"]["figures"]["ap50"] <= 1
    history = (study.folder / "rows" / "half" / "history.jsonl").read_text().splitlines()
    assert "ap50" in json.loads(history[-1])


def test_what_was_not_run_says_so(done: tuple[Study, dict[str, Any]]) -> None:
    study, found = done
    assert found["rows"][1]["measured"] is None
    text = (study.folder / "study.md").read_text("utf-8")
    assert "not run: wants a GPU" in text and "- Not yet: Waits for a larger machine." in text
    lines = [line for line in text.splitlines() if line.startswith("| Not yet |")]
    assert len(lines) >= 3 and all("not run" in line for line in lines)
    assert "| Half of the films | bone | 50% | 64 |" in text
    assert "nan" not in text and (study.folder / "study.png").read_bytes().startswith(b"\x89PNG")


def test_done_rows_are_left_alone(done: tuple[Study, dict[str, Any]], rows: tuple[BonesRow, ...]) -> None:
    study, found = done
    files = [p for p in (study.folder / "rows").rglob("*") if p.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert run_study(study, rows, only=("half",)) == found
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_row_trained_with_other_settings_is_not_told_as_this_one(
    done: tuple[Study, dict[str, Any]], rows: tuple[BonesRow, ...]
) -> None:
    other = replace(rows[0], bones=replace(rows[0].bones, share=0.25))
    with pytest.raises(ConfigurationError, match="another share"):
        run_study(done[0], [other])


def test_the_command_tells_rows_that_were_not_run(films: tuple[Manifest, Split], tmp_path: Path) -> None:
    manifest, split = films
    (tmp_path / "rows.yaml").write_text(ROWS)
    split.write(tmp_path / "split.json")
    from osteon.datasets import coco

    coco.write(manifest, tmp_path / "bones.json")
    for case in manifest:
        (tmp_path / case.name).write_bytes(case.path.read_bytes())
    words = ["study", "bones", tmp_path / "rows.yaml", "--data", tmp_path / "bones.json"]
    words += ["--split", tmp_path / "split.json", "--out", tmp_path / "study", "--figures-only"]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert done.stdout == (tmp_path / "study" / "study.md").read_text("utf-8")
    assert done.stdout.count("not run") >= 4


def test_the_planned_rows_are_those_of_the_work_we_build_on_and_ours() -> None:
    planned = {row.name: row for row in rows_of(PLANNED, BonesRow)}
    assert {row.bones.arch for row in planned.values()} == BONES.keys()
    mine = [row for row in planned.values() if row.bones.arch == EXPORTED]
    assert {row.bones.classes for row in mine} == set(CLASSES)
    for classes in CLASSES:
        assert {row.bones.share for row in mine if row.bones.classes == classes} == {0.5, 1.0}
