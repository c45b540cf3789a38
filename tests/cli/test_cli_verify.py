"""`osteon models verify` through the installed script."""

import shutil
from pathlib import Path

import cv2
from terminal import osteon

import models


def test_verify_says_what_differs_by_its_exit_status(files: models.ModelFiles, tmp_path: Path) -> None:
    for file in (files.gate, files.detector):
        shutil.copy(file, tmp_path)
    assert cv2.imwrite(str(tmp_path / "known.png"), models.radiograph_pixels(450, 350))
    done = osteon("models", "verify", "--folder", tmp_path)
    assert done.status == 2 and "no file expected.json" in done.err

    done = osteon("models", "verify", "--folder", tmp_path, "--store")
    assert (done.status, done.out) == (0, "gate.onnx: as released\ndetector.onnx: as released\n"), done.err

    (tmp_path / "detector.onnx").write_bytes(b"no model")
    done = osteon("models", "verify", "--folder", tmp_path)
    assert done.status == 1
    assert done.out.startswith("gate.onnx: as released\ndetector.onnx: sha256 is ")
    assert "error: not all models are as released" in done.err and "hint: " in done.err
