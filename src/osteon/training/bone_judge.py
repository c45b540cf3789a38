"""Training of the bone judge: crops of single bones in, "this one is broken" out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osteon.datasets.crop_store import Crops
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError, InvalidDataset
from osteon.evaluation.bone_judge import bone_figures
from osteon.evaluation.judge import Progress
from osteon.models.bone_judge import judge_loss
from osteon.models.csp import calibrate
from osteon.training.architectures import build, start
from osteon.training.augment import Motion, random_affine, shade, warp
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import BoneJudgeSettings, LoopSettings
from osteon.training.loop import Seeded, Training, by_start, device
from osteon.training.runs import CALIBRATION_BATCHES, Run

TASK = "bone-judge"


class Batch(NamedTuple):
    """(b, 2, h, w) crops, (b,) 1 where the bone is broken, (b, 1, h, w) 1 where a fracture is drawn."""

    crops: Tensor
    damaged: Tensor
    fracture: Tensor


def view(crops: Crops, index: int, rng: np.random.Generator, settings: BoneJudgeSettings) -> NDArray[np.float32]:
    """A random view of a crop: (3, side, side / 2) grey in [0, 1], mask and drawn fracture 0 or 1."""
    height, width = crops.framing.shape
    motion = Motion(settings.rotation_degrees, settings.scale_low, settings.scale_high)
    affine = random_affine(rng, motion, centre_xy=(width / 2, height / 2), canvas_px=height)
    left = (height - width) // 2

    def moved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(warp(image, affine, height)[:, left : left + width])

    grey, mask = crops.crop(index)
    flat = [(moved(image) > 127).astype(np.float32) for image in (mask, crops.fracture(index))]
    return np.stack([shade(rng, moved(grey)), *flat])


class BoneJudgeTask(Seeded):
    """Trains on broken bones and a fresh draw of whole ones each epoch; validates on all bones that are known."""

    name = TASK
    figure = "auroc_bone"

    def __init__(
        self,
        crops: Crops,
        parts: tuple[Sequence[int], Sequence[int]],
        *,
        settings: BoneJudgeSettings,
        loop: LoopSettings,
        split_hash: str,
        pretrained: bool,
    ) -> None:
        """`parts`: indices of the crops to train on, and to validate on."""
        self.arch, self.split_hash = settings.arch, split_hash
        self.crops, self.judge, self.loop, self.pretrained = crops, settings, loop, pretrained
        broken = {"damaged", "shared"} if settings.shared else {"damaged"}
        self.broken = [i for i in parts[0] if crops.rows[i].damage in broken]
        self.intact = [i for i in parts[0] if crops.rows[i].damage == "intact"]
        self.valid = [i for i in parts[1] if crops.rows[i].damage in ("damaged", "intact")]
        self._alike = self._chances()

    def _chances(self) -> NDArray[np.float64]:
        """(intact,) how likely each whole bone is drawn so that labels come as often as among the broken ones."""
        labels = [self.crops.rows[i].label for i in self.intact]
        wanted, there = Counter(self.crops.rows[i].label for i in self.broken), Counter(labels)
        chances = np.array([wanted[label] / there[label] for label in labels], np.float64)
        return np.asarray((chances + 1e-6) / (chances + 1e-6).sum())

    def settings(self) -> dict[str, Any]:
        """The judge's settings and how many bones of each kind it saw."""
        counts = {"broken": len(self.broken), "intact": len(self.intact), "valid": len(self.valid)}
        return {self.name: asdict(self.judge), "bones": counts}

    def _drawn(self) -> int:
        return min(len(self.intact), max(1, round(len(self.broken) * self.judge.intact)))

    def steps(self) -> int:
        """Batches in an epoch, the last incomplete one left out."""
        return max(1, (len(self.broken) + self._drawn()) // self.loop.batch)

    def order(self, epoch: int) -> list[int]:
        """The crops of an epoch."""
        rng = np.random.default_rng((self.loop.seed, epoch))
        alike = rng.choice(len(self.intact), round(self._drawn() * self.judge.alike), replace=False, p=self._alike)
        others = np.setdiff1d(np.arange(len(self.intact)), alike)
        evenly = rng.choice(others, self._drawn() - len(alike), replace=False)
        mixed = [*self.broken, *(self.intact[i] for i in (*alike, *evenly))]
        return [mixed[i] for i in rng.permutation(len(mixed))]

    def batch(self, epoch: int, step: int) -> Batch:
        """A batch of random views, the same for the same seed."""
        chosen = self.order(epoch)[step * self.loop.batch : (step + 1) * self.loop.batch]
        views = np.stack(
            [
                view(self.crops, index, np.random.default_rng((self.loop.seed, epoch, step, place)), self.judge)
                for place, index in enumerate(chosen)
            ]
        )
        damaged = np.array([self.crops.rows[index].damage != "intact" for index in chosen], np.float32)
        pixels = torch.from_numpy(views)
        return Batch(pixels[:, :2], torch.from_numpy(damaged), pixels[:, 2:])

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the bone and of the places."""
        found = model(batch.crops.contiguous(memory_format=torch.channels_last))
        return judge_loss(found, batch.damaged, batch.fracture, place_weight=self.judge.place_weight)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """AUROC by bone, and how many of each kind there are."""
        scores = judged(model, self.crops, self.valid).tolist()
        return bone_figures([self.crops.rows[i] for i in self.valid], scores)

    def groups(self, model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Pre-trained: the encoder, where it starts from other weights."""
        return by_start(model, (lambda name: not name.startswith("encoder")) if self.pretrained else None)


@torch.inference_mode()
def judged(model: nn.Module, crops: Crops, indices: Sequence[int], *, batch: int = 16) -> NDArray[np.float64]:
    """(n,) probability that each bone is broken."""
    model.eval()
    where = device()
    found = [np.zeros(0)]
    for first in range(0, len(indices), batch):
        pixels = np.stack([crops.crop(i) for i in indices[first : first + batch]]) / np.float32(255)
        with torch.autocast(where.type, dtype=torch.bfloat16):
            logits = model(torch.from_numpy(pixels).to(where, memory_format=torch.channels_last)).logits
        found.append(logits.double().sigmoid().cpu().numpy())
    return np.concatenate(found)


def train_bone_judge(
    crops: Crops,
    split: Split,
    run: Run,
    *,
    settings: BoneJudgeSettings,
    loop: LoopSettings,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a judge on the bones of the `train` part and validate on those of `valid`; the best checkpoint.

    Raises:
        ConfigurationError: the crops have another size than the settings.
        InvalidDataset: the training part has no broken, or no whole bone.
    """
    if crops.framing.side_px != settings.side_px:
        raise ConfigurationError(
            f"crops of {crops.framing.side_px} px, settings of {settings.side_px}", hint="cut the bones again"
        )
    torch.manual_seed(loop.seed)
    model = build(TASK, settings.arch)
    pretrained = start(model, run.weights)
    task = BoneJudgeTask(
        crops,
        (crops.of(split.parts["train"]), crops.of(split.parts["valid"])),
        settings=settings,
        loop=loop,
        split_hash=split.hash,
        pretrained=pretrained,
    )
    if not (task.broken and task.intact):
        raise InvalidDataset(
            f"the training part has {len(task.broken)} broken and {len(task.intact)} whole bones",
            hint="give fractured and normal films with their bones",
        )
    if pretrained:
        calibrate(model, [task.batch(0, step % task.steps()).crops for step in range(CALIBRATION_BATCHES)])
    cv2.setNumThreads(1)  # crops are changed beside the model; OpenCV's own threads only get in its way
    training = Training(model, task, loop, run.folder)
    training.resume()
    return training.run(progress, until=run.until)
