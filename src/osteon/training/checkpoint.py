"""Checkpoints: everything a training needs to go on, and everything a reader needs to know how it was made."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from osteon.errors import ModelMismatch

State = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of a training.

    Attributes:
        task: gate, detector or bones.
        arch: name of the architecture.
        weights: averaged weights (the ones to use).
        settings: every setting that was in force, by dataclass.
        split_hash: of the split it was trained and validated on.
        epoch: epochs done.
        metrics: of the validation part at that epoch.
        resume: optimiser, raw weights, random state; empty in a checkpoint that is only for use.
    """

    task: str
    arch: str
    weights: State
    settings: State
    split_hash: str
    epoch: int
    metrics: dict[str, float]
    resume: State

    def write(self, path: Path) -> None:
        """Save, replacing the file in one step so that a crash leaves the old one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        torch.save(self.__dict__, unfinished)
        os.replace(unfinished, path)  # noqa: PTH105

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """A checkpoint from its file; raises ModelMismatch where it is none."""
        try:
            return cls(**torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise ModelMismatch(
                f"{path} is no Osteon checkpoint", hint="give a best.pt or last.pt written by `osteon train`"
            ) from error
