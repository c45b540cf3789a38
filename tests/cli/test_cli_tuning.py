"""`osteon train detector --init`: from data to a checkpoint that can be exported, by the installed script."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from terminal import osteon

from osteon.datasets.synthetic import write_dataset
from osteon.inference.pipeline import DETECTOR_FILE

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed (extra train)")
BRIEF = ["--side-px", "64", "--canvas-px", "64", "--threads", "1", "--epochs", "1"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """New and old drawings."""
    folder = tmp_path_factory.mktemp("sets")
    for seed, name in enumerate(("new", "old")):
        write_dataset(folder / name, count=10, seed=seed, height_px=110, width_px=90)
    return folder / "new", folder / "old"


@needs_torch
def test_the_released_detector_is_trained_further(sets: tuple[Path, Path], tmp_path: Path) -> None:
    new, old = sets
    out = tmp_path / "run"
    words = ["train", "detector", "--init", "bundled", "--data", new, "--keep", old, *BRIEF, "--out", out]
    done = osteon(*words)
    assert done.status == 0, done.err
    assert done.out.strip() == str(out / "best.pt")
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    split = json.loads((out / "split.json").read_text("utf-8"))
    assert len(manifest["cases"]) == 20
    names = {name for part in split["parts"].values() for name in part}
    assert names <= {case["name"] for case in manifest["cases"]}
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text("utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert {"new", "kept", "kept_map50"} <= rows[0].keys()
    again = osteon(*words)
    assert again.status == 0, again.err
    assert json.loads((out / "split.json").read_text("utf-8")) == split


@needs_torch
def test_its_defaults_are_those_of_tuning(sets: tuple[Path, Path], tmp_path: Path) -> None:
    from osteon.training.checkpoint import Checkpoint
    from osteon.training.config import TUNING_LOOP

    out = tmp_path / "run"
    done = osteon("train", "detector", "--init", DETECTOR_FILE, "--data", sets[0], *BRIEF, "--ema", "0.5", "--out", out)
    assert done.status == 0, done.err
    assert "without --keep nothing tells" in done.err
    loop = Checkpoint.read(out / "last.pt").settings["loop"]
    assert (loop["epochs"], loop["ema"]) == (1, 0.5)
    assert loop["pretrained_rate"] == TUNING_LOOP.pretrained_rate
    assert loop["weight_decay"] == 0


def test_wrong_use_is_told(sets: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["train", "detector", "--data", sets[0], "--out", tmp_path / "run"]
    done = osteon(*words, "--keep", sets[1])
    assert (done.status, "--keep goes with --init" in done.err) == (2, True)
    done = osteon(*words, "--init", DETECTOR_FILE, "--weights", "imagenet")
    assert (done.status, "give one" in done.err) == (2, True)
    done = osteon(*words, "--fold", "fold1")
    assert (done.status, "--fold goes with --split" in done.err) == (2, True)
    done = osteon(*words, "--init", DETECTOR_FILE, "--fold", "fold1")
    assert (done.status, "from the start" in done.err) == (2, True)
