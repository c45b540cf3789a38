"""Checkpoints: everything a training needs to go on, and everything a reader needs to know how it was made."""

import os
import pickle
from dataclasses import dataclass, replace
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
        """Save, replacing the file in one step so that a crash, of the machine too, leaves the old one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        torch.save(self.__dict__, unfinished)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
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

    def mixed(self, other: "Checkpoint", share: float) -> "Checkpoint":
        """Both models' averaged weights, `share` of the other's (Wortsman et al. 2022, model soups).

        For checkpoints of one lineage, where the way between two weights is good all along. It has no metrics of its
        own, and cannot be gone on from.

        Raises:
            ModelMismatch: another task, architecture or split.
        """
        for name in ("task", "arch", "split_hash"):
            if getattr(self, name) != getattr(other, name):
                raise ModelMismatch(f"two checkpoints with another {name}", hint="mix checkpoints of one lineage")
        weights = {
            name: torch.lerp(value, other.weights[name], share) if value.dtype.is_floating_point else value
            for name, value in self.weights.items()
        }
        settings = {**other.settings, "mixed": {"share": share, "with": self.settings}}
        return replace(other, weights=weights, settings=settings, metrics={}, resume={})
