"""A training that is killed at any moment and started again ends as one that never was."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import drawn
import pytest
import torch

from osteon.training.checkpoint import Checkpoint
from osteon.training.runs import Run, train_detector

MOMENTS = (
    "in the middle of the second epoch",
    "before its row is written",
    "after its row is written",
    "while its best checkpoint is half written",
    "between its best and its last checkpoint",
    "while its last checkpoint is half written",
)
EPOCHS = 3

VICTIM = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = {paths}
import torch
import drawn
from osteon.training.checkpoint import Checkpoint
from osteon.training.loop import Training
from osteon.training.runs import Run, train_detector

torch.set_num_threads(1)
moment = sys.argv[1]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def progress(what, done, of):
    if moment == "in the middle of the second epoch" and what.startswith("epoch 2/") and done == 1:
        die()

recorded, saved, written, replaced = Training._record, torch.save, Checkpoint.write, os.replace

def record(self, row):
    if row["epoch"] == 2 and moment == "before its row is written":
        die()
    recorded(self, row)
    if row["epoch"] == 2 and moment == "after its row is written":
        die()

def save(value, path, *rest):
    saved(value, path, *rest)
    for name in ("best", "last"):
        if value["epoch"] == 2 and path.stem == name and moment == f"while its {{name}} checkpoint is half written":
            os.truncate(path, path.stat().st_size // 2)
            die()

def write(self, path):
    written(self, path)
    if self.epoch == 2 and path.stem == "best" and moment == "between its best and its last checkpoint":
        die()

Training._record, torch.save, Checkpoint.write = record, save, write
manifest, split = drawn.films(Path({films!r}))
loop = replace(drawn.LOOP, epochs={epochs}, evaluate_every=2)
train_detector(manifest, split, Run(Path(sys.argv[2])), settings=drawn.DETECTOR, loop=loop, progress=progress)
"""


def history(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_killed_at_any_moment_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Every moment in turn, in one folder: each new start is killed too, until the last runs through."""
    tests = Path(__file__).parent
    (tmp_path / "films").mkdir()
    paths = [str(tests), str(tests.parent)]
    script = VICTIM.format(paths=paths, films=str(tmp_path / "films"), epochs=EPOCHS)
    (tmp_path / "victim.py").write_text(script)
    alone, killed = tmp_path / "alone", tmp_path / "killed"

    def run(moment: str, folder: Path) -> int:
        words = [sys.executable, str(tmp_path / "victim.py"), moment, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
        return done.returncode

    assert run("never", alone) == 0
    for moment in MOMENTS:
        assert run(moment, killed) == -signal.SIGKILL, moment
        assert Checkpoint.read(killed / "last.pt").epoch == 1, moment
    assert run("never", killed) == 0

    whole, parts = (Checkpoint.read(folder / "last.pt") for folder in (alone, killed))
    assert whole.epoch == parts.epoch == EPOCHS
    _same(whole.weights, parts.weights)
    _same(whole.resume, parts.resume)
    best = [Checkpoint.read(folder / "best.pt") for folder in (alone, killed)]
    assert (best[0].epoch, best[0].metrics) == (best[1].epoch, best[1].metrics)
    _same(best[0].weights, best[1].weights)
    assert history(alone) == history(killed)
    assert [row["epoch"] for row in history(killed)] == [1, 2, 3]
    assert not list(killed.glob("*.part"))


def _same(mine: Any, theirs: Any) -> None:
    """Equal to the last bit, however deep."""
    if isinstance(mine, torch.Tensor):
        assert torch.equal(mine, theirs)
    elif isinstance(mine, dict):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            _same(value, theirs[name])
    elif isinstance(mine, list | tuple):
        for first, second in zip(mine, theirs, strict=True):
            _same(first, second)
    else:
        assert mine == theirs


def test_a_run_that_ends_early_goes_on_in_the_same_schedule(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    films = drawn.films(tmp_path)
    settings: dict[str, Any] = {"settings": drawn.DETECTOR, "loop": drawn.LOOP}
    best = train_detector(*films, Run(tmp_path / "parts", until=1), **settings)
    assert best.epoch == 1
    assert Checkpoint.read(tmp_path / "parts" / "last.pt").epoch == 1
    train_detector(*films, Run(tmp_path / "parts"), **settings)
    train_detector(*films, Run(tmp_path / "whole"), **settings)
    _same(*(Checkpoint.read(tmp_path / name / "last.pt").resume for name in ("parts", "whole")))


@pytest.mark.parametrize("torn", ['{"epoch": 1, "loss": 2.0}\n{"epo', '{"epoch": 2}\n{"epoch": 1}\n'])
def test_a_history_of_before_is_mended(torn: str, tmp_path: Path) -> None:
    from osteon.training.loop import _rows

    (tmp_path / "history.jsonl").write_text(torn)
    assert {row["epoch"] for row in _rows(tmp_path / "history.jsonl")} <= {1, 2}
    assert _rows(tmp_path / "none.jsonl") == []
