"""The study of detectors in miniature: rows as YAML, trained, measured, told; killed rows go on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import drawn
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from osteon.cli import main
from osteon.datasets import synthetic
from osteon.datasets.case import Manifest
from osteon.datasets.recognise import open_dataset
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError
from osteon.inference.session import Session, read_card
from osteon.training.checkpoint import Checkpoint
from osteon.training.export import runner
from osteon.training.rows import StudyRow, chosen, read_rows
from osteon.training.runs import Run, train_detector
from osteon.training.study import Study, run_study, time_rows

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit
PLANNED = Path(__file__).parents[2] / "docs" / "rows" / "detectors.yaml"
ROWS = """
shared:
  loop: {epochs: 2, batch: 4, warmup_steps: 1, evaluate_every: 2}
  detector: {side_px: 64, canvas_px: 64, settle_epochs: 0}
rows:
  - name: plain
    label: Plain at 64
    weights: none
    epochs_sampled: 1
    loop: {learning_rate: 3.0e-4, epochs: 4}
    detector: {augment: false, four_fold: true, normals: 0}
  - name: yolo
    label: YOLOv8n at 64
    detector: {arch: yolov8n}
  - name: later
    label: Not yet
    gpu: true
    note: Waits for a larger machine.
  - name: released
    label: The released one
    model: bundled
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Split]:
    manifest, split = drawn.films(tmp_path_factory.mktemp("films"))
    cases = tuple(
        replace(c, instances=c.instances or (), fractured=bool(c.fractured)) for c in manifest if c.radiograph
    )
    return Manifest("drawn", cases), split


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRow, ...]:
    file = tmp_path_factory.mktemp("rows") / "rows.yaml"
    file.write_text(ROWS)
    return read_rows(file)


