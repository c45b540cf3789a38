"""The workbench through the installed script: data, train, export, evaluate; and demo and bench."""

import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
from terminal import osteon

import models
from osteon.datasets.synthetic import write_dataset

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed (extra train)")
needs_samples = pytest.mark.skipif(find_spec("data_store") is None, reason="pydicom-data is not installed")
BRIEF = ["--batch", "4", "--threads", "1", "--warmup-steps", "1", "--evaluate-every", "1"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    write_dataset(folder, count=15, height_px=110, width_px=90)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others")
    for seed in range(8):
        cv2.imwrite(str(folder / f"{seed}.png"), models.photograph_pixels(80, 100, seed=seed))
    return folder


@pytest.fixture(scope="module")
def gate_run(drawn: Path, others: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gate of one epoch, its split and its checkpoints."""
    pytest.importorskip("torch", reason="torch is not installed (extra train)")
    out = tmp_path_factory.mktemp("runs") / "gate"
    words = ["train", "gate", "--data", drawn, "--negatives", others, "--arch", "unet", "--side-px", "32", *BRIEF]
    done = osteon(*words, "--epochs", "1", "--out", out)
    assert done.status == 0, done.err
    assert done.out.strip() == str(out / "best.pt")
    return out


class TestTraining:
    @needs_torch
    def test_gate_from_drawings_to_predictions(
        self, gate_run: Path, drawn: Path, others: Path, files: models.ModelFiles, tmp_path: Path
    ) -> None:
        """Train, export, look at the card, evaluate, predict: each command takes what the one before it wrote."""
        assert {path.name for path in gate_run.iterdir()} >= {"best.pt", "last.pt", "split.json"}
        model = tmp_path / "gate.onnx"
        data = ["--data", drawn, "--negatives", others]
        done = osteon("export", gate_run / "best.pt", *data, "--name", "miniature", "--out", model)
        assert done.status == 0, done.err
        assert "torch = ONNX on" in done.err

        (card,) = json.loads(osteon("models", model, "--format", "json").out)
        split = json.loads((gate_run / "split.json").read_text("utf-8"))
        assert (card["name"], card["task"], card["side_px"]) == ("miniature", "gate", 32)
        assert card["split_hash"] == split["hash"]

        done = osteon("evaluate", "gate", *data, "--split", gate_run / "split.json", "--model", model)
        assert done.status == 0, done.err
        figures = json.loads(done.out)
        assert figures["split"] == {"hash": split["hash"], "part": "valid"}
        assert figures["figures"]["decision"]["recall"] == 1.0

        film = next((drawn / "images").iterdir())
        done = osteon("predict", film, "--format", "json", "--gate", model, "--detector", files.detector)
        assert done.status == 0, done.err
        (finding,) = json.loads(done.out)["findings"]
        assert finding["models"]["gate"]["name"] == "miniature"
        assert finding["models"]["gate"]["sha256"] == card["sha256"]

    @needs_torch
    def test_export_with_another_split_is_refused(self, gate_run: Path, drawn: Path, tmp_path: Path) -> None:
        other = tmp_path / "split.json"
        assert osteon("data", "split", drawn, "--seed", "5", "--out", other).status == 0
        done = osteon("export", gate_run / "best.pt", "--data", drawn, "--split", other, "--out", tmp_path / "g.onnx")
        assert done.status == 2
        assert "trained on split" in done.err
        assert not (tmp_path / "g.onnx").exists()

    @needs_torch
    def test_detector_trains_and_goes_on(self, drawn: Path, tmp_path: Path) -> None:
        words = ["train", "detector", "--data", drawn, "--side-px", "64", "--canvas-px", "64", *BRIEF]
        out = tmp_path / "run"
        assert osteon(*words, "--epochs", "1", "--out", out).status == 0
        split = (out / "split.json").read_bytes()
        done = osteon(*words, "--epochs", "2", "--out", out)
        assert done.status == 0, done.err
        assert "best epoch" in done.err
        assert (out / "split.json").read_bytes() == split

    def test_a_missing_data_set_is_wrong_use(self, tmp_path: Path) -> None:
        done = osteon("train", "gate", "--data", tmp_path / "nothing", "--out", tmp_path / "run")
        assert done.status == 2
        assert "does not exist" in done.err

    @needs_torch
    def test_an_unknown_architecture_lists_the_known(self, drawn: Path, tmp_path: Path) -> None:
        done = osteon("train", "gate", "--data", drawn, "--arch", "resnet", "--out", tmp_path / "run")
        assert done.status == 2
        assert "unet-mobilenetv2" in done.err


class TestData:
    def test_import_gives_a_manifest_on_standard_output(self, drawn: Path) -> None:
        done = osteon("data", "import", drawn)
        assert done.status == 0
        assert len(json.loads(done.out)["cases"]) == 15

    def test_audit_writes_json(self, drawn: Path, tmp_path: Path) -> None:
        done = osteon("data", "audit", drawn, "--json", tmp_path / "audit.json")
        assert done.status == 0, done.err
        assert json.loads((tmp_path / "audit.json").read_text("utf-8"))

    def test_a_folder_that_is_no_data_set_is_said_to_be_none(self, tmp_path: Path) -> None:
        done = osteon("data", "import", tmp_path)
        assert done.status == 1
        assert "error: " in done.err and "hint: " in done.err


class TestEvaluate:
    def test_detector_figures_of_drawn_films(self, drawn: Path, files: models.ModelFiles) -> None:
        done = osteon("evaluate", "detector", "--data", drawn, "--model", files.detector)
        assert done.status == 0, done.err
        found = json.loads(done.out)
        assert found["figures"]["pictures"] == 15
        assert found["figures"]["operating_points"].keys() == {"fracture", "doubt"}
        assert found["split"] is None


class TestDemo:
    @needs_samples
    def test_analyses_all_samples_and_draws_them(self, with_models: list[str | Path], tmp_path: Path) -> None:
        done = osteon("demo", *with_models, folder=tmp_path)
        assert done.status == 0, done.err
        out = tmp_path / "osteon-demo"
        names = {"RG3_J2KR", "RG1_J2KR", "drawn", "photograph"}
        findings = json.loads((out / "findings.json").read_text("utf-8"))["findings"]
        assert {Path(finding["source"]).stem for finding in findings} == names
        assert {path.name for path in (out / "overlays").iterdir()} == {f"{name}.overlay.png" for name in names}
        assert all(name in done.out for name in names)
        assert "http://127.0.0.1:8010" in done.err and "a fracture was drawn at" in done.err


class TestBench:
    def test_measures_osteon_rejection_and_start_up(
        self, films: Path, with_models: list[str | Path], tmp_path: Path
    ) -> None:
        words = ["bench", films / "fracture.png", "--repeat", "4", "--no-baseline", *with_models]
        done = osteon(*words, "--json", tmp_path / "bench.json", "--markdown", tmp_path / "bench.md")
        assert done.status == 0, done.err
        report = json.loads((tmp_path / "bench.json").read_text("utf-8"))
        assert [(row["pipeline"], row["threads"]) for row in report["timed"]] == [("osteon", 1), ("osteon", 2)]
        for row in report["timed"]:
            assert row["ms"].keys() == {"read", "gate", "detect", "stages", "total"}
            for spread in row["ms"].values():
                assert 0 < spread["p10"] <= spread["median"] <= spread["p90"]
        assert report["rejection"]["decision"] == "not_a_radiograph"
        assert report["rejection"]["detector_loaded"] is False
        assert report["startup"]["seconds"]["median"] > 0
        assert report["ratios"] == {} and report["skipped"]
        assert (tmp_path / "bench.md").read_text("utf-8") == done.out
