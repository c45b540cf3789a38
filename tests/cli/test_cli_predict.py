"""`osteon predict`, through its installed script."""

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
from terminal import Done, osteon, osteon_here

import bone_judges
import models
from osteon.geometry import iou

SHA256 = re.compile(r"[0-9a-f]{64}")
DECISIONS = {
    "fracture.png": "fracture",
    "doubt.png": "doubt",
    "healthy.tiff": "no_fracture",
    "photograph.jpg": "not_a_radiograph",
}


@pytest.fixture(scope="module")
def as_json(films: Path, with_models: list[str | Path]) -> Done:
    return osteon("predict", films, "--format", "json", *with_models)


@pytest.fixture(scope="module")
def document(as_json: Done) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(as_json.out)
    return value


def _by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {Path(finding["source"]).name: finding for finding in document["findings"]}


class TestJson:
    def test_nothing_but_the_document_is_on_standard_output(self, as_json: Done) -> None:
        assert as_json.status == 0
        assert as_json.out.startswith("{") and as_json.out.endswith("}\n")
        assert as_json.err == ""

    def test_has_the_shape_of_the_interface(self, document: dict[str, Any]) -> None:
        assert document.keys() == {"schema_version", "findings", "errors"}
        assert document["schema_version"] == 1
        assert document["errors"] == []
        keys = {"source", "sha256", "height_px", "width_px", "bone", "decision", "fractures", "models", "timing_ms"}
        for finding in document["findings"]:
            assert finding.keys() == keys
            assert SHA256.fullmatch(finding["sha256"])
            assert finding["bone"].keys() == {"present", "area_fraction", "confidence"}
            assert finding["models"].keys() == {"gate", "detector"}
            assert finding["models"]["gate"].keys() == {"name", "version", "sha256"}
            assert SHA256.fullmatch(finding["models"]["gate"]["sha256"])

    def test_folder_is_searched_through_and_each_picture_decided(self, document: dict[str, Any]) -> None:
        assert {name: finding["decision"] for name, finding in _by_name(document).items()} == DECISIONS

    def test_fracture_has_box_score_probability_and_grade(self, document: dict[str, Any]) -> None:
        (fracture,) = _by_name(document)["fracture.png"]["fractures"]
        assert fracture.keys() == {"box_xyxy_px", "score", "probability", "grade"}
        assert fracture["grade"] == "fracture"
        assert _by_name(document)["doubt.png"]["fractures"][0]["grade"] == "doubt"
        found, drawn = models.np.array([fracture["box_xyxy_px"]]), models.np.array([models.spot_box_px(900, 700)])
        assert iou(found.astype("float32"), drawn.astype("float32"))[0, 0] > 0.3

    def test_where_the_gate_ended_the_work_there_is_no_detector(self, document: dict[str, Any]) -> None:
        photograph = _by_name(document)["photograph.jpg"]
        assert photograph["models"]["detector"] is None
        assert photograph["fractures"] == []
        assert photograph["timing_ms"].keys() == {"read", "gate", "total"}
        film = _by_name(document)["doubt.png"]
        assert film["models"]["detector"]["name"] == "osteon-detector-drawn"
        assert film["timing_ms"].keys() == {"read", "gate", "detect", "total"}

    def test_goes_to_a_file_with_out(self, films: Path, with_models: list[str | Path], tmp_path: Path) -> None:
        done = osteon("predict", films / "doubt.png", "--format", "json", "--out", tmp_path / "new", *with_models)
        assert done.out == ""
        assert "findings.json" in done.err
        assert json.loads((tmp_path / "new" / "findings.json").read_text("utf-8"))["findings"][0]["decision"] == "doubt"

    def test_min_score_adds_candidates_and_does_not_change_the_decision(
        self, films: Path, with_models: list[str | Path]
    ) -> None:
        low = osteon("predict", films / "doubt.png", "--format", "json", "--min-score", "0", *with_models)
        high = osteon("predict", films / "doubt.png", "--format", "json", "--min-score", "0.99", *with_models)
        more, fewer = (json.loads(done.out)["findings"][0] for done in (low, high))
        assert more["decision"] == fewer["decision"] == "doubt"
        assert more["candidates"] and all(box["grade"] is None for box in more["candidates"])
        assert fewer["fractures"] == []


