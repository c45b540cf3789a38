"""`osteon segment` and `osteon models`, through the installed script."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from terminal import osteon

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
