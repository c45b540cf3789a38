"""`osteon segment` and `osteon models`, through the installed script."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from terminal import osteon, osteon_here

import models


class TestSegment:
    def test_masks_have_the_size_of_the_picture_and_two_values(
        self, films: Path, files: models.ModelFiles, tmp_path: Path
    ) -> None:
        done = osteon("segment", films, "--out", tmp_path, "--gate", files.gate)
        assert done.status == 0
        assert done.out == ""
        masks = {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in tmp_path.glob("*.mask.png")}
        assert masks.keys() == {f"{name}.mask.png" for name in ("fracture", "doubt", "healthy", "photograph")}
        for name in ("fracture", "doubt", "healthy"):
            mask = masks[f"{name}.mask.png"]
            assert mask.shape == (900, 700) and mask.dtype == np.uint8
            assert set(np.unique(mask)) == {0, 255}
            truth = np.zeros((900, 700), bool)
            truth[45:-45, 245:455] = True
            assert (truth & (mask > 0)).sum() / (truth | (mask > 0)).sum() > 0.9
        assert masks["photograph.mask.png"].shape == (600, 800)
        assert not masks["photograph.mask.png"].any()

    def test_what_is_turned_away_is_named_on_standard_error(
        self, films: Path, files: models.ModelFiles, tmp_path: Path
    ) -> None:
        done = osteon("segment", films, "--out", tmp_path, "--gate", files.gate)
        assert [line for line in done.err.splitlines() if "not a radiograph" in line] == [
            f"{films / 'photograph.jpg'}: not a radiograph"
        ]

    def test_a_broken_file_does_not_stop_the_others(
        self, films: Path, files: models.ModelFiles, tmp_path: Path
    ) -> None:
        (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
        out = tmp_path / "out"
        done = osteon("segment", tmp_path / "broken.jpg", films / "doubt.png", "--out", out, "--gate", files.gate)
        assert done.status == 1
        assert "broken.jpg" in done.err
        assert [path.name for path in out.iterdir()] == ["doubt.mask.png"]


@pytest.fixture(scope="module")
def out(films: Path, files: models.ModelFiles, bones_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("instances")
    words = ["--instances", "--gate", files.gate, "--bones", bones_file, "--language", "ru"]
    done = osteon_here("segment", films, "--out", folder, *words)
    assert (done.status, done.out) == (0, "")
    assert "instances.json" in done.err
    return folder


class TestInstances:
    def test_every_picture_and_its_bones_are_in_the_document(self, out: Path) -> None:
        value = json.loads((out / "instances.json").read_text("utf-8"))
        names = {image["id"]: image["file_name"] for image in value["images"]}
        assert sorted(names.values()) == ["doubt.png", "fracture.png", "healthy.tiff", "photograph.jpg"]
        labels = {category["id"]: category["name"] for category in value["categories"]}
        assert labels[2] == "radius"
        found = {name: [] for name in names.values()}
        for row in value["annotations"]:
            found[names[row["image_id"]]].append(labels[row["category_id"]])
        two = ["radius", "carpals"]
        assert found == {"doubt.png": two, "fracture.png": two, "healthy.tiff": two, "photograph.jpg": []}

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    def test_pycocotools_reads_the_masks(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
        read = coco.COCO(str(out / "instances.json"))
        capsys.readouterr()
        (image,) = [row for row in read.dataset["images"] if row["file_name"] == "doubt.png"]
        assert (image["height"], image["width"]) == (900, 700)
        rows = read.loadAnns(read.getAnnIds(imgIds=[image["id"]]))
        union = np.zeros((900, 700), bool)
        for row in rows:
            mask = read.annToMask(row).astype(bool)
            assert mask.sum() == row["area"]
            x, y, width, height = row["bbox"]
            ys, xs = np.nonzero(mask)
            assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x, y, x + width, y + height)
            assert 0.5 <= row["score"] <= 1 and row["iscrowd"] == 0
            union |= mask
        drawn = np.zeros((900, 700), bool)
        drawn[45:-45, 245:455] = True
        assert (union & drawn).sum() / (union | drawn).sum() > 0.93

    def test_our_own_reader_takes_it(self, out: Path, films: Path) -> None:
        from osteon.datasets import coco

        cases = {case.name: case for case in coco.read(out / "instances.json", images=films)}
        instances = cases["doubt.png"].instances or ()
        assert [instance.label for instance in instances] == ["radius", "carpals"]
        assert all(instance.mask is not None and instance.mask.any() for instance in instances)

    def test_overlays_are_coloured_and_in_the_language_chosen(
        self, out: Path, films: Path, files: models.ModelFiles, bones_file: Path, tmp_path: Path
    ) -> None:
        assert sorted(path.name for path in out.glob("*.instances.png")) == [
            f"{name}.instances.png" for name in ("doubt", "fracture", "healthy")
        ]
        words = ["--instances", "--gate", files.gate, "--bones", bones_file]
        assert osteon_here("segment", films / "doubt.png", "--out", tmp_path, *words).status == 0
        russian, english = (cv2.imread(str(folder / "doubt.instances.png")) for folder in (out, tmp_path))
        assert russian.shape == (900, 700, 3)
        assert (russian.max(axis=2).astype(int) - russian.min(axis=2) > 60).any(), "nothing is drawn in colour"
        assert (russian != english).any(), "both languages look alike"

    def test_without_a_bones_model_nothing_is_done_and_a_hint_given(
        self, films: Path, files: models.ModelFiles, tmp_path: Path
    ) -> None:
        absent = tmp_path / "absent.onnx"
        words = ["--instances", "--gate", files.gate, "--bones", absent]
        done = osteon_here("segment", films / "doubt.png", "--out", tmp_path / "out", *words)
        assert done.status == 2
        assert "absent.onnx" in done.err and "hint: " in done.err
        assert not (tmp_path / "out").exists()

    def test_a_bones_model_without_instances_is_wrong_use(self, films: Path, bones_file: Path, tmp_path: Path) -> None:
        done = osteon_here("segment", films, "--out", tmp_path, "--bones", bones_file)
        assert done.status == 2 and "--instances" in done.err


class TestModels:
    def test_json_says_what_the_cards_say(self, files: models.ModelFiles) -> None:
        done = osteon("models", files.gate, files.detector, "--format", "json")
        assert done.status == 0
        gate, detector = json.loads(done.out)
        assert (gate["task"], detector["task"]) == ("gate", "detector")
        wanted = {"name", "task", "version", "sha256", "size_bytes", "side_px", "licence", "metrics"}
        assert wanted <= gate.keys()
        assert gate["size_bytes"] == files.gate.stat().st_size
        assert detector["operating_points"] == {"fracture": 0.7, "doubt": 0.3}

    def test_the_bones_model_is_told_like_the_others(self, bones_file: Path) -> None:
        (value,) = json.loads(osteon_here("models", bones_file, "--format", "json").out)
        assert (value["task"], value["operating_points"]) == ("bones", {"bone": 0.5})
        text = osteon_here("models", bones_file, "--format", "markdown").out
        assert "radius, carpals, ulna, implant" in text and "each bone" in text

    def test_table_names_them(self, files: models.ModelFiles) -> None:
        done = osteon("models", files.detector)
        assert "osteon-detector-drawn" in done.out and "Apache-2.0" in done.out

    def test_a_file_without_card_is_status_2(self, tmp_path: Path) -> None:
        (tmp_path / "text.onnx").write_text("no model", encoding="utf-8")
        done = osteon("models", tmp_path / "text.onnx")
        assert done.status != 0
        assert done.out == ""

    @pytest.mark.parametrize("words", [["--version"], ["--help"], ["predict", "-h"]], ids=" ".join)
    def test_help_and_version_are_results(self, words: list[str]) -> None:
        done = osteon(*words)
        assert done.status == 0
        assert "osteon" in done.out
        assert done.err == ""
