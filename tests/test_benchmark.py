"""The benchmark's arithmetic, its report, and the baseline's networks."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import builders
import models
from osteon.benchmark import Report, Spread, Timed, benchmark
from osteon.cli.bench import markdown
from osteon.errors import OsteonError
from osteon.samples import PHOTOGRAPH


def _timed(pipeline: str, threads: int, ms: float) -> Timed:
    return Timed(pipeline, threads, "a.dcm", {"stages": Spread(ms, ms, ms)})


def _report(**changes: object) -> Report:
    values = {
        "machine": {"cores": "2"},
        "timed": (_timed("osteon", 1, 50.0), _timed("osteon", 2, 30.0), _timed("baseline", 1, 2000.0)),
        "peak_mib": {"osteon, 1 thread": 200.0, "osteon, 2 threads": 200.0, "baseline, 1 thread": 900.0},
        "rejection": {
            "image": "cat.jpg",
            "decision": "not_a_radiograph",
            "ms": {"median": 5.0, "p10": 4.0, "p90": 6.0},
            "peak_mib": 90.0,
            "detector_loaded": False,
        },
        "startup": {"image": "a.dcm", "seconds": {"median": 0.5, "p10": 0.4, "p90": 0.6}, "peak_mib": 210.0},
    }
    return Report(**values | changes)  # type: ignore[arg-type]


def test_ratios_compare_only_what_both_did() -> None:
    assert _report().ratios() == {"stages, a.dcm, 1 thread": 40.0, "peak memory, 1 thread": 4.5}


def test_spread_of_many() -> None:
    assert Spread.of([float(value) for value in range(101)]) == Spread(50.0, 10.0, 90.0)


def test_markdown_says_what_was_measured_and_what_not() -> None:
    text = markdown(_report(skipped="torch not installed: pip install 'osteon[train]'"))
    assert "The baseline was skipped: torch not installed: pip install 'osteon[train]'." in text
    assert "| osteon   | 1       | a.dcm |" in text
    assert "40.0 times" in text
    assert "the detector was not loaded" in text
    assert "the detector was loaded" in markdown(_report(rejection=_report().rejection | {"detector_loaded": True}))


def test_peak_memory_is_of_this_process() -> None:
    """In a process of its own: in this one some other test may have set the peak."""
    program = """
import numpy as np
from osteon.benchmark import peak_mib
before = peak_mib()
block = np.ones(80 * 2**20, np.uint8)
print(before, peak_mib(), block.sum())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after, _ = map(float, run.stdout.split())
    assert 20 < before < after - 70 < 20_000


def test_single_bones_are_measured_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from osteon import benchmark as measuring

    files, bones = models.model_files(tmp_path), models.bones_file(tmp_path)
    film = tmp_path / "film.png"
    film.write_bytes(builders.raster(models.radiograph_pixels(90, 70), "PNG"))
    task = {"pipeline": "osteon", "paths": [str(film)], "repeat": 2, "threads": 1, "bones": str(bones)}
    answer = measuring._measure_osteon({**task, "models": [str(files.gate), str(files.detector)]})
    (row,) = answer["images"]
    assert row["ms"].keys() >= {"gate", "detect", "bones", "judge", "total"}
    assert len(row["ms"]["bones"]) == 2
    text = markdown(_report(bones=(measuring._timed("bones", 1, row),)))
    assert "## Single bones, milliseconds" in text and "film.png" in text and "each judged" in text
    assert "Single bones" not in markdown(_report())


def test_a_failed_measurement_says_why(tmp_path: Path) -> None:
    files = models.model_files(tmp_path)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(OsteonError, match="measuring osteon failed") as caught:
        benchmark([broken], PHOTOGRAPH, repeat=4, models=(files.gate, files.detector), baseline=False)
    assert "InvalidImage" in caught.value.hint or "OsteonError" in caught.value.hint


class TestBaseline:
    def test_segnet_has_the_published_size(self) -> None:
        torch = pytest.importorskip("torch", reason="torch is not installed (extra train)")
        from osteon.models.baseline import FullSegNet

        network = FullSegNet().eval()
        with torch.inference_mode():
            assert network(torch.rand(1, 3, 64, 96)).shape == (1, 1, 64, 96)
        assert sum(p.numel() for p in network.parameters()) == pytest.approx(29.4e6, rel=0.01)

    @pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed (extra train)")
    def test_ssd_takes_640_and_leaves_few_boxes(self) -> None:
        from osteon.models.baseline import LIKELY_BOXES, Baseline

        baseline = Baseline(threads=1)
        grey = models.radiograph_pixels(450, 350)
        assert baseline.segment(grey).shape == (1, 1, 224, 224)
        boxes = baseline.detect(grey)
        assert boxes.shape[1] == 4
        assert len(boxes) <= 5 * LIKELY_BOXES
