"""Training of the gate: bone masks and pictures without bone in, a mask out, figures of both jobs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osteon.evaluation.gate import GateReading, reading, separation
from osteon.models.criteria import mask_loss
from osteon.training.augment import Motion, erase, random_affine, shade, warp
from osteon.training.config import GateSettings, LoopSettings
from osteon.training.loop import Seeded, by_start, device
from osteon.training.masks import Target

Batch = tuple[Tensor, Tensor]


def view(target: Target, rng: np.random.Generator, settings: GateSettings) -> tuple[NDArray[Any], NDArray[Any]]:
    """A random view: (side, side) float32 picture, and (side, side) float32 target, -1 where unknown."""
    height, width = target.picture.pixels.shape
    middle = (width / 2 + rng.uniform(-0.15, 0.15) * width, height / 2 + rng.uniform(-0.15, 0.15) * height)
    motion = Motion(settings.rotation_degrees, settings.scale_low, settings.scale_high, settings.quarter_turn)
    affine = random_affine(rng, motion, centre_xy=middle, canvas_px=settings.side_px)
    grey = shade(rng, warp(target.picture.pixels, affine, settings.side_px))
    if rng.random() < 0.05:
        grey = 1 - grey
    wanted = warp(target.bone, affine, settings.side_px).astype(np.float32) / 255
    unknown = warp(target.unknown, affine, settings.side_px) > 127
    wanted[unknown] = -1
    if rng.random() < 0.3:
        erase(rng, grey)
    return grey, wanted


class GateTask(Seeded):
    """Trains on radiographs with bone masks and a draw of pictures without bone; validates on whole pictures."""

    name = "gate"
    figure = "selection"

    def __init__(
        self,
        train: Sequence[Target],
        valid: Sequence[Target],
        *,
        settings: GateSettings,
        loop: LoopSettings,
        split_hash: str,
        pretrained: bool,
    ) -> None:
        self.arch, self.split_hash = settings.arch, split_hash
        self.gate, self.loop, self.valid, self.pretrained = settings, loop, valid, pretrained
        self.positive = [t for t in train if t.picture.case.radiograph or t.bone.any()]
        self.negative = [t for t in train if not (t.picture.case.radiograph or t.bone.any())]

    def settings(self) -> dict[str, Any]:
        """The gate's settings and how many pictures of each kind it saw."""
        counts = {"positive": len(self.positive), "negative": len(self.negative), "valid": len(self.valid)}
        return {"gate": asdict(self.gate), "pictures": counts}

    def _drawn(self) -> int:
        return min(len(self.negative), round(len(self.positive) * self.gate.negative_share))

    def steps(self) -> int:
        """Batches in an epoch: every picture with bone once, and the draw of those without."""
        return max(1, (len(self.positive) + self._drawn()) // self.loop.batch)

    def batch(self, epoch: int, step: int) -> Batch:
        """(b, 1, side, side) pictures and targets."""
        rng = np.random.default_rng((self.loop.seed, epoch))
        chosen = [self.negative[i] for i in rng.choice(len(self.negative), self._drawn(), replace=False)]
        mixed = [*self.positive, *chosen]
        order = rng.permutation(len(mixed))[step * self.loop.batch : (step + 1) * self.loop.batch]
        views = [view(mixed[i], np.random.default_rng((self.loop.seed, epoch, step, int(i))), self.gate) for i in order]
        pictures = torch.from_numpy(np.stack([v[0] for v in views]))[:, None]
        return pictures, torch.from_numpy(np.stack([v[1] for v in views]))[:, None]

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and Dice of the mask."""
        logits = model(batch[0].contiguous(memory_format=torch.channels_last))
        return {"mask": mask_loss(logits.float(), batch[1])}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Mean Dice and IoU, how well the decision separates, and `selection`: Dice plus separation."""
        readings = read_gate(model, self.valid)
        dice = [r.dice for r in readings if r.dice is not None]
        iou = [r.iou for r in readings if r.iou is not None]
        figures = {"dice": float(np.mean(dice)), "iou": float(np.mean(iou)), "turned_away": separation(readings)}
        figures["selection"] = figures["dice"] + 0.25 * figures["turned_away"]
        return {name: round(value, 4) for name, value in figures.items()}

    def groups(self, model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Pre-trained: the encoder, where it starts from other weights."""
        return by_start(model, (lambda name: not name.startswith("encoder")) if self.pretrained else None)


@torch.inference_mode()
def read_gate(model: nn.Module, targets: Sequence[Target], *, batch: int = 8) -> list[GateReading]:
    """The gate's answers on whole pictures."""
    model.eval()
    where = device()
    readings = []
    for start in range(0, len(targets), batch):
        chosen = targets[start : start + batch]
        pixels = torch.from_numpy(np.stack([t.picture.square() for t in chosen]))[:, None].to(where)
        logits = model(pixels.contiguous(memory_format=torch.channels_last))
        for target, square in zip(chosen, logits.float().sigmoid()[:, 0].cpu().numpy(), strict=True):
            readings.append(reading(target.picture.case, square, target.picture.placement))
    return readings
