"""Memory of `osteon predict` does not grow with the number of pictures."""

import subprocess
import sys
from pathlib import Path

import cv2

import models

GROWTH_MIB = 30
"""Kept whole, 120 more pictures of this size would be 100 MiB and their bone maps 20."""
_TELL = """
import sys
from osteon.benchmark import peak_mib
from osteon.cli import main
try:
    main()
finally:
    sys.stderr.write(f" {peak_mib()}")
"""


def _peak_mib(folder: Path, files: models.ModelFiles) -> float:
    words = ["predict", folder, "--format", "json", "--out", folder / "out", "--gate", files.gate]
    words += ["--detector", files.detector]
    done = subprocess.run([sys.executable, "-c", _TELL, *map(str, words)], capture_output=True, text=True, check=True)
    return float(done.stderr.split()[-1])


def _films(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = models.radiograph_pixels(1000, 900, spot=150 + number % 100)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder


def test_is_flat(files: models.ModelFiles, tmp_path: Path) -> None:
    few = _peak_mib(_films(tmp_path / "few", 30), files)
    many = _peak_mib(_films(tmp_path / "many", 150), files)
    assert many - few < GROWTH_MIB, f"{few} MiB for 30 pictures, {many} for 150"
