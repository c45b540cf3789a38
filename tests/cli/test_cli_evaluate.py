"""`osteon evaluate detector` and `folds` through the installed script."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from terminal import osteon

import models
from osteon.datasets.recognise import open_dataset
from osteon.datasets.split import split_folds
from osteon.datasets.synthetic import write_dataset
from osteon.evaluation import records
from osteon.inference.postprocess import Detections


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen drawn films, half of them fractured, and a split into two folds beside them."""
    folder = tmp_path_factory.mktemp("drawn")
    write_dataset(folder / "set", count=16, height_px=220, width_px=180)
    split_folds(open_dataset(folder / "set"), folds=2).write(folder / "folds.json")
    return folder


@pytest.fixture(scope="module")
def recorded(drawn: Path, files: models.ModelFiles) -> list[Path]:
    """Records of both folds."""
    made = [drawn / f"{part}.jsonl.gz" for part in ("fold1", "fold2")]
    for file in made:
        part = ["--split", drawn / "folds.json", "--part", file.name.split(".")[0]]
        words = ["--data", drawn / "set", *part, "--model", files.detector, "--records", file, "--samples", "5"]
        done = osteon("evaluate", "detector", *words)
        assert done.status == 0, done.err
        assert str(file) in done.err
        assert json.loads(done.out)["split"]["part"] == file.name.split(".")[0]
    return made


@pytest.fixture(scope="module")
def seen(recorded: list[Path]) -> list[Path]:
    """The same records as if the detector had boxed two of three fractures, and something else on each film."""
    rng = np.random.default_rng(0)
    made = []
    for file in recorded:
        pictures = []
        for i, record in enumerate((kept := records.read(file)).pictures):
            truth = record.judged.truth_xyxy_px[: 1 if i % 3 else 0]
            boxes = np.vstack([truth, np.array([[1, 1, 9, 9]], np.float32)])
            scores = np.sort(rng.random(len(boxes), np.float32))[::-1]
            judged = replace(record.judged, found=Detections(boxes, scores.copy()))
            pictures.append(replace(record, judged=judged))
        made.append(file.with_name("seen-" + file.name))
        records.write(replace(kept, pictures=tuple(pictures)), made[-1])
    return made


def test_a_report_is_written_and_standard_output_stays_json(
    drawn: Path, files: models.ModelFiles, tmp_path: Path
) -> None:
    words = ["--data", drawn / "set", "--model", files.detector, "--gate", files.gate, "--samples", "20"]
    done = osteon("evaluate", "detector", *words, "--report", tmp_path / "report", "--pictures", "2")
    assert done.status == 0, done.err
    figures = json.loads(done.out)["figures"]
    report = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert report["data"]["gate"]["asked"] == figures["pictures"] == 16
    assert report["figures"]["map50"] == figures["map50"]
    assert "too small to tell: 8 fractured pictures" in done.err
    assert (tmp_path / "report" / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_every_figure_has_its_interval(drawn: Path, files: models.ModelFiles) -> None:
    done = osteon("evaluate", "detector", "--data", drawn / "set", "--model", files.detector, "--samples", "20")
    assert done.status == 0, done.err
    figures = json.loads(done.out)["figures"]
    for name, (low, high) in figures["intervals"].items():
        cut, _, figure = name.rpartition(".") if name.startswith(("doubt.", "fracture.")) else ("", "", name)
        value = (figures["operating_points"][cut] if cut else figures)[figure]
        assert low - 1e-4 <= value <= high + 1e-4, name
    assert {"map50", "auroc", "doubt.sensitivity", "fracture.box_precision"} <= figures["intervals"].keys()


@pytest.mark.skipif(find_spec("faster_coco_eval") is None, reason="faster-coco-eval is not installed (extra train)")
def test_the_coco_table_on_demand(drawn: Path, files: models.ModelFiles) -> None:
    words = ["--data", drawn / "set", "--model", files.detector, "--samples", "2", "--coco"]
    figures = json.loads(osteon("evaluate", "detector", *words).out)["figures"]
    assert figures["coco"]["AP50"] == pytest.approx(figures["map50_all"], abs=1e-4)


def test_folds_from_records(seen: list[Path]) -> None:
    done = osteon("evaluate", "folds", *seen, "--samples", "20")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert (found["pictures"], found["fractured"]) == (16, 8)
    assert [row["fold"] for row in found["by_fold"]["folds"]] == ["fold1", "fold2"]
    assert found["operating_points"]["doubt"]["measured"]["sensitivity"] >= 0.9
    assert {row["kind"] for row in found["groups"]} >= {"fractures", "largest fracture"}
    assert len(found["misses"]) + len(found["false_alarms"]) > 0
    text = osteon("evaluate", "folds", *seen, "--samples", "5", "--markdown").out
    assert text.startswith("| fold |") and "| isotonic |" in text


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed (extra train)")
def test_figures_of_folds_are_taken_into_the_card_of_a_model(seen: list[Path], tmp_path: Path) -> None:
    folds = tmp_path / "folds.json"
    folds.write_text(osteon("evaluate", "folds", *seen, "--samples", "20").out)
    found = json.loads(folds.read_text())
    model, out = tmp_path / "fold1.onnx", tmp_path / "released" / "detector.onnx"
    row = found["by_fold"]["folds"][0]
    card = models.detector_card(metrics={name: row[name] for name in ("map50", "map50_95")})
    onnx.save(models.detector_model(card), str(model))
    done = osteon("models", "adopt", model, folds, "--out", out)
    assert (done.status, done.out.strip()) == (0, str(out)), done.err
    (adopted,) = json.loads(osteon("models", out, "--format", "json").out)
    assert adopted["cross_validation"]["own_fold"] == "fold1"
    assert adopted["operating_points"] == {n: p["threshold"] for n, p in found["operating_points"].items()}
    assert adopted["file"] == str(out)

    onnx.save(models.detector_model(models.detector_card()), str(model))
    done = osteon("models", "adopt", model, folds, "--out", tmp_path / "other.onnx")
    assert (done.status, "none of the folds" in done.err) == (2, True)
    assert not (tmp_path / "other.onnx").exists()


def test_folds_of_a_detector_that_never_hits_have_no_calibration(recorded: list[Path]) -> None:
    done = osteon("evaluate", "folds", *recorded, "--samples", "5")
    assert done.status == 0, done.err
    assert json.loads(done.out)["calibration"] is None
    assert "| doubt |" in osteon("evaluate", "folds", *recorded, "--samples", "5", "--markdown").out


def test_variants_from_records(recorded: list[Path]) -> None:
    rows = json.loads(osteon("evaluate", "folds", *recorded, "--variants").out)
    assert {row["iou_threshold"] for row in rows} >= {0.2, 0.5, 0.6}
    assert {row["voting_iou"] for row in rows} == {None, 0.5, 0.65}


def test_one_fold_or_no_records_are_refused(recorded: list[Path], drawn: Path) -> None:
    done = osteon("evaluate", "folds", recorded[0])
    assert done.status == 1 and "expected two or more" in done.err
    done = osteon("evaluate", "folds", recorded[0], drawn / "folds.json")
    assert done.status == 1 and "folds.json holds no records" in done.err
