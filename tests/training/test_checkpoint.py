"""Checkpoints are written whole or not at all, and read or refused."""

import dataclasses
from pathlib import Path

import pytest
import torch

from osteon.errors import ModelMismatch
from osteon.training.checkpoint import Checkpoint


def checkpoint(epoch: int = 3) -> Checkpoint:
    settings = {"loop": {"epochs": 5, "batch": 4}}
    return Checkpoint("gate", "segnet", {"w": torch.arange(4.0)}, settings, "abc", epoch, {"dice": 0.9}, {})


def test_a_checkpoint_reads_back(tmp_path: Path) -> None:
    checkpoint().write(tmp_path / "deep" / "best.pt")
    read = Checkpoint.read(tmp_path / "deep" / "best.pt")
    assert torch.equal(read.weights["w"], torch.arange(4.0))
    assert read.settings == {"loop": {"epochs": 5, "batch": 4}}
    assert (read.split_hash, read.epoch, read.metrics) == ("abc", 3, {"dice": 0.9})


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    checkpoint(1).write(path)

    def crash(_value: object, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        checkpoint(2).write(path)
    assert Checkpoint.read(path).epoch == 1


def test_writing_leaves_nothing_beside(tmp_path: Path) -> None:
    checkpoint().write(tmp_path / "last.pt")
    checkpoint().write(tmp_path / "last.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off", b"\x80\x02}q\x00."])
def test_garbage_is_a_model_mismatch(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(ModelMismatch) as caught:
        Checkpoint.read(tmp_path / "best.pt")
    assert caught.value.hint


def test_a_truncated_missing_or_other_file_is_a_model_mismatch(tmp_path: Path) -> None:
    checkpoint().write(tmp_path / "best.pt")
    content = (tmp_path / "best.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    torch.save({"w": torch.zeros(2)}, tmp_path / "state.pt")
    for name in ("cut", "list", "other", "state", "none"):
        with pytest.raises(ModelMismatch):
            Checkpoint.read(tmp_path / f"{name}.pt")


def test_mixed_weights_lie_between_two_checkpoints_of_one_lineage() -> None:
    first, second = (
        Checkpoint("gate", "unet", {"w": torch.full((2,), value), "n": torch.tensor(3)}, {}, "split", 1, {}, {"a": 1})
        for value in (0.0, 1.0)
    )
    mixed = first.mixed(second, 0.75)
    assert mixed.weights["w"].tolist() == [0.75, 0.75]
    assert mixed.weights["n"] == 3
    assert mixed.resume == {}
    with pytest.raises(ModelMismatch):
        first.mixed(dataclasses.replace(second, split_hash="another"), 0.5)
