"""Training of single bones: films with an outline for each bone in, instances out, figures of the validation part."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osteon.datasets.case import Case
from osteon.evaluation.bone_recording import against_truth
from osteon.evaluation.instance_figures import Table, judge
from osteon.evaluation.instances import Outlined
from osteon.findings import Bone
from osteon.inference.bones import Cuts, Said, bones
from osteon.models.bone_criteria import BoneTargets
from osteon.models.instances import Instances
from osteon.training.bone_views import BoneView, class_names, class_of, view
from osteon.training.config import BonesSettings, LoopSettings
from osteon.training.loop import Seeded, by_start, device
from osteon.training.pictures import Picture

LEAST_SCORE = 0.05
SHOWN = Cuts(0.3, 0.3)
"""Cuts of the figures that need one, while none is chosen."""
FRESH = ("class_heads", "name_heads", "fine_", "semantic_head", "mask_head", "metal_head", "rpn", "roi_heads", "fpn")


class Batch(NamedTuple):
    """Pictures (b, 1, canvas, canvas) and their truth."""

    pixels: Tensor
    targets: BoneTargets


def repeat_factors(cases: Sequence[Case], names: tuple[str, ...], repeat: float) -> NDArray[np.float64]:
    """How often each picture is shown in an epoch, by its rarest class (Gupta et al. 2019, repeat factor sampling)."""
    present = [{class_of(i.label, names) for i in case.instances or () if not i.ignore} - {None} for case in cases]
    counts = Counter(label for labels in present for label in labels)
    factor = {label: max(1.0, (repeat * len(cases) / count) ** 0.5) for label, count in counts.items()}
    return np.array([max((factor[label] for label in labels), default=1.0) for labels in present])


def drawn_share(cases: Sequence[Case], share: float, *, seed: int) -> list[Case]:
    """A share of the cases, drawn by the seed and given in their order; a smaller share is part of a larger one."""
    order = np.random.default_rng((seed, len(cases))).permutation(len(cases))
    return [cases[i] for i in sorted(order[: max(1, round(share * len(cases)))])]


class BonesTask(Seeded):
    """Trains on outlined films, those with rare bones more often; validates on whole pictures."""

    name = "bones"
    figure = "ap50"

    def __init__(
        self,
        train: Sequence[Picture],
        valid: Sequence[Picture],
        *,
        settings: BonesSettings,
        loop: LoopSettings,
        split_hash: str,
        pretrained: bool,
    ) -> None:
        self.arch, self.split_hash, self.pretrained = settings.arch, split_hash, pretrained
        self.bones, self.loop, self.train, self.valid = settings, loop, train, valid
        self.names = class_names(settings.classes)
        self._factors = repeat_factors([p.case for p in train], self.names, settings.repeat)

    def settings(self) -> dict[str, Any]:
        """The settings, how many pictures, and how many objects of each class were there to learn."""
        labels = [class_of(i.label, self.names) for p in self.train for i in p.case.instances or () if not i.ignore]
        counts = Counter(self.names[label] for label in labels if label is not None)
        pictures = {"train": len(self.train), "valid": len(self.valid)}
        return {"bones": asdict(self.bones), "pictures": pictures, "objects": dict(sorted(counts.items()))}

    def steps(self) -> int:
        """Batches in an epoch, the last incomplete one left out."""
        return max(1, int(self._factors.sum()) // self.loop.batch)

    def batch(self, epoch: int, step: int) -> Batch:
        """A batch of random views, the same for the same seed."""
        size = self.loop.batch
        gentle = epoch >= self.loop.epochs - self.bones.settle_epochs
        chosen = self._order(epoch)[step * size : (step + 1) * size]
        views = [
            view(
                self.train[i],
                self.names,
                np.random.default_rng((self.loop.seed, epoch, step, position)),
                self.bones,
                gentle=gentle,
            )
            for position, i in enumerate(chosen)
        ]
        return collated(views)

    def _order(self, epoch: int) -> list[int]:
        """Indices of an epoch's pictures; the fraction of a repeat factor is drawn anew each epoch."""
        rng = np.random.default_rng((self.loop.seed, epoch))
        times = np.floor(self._factors + rng.random(len(self._factors))).astype(int)
        order = [int(i) for i in rng.permutation(np.repeat(np.arange(len(times)), times))]
        missing = self.steps() * self.loop.batch - len(order)
        return order + [int(i) for i in rng.integers(0, len(times), max(0, missing))]

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named parts of the architecture's criterion."""
        pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
        losses: dict[str, Tensor] = model.losses(pixels, batch.targets)  # type: ignore[operator]
        return losses

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures of the validation pictures, anatomy-blind; see `evaluation.instance_figures`."""
        found = find_bones(model, self.valid, self.names)
        pictures = [outlined(p, its) for p, its in zip(self.valid, found, strict=True)]
        judged = [judge(picture, self.names, SHOWN) for picture in pictures]
        figures = Table.of(judged).figures(np.ones(len(judged), np.int64))
        return {name: round(float(value), 4) for name, value in figures.items() if np.isfinite(value)}

    def groups(self, model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Pre-trained: all but the architecture's fresh layers, where the model starts from other weights."""
        return by_start(model, (lambda name: name.startswith(FRESH)) if self.pretrained else None)


def collated(views: Sequence[BoneView]) -> Batch:
    """Views of one size as a batch."""
    pixels = torch.from_numpy(np.stack([v.pixels for v in views]))[:, None]
    targets = BoneTargets(
        [torch.from_numpy(v.boxes_xyxy) for v in views],
        [torch.from_numpy(v.labels) for v in views],
        [torch.from_numpy(v.masks) for v in views],
        torch.from_numpy(np.stack([v.ignored for v in views])),
        [torch.from_numpy(v.regions_xyxy) for v in views],
        [torch.from_numpy(v.regions_of) for v in views],
    )
    return Batch(pixels, targets)


def outlined(picture: Picture, found: Sequence[Bone]) -> Outlined:
    """A picture's bones, found and drawn."""
    placement = picture.placement
    return against_truth(picture.case, found, height_px=placement.height_px, width_px=placement.width_px)


@torch.inference_mode()
def find_bones(
    model: nn.Module, pictures: Sequence[Picture], names: tuple[str, ...], *, min_score: float = LEAST_SCORE
) -> list[tuple[Bone, ...]]:
    """The model's bones on whole pictures, in image pixels."""
    model.eval()
    where = device()
    found = []
    for picture in pictures:
        pixels = torch.from_numpy(picture.square())[None, None].to(where)
        with torch.autocast(where.type, dtype=torch.bfloat16):
            said: Instances = model.instances(pixels.contiguous(memory_format=torch.channels_last))[0]  # type: ignore[operator]
        arrays: list[Any] = [None if value is None else value.float().cpu().numpy() for value in said]
        found.append(bones(Said(*arrays), picture.placement, names=names, min_score=min_score))
    return found