@pytest.fixture(scope="module")
def done(
    films: tuple[Manifest, Split], rows: tuple[StudyRow, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, dict[str, Any]]:
    study = Study(tmp_path_factory.mktemp("study"), *films, samples=50)
    return study, run_study(study, rows, only=("plain", "yolo", "released"))


def test_rows_take_shared_settings_and_their_own(rows: tuple[StudyRow, ...]) -> None:
    plain, yolo, later, released = rows
    assert (plain.loop.learning_rate, plain.loop.epochs, plain.loop.batch, plain.epochs) == (3e-4, 4, 4, 1)
    assert (plain.detector.side_px, plain.detector.normals, plain.detector.four_fold) == (64, 0.0, True)
    assert (yolo.detector.arch, yolo.epochs, yolo.detector.four_fold) == ("yolov8n", 2, False)
    assert (later.note, later.model, released.model) == ("Waits for a larger machine.", "", "bundled")
    assert chosen(rows, ("later", "plain")) == (plain, later)
    assert chosen(rows, ()) == rows


def test_each_row_says_how_far_it_was_run(done: tuple[Study, dict[str, Any]]) -> None:
    told = {row["name"]: row for row in done[1]["rows"]}
    assert told["plain"]["status"] == "sampled: 1 epochs of a schedule of 4"
    assert (told["plain"]["epochs"], told["yolo"]["epochs"]) == ("1 of 4", "2 of 2")
    assert told["yolo"]["status"] == "complete"
    assert told["later"]["status"] == "not run: wants a GPU"
    assert told["later"]["measured"] is None
    assert told["released"]["status"] == "not run: trained on another split"
    assert (told["plain"]["parameters"], told["yolo"]["parameters"]) == (4_201_128, 3_011_027)


def test_every_figure_has_its_interval(done: tuple[Study, dict[str, Any]]) -> None:
    for row in done[1]["rows"][:2]:
        measured = row["measured"]
        assert (measured["pictures"], measured["fractured"]) == (4, 2)
        assert measured["ms"] > 0
        wanted = {"best_iou_mean", "best_iou_max", "image_map50", "map50", "map50_95", "auroc"}
        wanted |= {f"sensitivity_at_{rate}" for rate in (0.1, 0.25, 0.5, 1.0)}
        wanted |= {f"doubt.{name}" for name in ("box_precision", "box_recall", "sensitivity", "specificity")}
        assert wanted <= measured["figures"].keys()
        for name in wanted:
            low, high = measured["intervals"][name]
            assert low <= measured["figures"][name] + 1e-4, name
            assert measured["figures"][name] <= high + 1e-4, name


def test_the_study_is_written_as_json_table_and_plot(done: tuple[Study, dict[str, Any]]) -> None:
    study, found = done
    assert json.loads((study.folder / "study.json").read_text("utf-8")) == json.loads(json.dumps(found))
    table = (study.folder / "study.md").read_text("utf-8")
    assert table.count("| Plain at 64 |") == table.count("| Not yet |") == 3
    assert "| not run | not run |" in table
    assert "2 fractured and 2 normal pictures" in table
    assert "- Not yet: Waits for a larger machine." in table
    for line in table.splitlines():
        if line.startswith("|"):
            assert line.count("|") in (9, 11)
    assert (study.folder / "study.png").read_bytes().startswith(b"\x89PNG")
    card, _ = read_card(study.folder / "rows" / "yolo" / "model.onnx")
    assert set(card.operating_points) == {"fracture", "doubt"}
    assert (card.split_hash, card.settings["epoch"]) == (study.split.hash, 2)


def test_a_row_for_a_gpu_waits_for_one_unless_it_is_named(
    rows: tuple[StudyRow, ...], films: tuple[Manifest, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def train(_manifest: Manifest, _split: Split, run: Run, **_: Any) -> None:
        trained.append(run.folder.name)

    monkeypatch.setattr("osteon.training.study.train_detector", train)
    study = Study(tmp_path, *films)
    monkeypatch.setattr("osteon.training.study.has_cuda", lambda: False)
    run_study(study, rows[1:3])
    assert trained == ["yolo"]
    run_study(study, rows[1:3], only=("later",))
    assert trained == ["yolo", "later"]
    monkeypatch.setattr("osteon.training.study.has_cuda", lambda: True)
    run_study(study, rows[1:3])
    assert trained == ["yolo", "later", "yolo", "later"]


def test_started_again_it_neither_trains_nor_measures_what_is_done(
    done: tuple[Study, dict[str, Any]], rows: tuple[StudyRow, ...]
) -> None:
    study, found = done
    files = [p for p in (study.folder / "rows").rglob("*") if p.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert run_study(study, rows, only=("plain", "yolo")) == found
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_row_that_was_begun_goes_on_in_the_same_schedule(
    done: tuple[Study, dict[str, Any]], rows: tuple[StudyRow, ...], films: tuple[Manifest, Split], tmp_path: Path
) -> None:
    study, row = Study(tmp_path, *films, samples=10), rows[1]
    begun = Run(study.row_folder(row), until=1)
    train_detector(*films, begun, settings=row.detector, loop=row.loop)
    assert run_study(study, [row], only=("none",))["rows"][0]["status"] == "unfinished: epoch 1 of 2"
    assert run_study(study, [row])["rows"][0]["status"] == "complete"
    whole, parts = (Checkpoint.read(s.row_folder(row) / "last.pt") for s in (done[0], study))
    assert all(torch.equal(value, parts.weights[name]) for name, value in whole.weights.items())


def test_times_are_taken_anew_and_nothing_else(
    done: tuple[Study, dict[str, Any]], rows: tuple[StudyRow, ...], films: tuple[Manifest, Split], tmp_path: Path
) -> None:
    """Of rows whose figures were brought from another machine without their models, too."""
    study, said = Study(tmp_path, *films), []
    for name in ("plain", "yolo"):
        figures = json.loads((done[0].folder / "rows" / name / "figures.json").read_text())
        (tmp_path / "rows" / name).mkdir(parents=True)
        (tmp_path / "rows" / name / "figures.json").write_text(json.dumps(figures | {"ms": -1.0}))
    time_rows(study, rows, only=("yolo", "later"), say=said.append)
    plain, yolo, later, _ = json.loads((tmp_path / "study.json").read_text())["rows"]
    assert said == ["YOLOv8n at 64"]
    assert plain["measured"]["ms"] == -1.0 and later["measured"] is None
    assert yolo["measured"]["ms"] > 0
    before = next(row for row in done[1]["rows"] if row["name"] == "yolo")["measured"]
    assert yolo["measured"] | {"ms": before["ms"]} == before


@pytest.mark.parametrize("name", ["plain", "yolo"])
def test_torch_runs_a_row_as_its_model_file_does(done: tuple[Study, dict[str, Any]], name: str) -> None:
    folder = done[0].folder / "rows" / name
    session = Session(folder / "model.onnx", task="detector", threads=1)
    square = np.random.default_rng(0).random((64, 64), np.float32)
    ours = runner(Checkpoint.read(folder / "last.pt"))(square)
    for mine, theirs in zip(ours, session.run(square), strict=True):
        assert mine.shape == theirs.shape
        assert np.allclose(mine, theirs, atol=2e-3)


def test_a_row_trained_with_other_settings_is_not_told_as_this_one(
    done: tuple[Study, dict[str, Any]], rows: tuple[StudyRow, ...]
) -> None:
    other = replace(rows[1], loop=replace(rows[1].loop, learning_rate=1.0))
    with pytest.raises(ConfigurationError, match="another learning_rate"):
        run_study(done[0], [other])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: []", "no rows"),
        ("{", "no YAML"),
        ("- 1", "expected words"),
        ("rows:\n- label: x", "called None"),
        ("rows:\n- name: Up", "called 'Up'"),
        ("rows:\n- {name: a}\n- {name: a}", "two rows are called a"),
        ("rows:\n- {name: a, colour: red}", "unknown colour"),
        ("rows:\n- {name: a, loop: {epochs: many}}", "epochs is 'many'"),
        ("rows:\n- {name: a, loop: {learning_rate: 3e-4}}", "learning_rate is '3e-4'"),
        ("rows:\n- {name: a, detector: {side: 3}}", "unknown side"),
        ("rows:\n- {name: a, epochs_sampled: few}", "epochs_sampled is 'few'"),
    ],
)
def test_a_file_of_rows_that_says_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_rows(tmp_path / "rows.yaml")
    assert caught.value.hint


def test_the_command_tells_rows_that_were_not_run(tmp_path: Path) -> None:
    synthetic.write_dataset(tmp_path / "data", count=6, height_px=60, width_px=50)
    (tmp_path / "rows.yaml").write_text(ROWS)
    names = sorted(case.name for case in open_dataset(tmp_path / "data"))
    Split("drawn", {"a": tuple(names[:3]), "b": tuple(names[3:])}, 0, "by hand").write(tmp_path / "split.json")
    words = ["study", "detectors", tmp_path / "rows.yaml", "--data", tmp_path / "data", "--fold", "b"]
    words += ["--split", tmp_path / "split.json", "--out", tmp_path / "study", "--figures-only"]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert done.stdout == (tmp_path / "study" / "study.md").read_text("utf-8")
    assert done.stdout.count("| not run |") >= 4
    timed = CliRunner().invoke(main, [str(word) for word in (*words[:-1], "--times-only")])
    assert (timed.exit_code, timed.stdout) == (0, done.stdout)
    again = CliRunner().invoke(main, [str(word) for word in (*words, "--only", "nobody")])
    assert again.exit_code == 2
    assert "no row is called nobody" in again.stderr


def test_a_row_that_is_not_there_is_named(rows: tuple[StudyRow, ...]) -> None:
    with pytest.raises(ConfigurationError, match="no row is called nobody"):
        chosen(rows, ("nobody",))


def test_the_planned_rows_are_those_of_the_work_we_build_on_and_ours() -> None:
    planned = {row.name: row for row in read_rows(PLANNED)}
    ssd = [row for row in planned.values() if row.detector.arch == "ssd300-vgg16"]
    assert {row.detector.side_px for row in ssd} == {300, 640, 800, 1024}
    assert {row.loop.learning_rate for row in ssd} == {3e-4, 1e-4}
    assert {row.detector.four_fold for row in ssd} == {True, False}
    assert {row.detector.arch for row in planned.values()} >= {"nanocsp", "yolov8n", "ssd300-vgg16"}