class TestCoco:
    def test_is_a_results_list_that_pycocotools_reads(
        self, films: Path, with_models: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mask = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
        done = osteon("predict", films, "--format", "coco", "--out", tmp_path, *with_models)
        assert done.status == 0
        rows = json.loads((tmp_path / "coco.json").read_text("utf-8"))
        assert {row["file_name"] for row in rows} == {"fracture.png", "doubt.png"}
        for row in rows:
            assert row.keys() == {"image_id", "file_name", "category_id", "bbox", "score"}
        truth = {
            "info": {},
            "images": [{"id": number, "height": 900, "width": 700} for number in range(1, 5)],
            "categories": [{"id": 1, "name": "fracture"}],
            "annotations": [],
        }
        (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
        results = mask.COCO(str(tmp_path / "truth.json")).loadRes(str(tmp_path / "coco.json"))
        capsys.readouterr()
        assert len(results.getAnnIds()) == len(rows) == 2
        x, y, width, height = next(row["bbox"] for row in rows if row["file_name"] == "fracture.png")
        x0, y0, x1, y1 = models.spot_box_px(900, 700)
        assert x < (x0 + x1) / 2 < x + width and y < (y0 + y1) / 2 < y + height

    def test_goes_down_to_min_score(self, films: Path, with_models: list[str | Path]) -> None:
        words = ["predict", films / "fracture.png", "--format", "coco", *with_models]
        usual, all_of_them = osteon(*words), osteon(*words, "--min-score", "0")
        assert len(json.loads(all_of_them.out)) > len(json.loads(usual.out)) == 1


class TestCsvAndTable:
    def test_csv_has_a_line_for_each_picture(self, films: Path, with_models: list[str | Path]) -> None:
        done = osteon("predict", films, "--format", "csv", *with_models)
        rows = list(csv.DictReader(io.StringIO(done.out)))
        assert {Path(row["source"]).name: row["decision"] for row in rows} == DECISIONS
        assert next(row["fractures"] for row in rows if row["decision"] == "not_a_radiograph") == ""

    def test_table_is_the_default(self, films: Path, with_models: list[str | Path]) -> None:
        done = osteon("predict", films, *with_models)
        assert done.status == 0
        for name, decision in DECISIONS.items():
            assert re.search(rf"{re.escape(name)} .*{decision}", done.out)


class TestPaths:
    def test_globs_and_repeated_files(self, films: Path, with_models: list[str | Path]) -> None:
        done = osteon("predict", f"{films}/**/*.[pt][ni]*", films / "doubt.png", "--format", "csv", *with_models)
        names = [Path(row["source"]).name for row in csv.DictReader(io.StringIO(done.out))]
        assert sorted(names) == ["doubt.png", "fracture.png", "healthy.tiff"]

    def test_a_name_in_another_script_is_no_obstacle(
        self, films: Path, with_models: list[str | Path], tmp_path: Path
    ) -> None:
        shutil.copy(films / "fracture.png", tmp_path / "снимок 1.png")
        done = osteon("predict", tmp_path, "--format", "json", "--draw", *with_models, folder=tmp_path)
        assert json.loads(done.out)["findings"][0]["source"].endswith("снимок 1.png")
        assert (tmp_path / "osteon-out" / "снимок 1.overlay.png").is_file()


class TestDraw:
    def test_overlay_for_each_picture_at_its_size(
        self, films: Path, with_models: list[str | Path], tmp_path: Path
    ) -> None:
        for language in ("en", "ru"):
            out = tmp_path / language
            done = osteon(
                "predict", films, "--draw", "--out", out, "--format", "json", "--language", language, *with_models
            )
            assert done.status == 0
            assert sorted(path.name for path in out.glob("*.png")) == sorted(
                Path(name).stem + ".overlay.png" for name in DECISIONS
            )
            overlay = cv2.imread(str(out / "fracture.overlay.png"))
            assert overlay.shape == (900, 700, 3)
            assert (overlay.max(axis=2).astype(int) - overlay.min(axis=2) > 60).any(), "nothing is drawn in colour"
        both = [cv2.imread(str(tmp_path / language / "fracture.overlay.png")) for language in ("en", "ru")]
        assert (both[0] != both[1]).any(), "both languages look alike"


class TestBones:
    def words(self, films: Path, with_models: list[str | Path], bones_file: Path) -> list[str | Path]:
        judge = bone_judges.write_judge(bones_file.with_name("judge.onnx"), bone_judges.joined())
        return ["predict", films, "--bones", "--bones-model", bones_file, "--judge-model", judge, *with_models]

    def test_json_tells_the_bones_and_on_which_the_fracture_lies(
        self, films: Path, with_models: list[str | Path], bones_file: Path, document: dict[str, Any]
    ) -> None:
        done = osteon_here(*self.words(films, with_models, bones_file), "--format", "json")
        assert (done.status, done.err) == (0, "")
        found, usual = _by_name(json.loads(done.out)), _by_name(document)
        assert [bone["label"] for bone in found["doubt.png"]["bones"]] == ["radius", "carpals"]
        assert found["photograph.jpg"]["bones"] == []
        fracture = found["fracture.png"]["fractures"][0]
        assert (fracture["bone"], fracture["text"]["en"]) == ("radius", "suspected fracture: radius")
        for name, one in usual.items():
            assert (found[name]["decision"], found[name]["bone"]) == (one["decision"], one["bone"])
        judged = found["fracture.png"]
        assert judged["damage"]["score"] == max(bone["damage"]["score"] for bone in judged["bones"])
        assert "damage" not in found["photograph.jpg"]
        assert 0 < found["healthy.tiff"]["damage"]["probability"] < judged["damage"]["probability"] < 1

    def test_table_csv_and_coco_tell_it_too(
        self, films: Path, with_models: list[str | Path], bones_file: Path, tmp_path: Path
    ) -> None:
        words = self.words(films, with_models, bones_file)
        done = osteon_here(*words, "--format", "csv", "--language", "ru")
        rows = {Path(row["source"]).name: row for row in csv.DictReader(io.StringIO(done.out))}
        assert (rows["fracture.png"]["bones"], rows["fracture.png"]["fractured_bones"]) == ("2", "лучевая кость")
        assert (rows["photograph.jpg"]["bones"], rows["healthy.tiff"]["fractured_bones"]) == ("", "")
        assert (
            0 < float(rows["fracture.png"]["bones_probability"]) < 1 and not rows["photograph.jpg"]["bones_probability"]
        )
        coco = json.loads(osteon_here(*words, "--format", "coco").out)
        assert {row["bone"] for row in coco} == {"radius"} and {row["category_id"] for row in coco} == {1}
        assert re.search(r"fracture\.png .*radius", osteon_here(*words).out)

    def test_overlays_show_them(
        self, films: Path, with_models: list[str | Path], bones_file: Path, tmp_path: Path
    ) -> None:
        pictures = []
        for words in ([], ["--bones", "--bones-model", bones_file]):
            out = tmp_path / str(len(words))
            osteon_here("predict", films / "doubt.png", "--draw", "--out", out, *words, *with_models)
            pictures.append(cv2.imread(str(out / "doubt.overlay.png")))
        assert (pictures[0] != pictures[1]).any()

    def test_a_missing_model_is_status_2_with_a_hint_before_any_work(
        self, films: Path, with_models: list[str | Path], tmp_path: Path
    ) -> None:
        words = ["--bones", "--bones-model", tmp_path / "absent.onnx", *with_models]
        done = osteon_here("predict", films, *words)
        assert (done.status, done.out) == (2, "")
        assert "absent.onnx" in done.err and "hint: " in done.err

    def test_a_bones_model_that_nobody_asked_for_is_wrong_use(self, films: Path, bones_file: Path) -> None:
        done = osteon_here("predict", films, "--bones-model", bones_file)
        assert done.status == 2 and "--bones" in done.err


class TestFailures:
    def test_broken_files_are_reported_and_the_others_analysed(
        self, films: Path, with_models: list[str | Path], tmp_path: Path
    ) -> None:
        whole = (films / "fracture.png").read_bytes()
        (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "empty.jpg").write_bytes(b"")
        (tmp_path / "letter.dcm").write_text("Dear colleague", encoding="utf-8")
        (tmp_path / "whole.png").write_bytes(whole)
        done = osteon("predict", tmp_path, tmp_path / "missing.png", "--format", "json", *with_models)
        assert done.status == 1
        document = json.loads(done.out)
        assert [Path(finding["source"]).name for finding in document["findings"]] == ["whole.png"]
        assert document["findings"][0]["decision"] == "fracture"
        assert {Path(error["source"]).name for error in document["errors"]} == {
            "cut.png",
            "empty.jpg",
            "letter.dcm",
            "missing.png",
        }
        for error in document["errors"]:
            assert error.keys() == {"source", "type", "message", "hint"}
            assert error["message"] and error["hint"]
            assert Path(error["source"]).name in done.err

    def test_all_broken_gives_an_empty_table_and_status_1(self, with_models: list[str | Path], tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        done = osteon("predict", tmp_path / "a.png", *with_models)
        assert done.status == 1
        assert done.out == ""

    @pytest.mark.parametrize(
        "words",
        [
            ["predict"],
            ["predict", "a.png", "--format", "xml"],
            ["predict", "a.png", "--min-score", "2"],
            ["predict", "a.png", "--no-such-option"],
            ["predicts", "a.png"],
            ["segment", "a.png"],
        ],
        ids=" ".join,
    )
    def test_wrong_use_is_status_2(self, words: list[str]) -> None:
        done = osteon(*words)
        assert done.status == 2
        assert done.out == ""
        assert "Usage" in done.err

    def test_a_model_that_is_none_is_status_2_with_a_hint(self, films: Path, tmp_path: Path) -> None:
        (tmp_path / "gate.onnx").write_bytes(b"no model")
        done = osteon("predict", films / "doubt.png", "--gate", tmp_path / "gate.onnx")
        assert done.status == 2
        assert "error: gate.onnx" in done.err and "hint: " in done.err

    def test_models_may_not_be_exchanged(self, films: Path, files: models.ModelFiles) -> None:
        done = osteon("predict", films / "doubt.png", "--gate", files.detector)
        assert done.status == 2
        assert "expected a gate" in done.err


class TestDetectorIsLazy:
    def test_photographs_alone_never_load_it(self, files: models.ModelFiles, films: Path, tmp_path: Path) -> None:
        for number in range(3):
            shutil.copy(films / "photograph.jpg", tmp_path / f"{number}.jpg")
        absent = tmp_path / "no-such-model.onnx"
        words = ["--format", "json", "--gate", files.gate, "--detector", absent]
        done = osteon("predict", tmp_path, *words)
        assert done.status == 0
        decisions = [finding["decision"] for finding in json.loads(done.out)["findings"]]
        assert decisions == ["not_a_radiograph"] * 3
        with_a_film = osteon("predict", films / "doubt.png", *words)
        assert with_a_film.status != 0, "the missing detector must matter where it is needed"
        assert "no-such-model.onnx" in with_a_film.err
