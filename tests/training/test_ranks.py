"""Two processes train one model: the same weights in both, and what one process would learn from their batches."""

import json
import subprocess
import sys
from pathlib import Path

import drawn
import pytest
import torch

from osteon.errors import ConfigurationError
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import LoopSettings
from osteon.training.detector import DetectorTask
from osteon.training.loop import Training
from osteon.training.pictures import load

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit

ONE_OF_TWO = """
import sys
from pathlib import Path
sys.path[:0] = {paths}
import torch
import drawn
from osteon.training import ranks, runs
from osteon.training.loop import Training

torch.set_num_threads(1)
folder = Path({folder!r})
with runs.joined():
    assert ranks.count() == 2
    manifest, split = drawn.films(folder / "films", train=16)
    kept = {{}}
    stepped = Training._step

    def step(self, batch, number):
        done = stepped(self, batch, number)
        kept.setdefault("gradients", [p.grad.clone() for p in self.model.parameters()])
        kept["training"] = self
        return done

    Training._step = step
    runs.train_detector(manifest, split, runs.Run(folder / "run"), settings=drawn.DETECTOR, loop=drawn.LOOP)
    training = kept["training"]
    state = {{
        "model": training.model.state_dict(), "average": training.average.model.state_dict(),
        "gradients": kept["gradients"], "task": training.task.state(), "steps": training.steps,
    }}
    torch.save(state, folder / f"rank{{ranks.index()}}.pt")
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what each of two processes held in the end."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "films").mkdir()
    drawn.films(folder / "films", train=16)  # written once, so that the two only overwrite them with the same
    script = folder / "one.py"
    tests = Path(__file__).parent
    script.write_text(ONE_OF_TWO.format(paths=[str(tests), str(tests.parent)], folder=str(folder)))
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"]
    done = subprocess.run(
        [sys.executable, *words, "--rdzv-endpoint", "127.0.0.1:0", str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def held(folder: Path, rank: int) -> dict[str, object]:
    return torch.load(folder / f"rank{rank}.pt", weights_only=False)


def test_both_hold_the_same_weights_statistics_and_memory(both: Path) -> None:
    first, second = held(both, 0), held(both, 1)
    for part in ("model", "average"):
        for name, value in first[part].items():  # type: ignore[attr-defined]
            assert torch.equal(value, second[part][name]), f"{part} {name}"  # type: ignore[index]
    for mine, theirs in zip(first["gradients"], second["gradients"], strict=True):  # type: ignore[call-overload]
        assert torch.equal(mine, theirs)
    hardness = first["task"]["hardness"]  # type: ignore[index]
    assert torch.equal(hardness, second["task"]["hardness"])  # type: ignore[index]
    assert (hardness < 1).any()  # and neither shows all normal films itself


def test_the_gradients_are_the_mean_of_what_the_two_batches_give(both: Path) -> None:
    (both / "again").mkdir(exist_ok=True)
    manifest, split = drawn.films(both / "again", train=16)
    train = load([c for c in split.select(manifest, "train") if c.radiograph], side_px=96)[0]
    gradients = []
    for step in range(2):
        torch.manual_seed(drawn.LOOP.seed)
        from osteon.training.architectures import build

        model = build("detector", "nanocsp")
        task = DetectorTask(train, [], settings=drawn.DETECTOR, loop=drawn.LOOP, split_hash="", pretrained=False)
        training = Training(model, task, drawn.LOOP, both / "none")
        training.model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts = task.loss(training.model, task.batch(0, step))
        torch.stack(list(parts.values())).sum().backward()
        gradients.append([p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()])
    clipped = held(both, 0)["gradients"]
    mean = [(a + b) / 2 for a, b in zip(*gradients, strict=True)]
    norm = torch.stack([g.norm() for g in mean]).norm()
    share = min(1.0, drawn.LOOP.clip_norm / float(norm))
    for found, expected in zip(clipped, mean, strict=True):  # type: ignore[call-overload]
        torch.testing.assert_close(found, expected * share, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(gradients[0][0], gradients[1][0])


def test_the_first_writes_one_history_and_one_checkpoint(both: Path) -> None:
    rows = [json.loads(line) for line in (both / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    last = Checkpoint.read(both / "run" / "last.pt")
    first = held(both, 0)
    assert all(torch.equal(value, first["average"][name]) for name, value in last.weights.items())  # type: ignore[index]
    assert first["steps"] == 2  # of 4 batches an epoch, each process showed two
    assert {file.name for file in (both / "run").iterdir()} == {"best.pt", "last.pt", "history.jsonl"}


def test_processes_that_read_other_pictures_are_refused_before_one_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osteon.training import ranks

    task = DetectorTask([], [], settings=drawn.DETECTOR, loop=LoopSettings(), split_hash="", pretrained=False)
    monkeypatch.setattr(ranks, "gathered", lambda value: [value, value + 1])
    with pytest.raises(ConfigurationError, match="1 and 2 batches in the 2 processes"):
        Training(torch.nn.Conv2d(1, 1, 1), task, LoopSettings(), tmp_path)


def test_more_processes_than_batches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from osteon.training import ranks

    task = DetectorTask([], [], settings=drawn.DETECTOR, loop=LoopSettings(), split_hash="", pretrained=False)
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(ConfigurationError, match="fewer than the 2 processes"):
        Training(torch.nn.Conv2d(1, 1, 1), task, LoopSettings(), tmp_path)
