"""The training loop: one for every model. Averaged weights, bfloat16, cosine rate, resume, one process or several."""

import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from osteon.errors import ConfigurationError, ModelMismatch
from osteon.evaluation.judge import Progress
from osteon.training import ranks
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import LoopSettings

Batch = TypeVar("Batch")
LOADERS = 2
CUDA_LOADERS = 8


class Task(Protocol[Batch]):
    """What the loop needs to know of a model's work: batches, loss, figures."""

    name: str
    arch: str
    split_hash: str
    figure: str
    """The metric by which the best epoch is kept."""

    def settings(self) -> dict[str, Any]:
        """Everything that decides the outcome, as JSON."""

    def steps(self) -> int:
        """Batches in an epoch."""

    def batch(self, epoch: int, step: int) -> Batch:
        """The batch of a step, the same for the same seed; called from another thread."""

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named parts; their sum is minimised. Runs under autocast, with the batch on the model's device."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures of the validation part."""

    def state(self) -> dict[str, Any]:
        """What the task has learned of its data on the way, for a training that goes on: tensors and plain values."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Take the states of all processes that trained an epoch together, the own among them."""

    def groups(self, model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """(pre-trained, new) parameters, which learn at different rates."""


class Seeded:
    """What a task is whose batches depend on the seed alone: it has no state, so there is none to restore or merge."""

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""

    def merge(self, states: Sequence[dict[str, Any]]) -> None:
        """Nothing to merge."""


def by_start(model: nn.Module, fresh: Callable[[str], bool] | None) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(pre-trained, new) parameters of a model.

    Args:
        model: whose.
        fresh: by name, which are new; None: all are.
    """
    named = list(model.named_parameters())
    known = [p for name, p in named if fresh is not None and not fresh(name)]
    return known, [p for name, p in named if fresh is None or fresh(name)]


def device() -> torch.device:
    """CUDA where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def moved(value: Batch, where: torch.device) -> Batch:
    """A tensor, or all tensors in tuples and lists, on a device; what is no tensor stays."""
    found: Any = value
    if isinstance(value, Tensor):
        found = value.to(where)
    elif isinstance(value, list | tuple):
        parts = [moved(part, where) for part in value]
        found = type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return cast(Batch, found)


@dataclass
class Average:
    """Exponential moving average of a model's weights; the decay grows from 0 so that the start is forgotten."""

    model: nn.Module
    decay: float
    steps: int = 0

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Take a step towards the source's weights."""
        self.steps += 1
        decay = self.decay * (1 - math.exp(-self.steps / 300))
        pairs = list(zip(self.model.state_dict().values(), source.state_dict().values(), strict=True))
        real = [pair for pair in pairs if pair[0].dtype.is_floating_point]
        step = get_ema_multi_avg_fn(decay)
        step([mine for mine, _ in real], [new for _, new in real], 0)
        for mine, new in pairs:
            if not mine.dtype.is_floating_point:
                mine.copy_(new)


def rate_at(step: int, total: int, settings: LoopSettings) -> float:
    """Share of the peak learning rate: a linear warm-up, then half a cosine down to `final_rate`."""
    warmup = min(settings.warmup_steps, total // 10 + 1)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * done))


class Training(Generic[Batch]):
    """A training in a folder: `last.pt` to go on from, `best.pt` to use, `history.jsonl` to read.

    With several processes (see `ranks`) each trains on its share of the batches, and the first writes the files.
    """

    def __init__(self, model: nn.Module, task: Task[Batch], settings: LoopSettings, folder: Path) -> None:
        """Prepare a training.

        Raises:
            ConfigurationError: an epoch has fewer batches than there are processes, or not as many in each.
        """
        batches = ranks.gathered(task.steps())
        if len(set(batches)) > 1:
            raise ConfigurationError(
                f"an epoch has {' and '.join(map(str, batches))} batches in the {len(batches)} processes",
                hint="some read fewer pictures: put the data where all can read them",
            )
        if task.steps() < ranks.count():
            raise ConfigurationError(
                f"an epoch has {task.steps()} batches, fewer than the {ranks.count()} processes",
                hint="take smaller batches or fewer processes",
            )
        self.device = device()
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.task, self.settings, self.folder = task, settings, folder
        self.average = Average(copy.deepcopy(self.model).eval(), settings.ema)
        self.optimiser = self._optimiser()
        self.epoch, self.best = 0, -math.inf
        self.steps = task.steps() // ranks.count()
        self.total_steps = settings.epochs * self.steps

    def _optimiser(self) -> torch.optim.AdamW:
        groups = []
        rates = (self.settings.pretrained_rate, self.settings.learning_rate)
        for parameters, rate in zip(self.task.groups(self.model), rates, strict=True):
            for decays in (True, False):
                chosen = [p for p in parameters if (p.ndim > 1) == decays]
                decay = self.settings.weight_decay if decays else 0.0
                groups.append({"params": chosen, "lr": rate, "peak": rate, "weight_decay": decay})
        return torch.optim.AdamW(groups)

    def fresh(self) -> bool:
        """Whether nothing has been trained in the folder yet."""
        return ranks.of_the_first(not (self.folder / "last.pt").is_file())

    def resume(self) -> bool:
        """Go on from `last.pt` where there is one; True if so.

        Raises:
            ModelMismatch: it is of another model, or was trained on another split (whose validation part this one
                may train on).
        """
        path = self.folder / "last.pt"
        if self.fresh():
            return False
        saved = Checkpoint.read(path)
        mine = (self.task.name, self.task.arch, self.task.split_hash)
        if (saved.task, saved.arch, saved.split_hash) != mine:
            raise ModelMismatch(
                f"{path} is a {saved.task} ({saved.arch}) on split {saved.split_hash}, not {' '.join(mine)}",
                hint="train in another folder, or remove this one's last.pt",
            )
        self.model.load_state_dict(saved.resume["model"])
        self.average.model.load_state_dict(saved.weights)
        self.average.steps = saved.resume["average_steps"]
        self.optimiser.load_state_dict(saved.resume["optimiser"])
        self.task.restore(saved.resume.get("task", {}))
        self.epoch, self.best = saved.epoch, saved.resume["best"]
        return True

    def judge_start(self) -> None:
        """Keep the start itself as epoch 0, so that a training which only makes it worse gives it back."""
        metrics = self.task.evaluate(self.average.model)
        self._record({"epoch": 0, **metrics})
        self._save(metrics)

    def run(self, progress: Progress | None = None, *, until: int | None = None) -> Checkpoint:
        """Train to the last epoch, or to the epoch `until` of the same schedule, saving after each; the best one."""
        end = min(until or self.settings.epochs, self.settings.epochs)
        while self.epoch < end:
            started = time.monotonic()
            losses = self._train_epoch(progress)
            self.epoch += 1
            due = self.epoch % self.settings.evaluate_every == 0 or self.epoch == end
            metrics = self.task.evaluate(self.average.model) if due and ranks.first() else {}
            if ranks.together():
                self.task.merge(ranks.gathered(self.task.state()))
            self._record({"epoch": self.epoch, "seconds": round(time.monotonic() - started, 1), **losses, **metrics})
            self._save(metrics)
        return Checkpoint.read(self.folder / "best.pt")

    def _train_epoch(self, progress: Progress | None) -> dict[str, float]:
        self.model.train()
        sums: dict[str, float] = {}
        for step, batch in enumerate(self._batches()):
            parts = self._step(batch, self.epoch * self.steps + step)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value / self.steps
            if progress and ranks.first():
                progress(f"epoch {self.epoch + 1}/{self.settings.epochs}", step + 1, self.steps)
        return {f"loss_{name}": round(value, 4) for name, value in sums.items()}

    def _batches(self) -> Iterator[Batch]:
        """The process's share of the epoch's batches, made ahead by other threads."""
        loaders = LOADERS
        if self.device.type == "cuda":
            loaders = max(LOADERS, min(CUDA_LOADERS, (os.cpu_count() or 1) // ranks.count()))
        with ThreadPoolExecutor(loaders) as pool:

            def made(step: int) -> Batch:
                return moved(self.task.batch(self.epoch, step * ranks.count() + ranks.index()), self.device)

            def submit(step: int) -> Future[Batch]:
                return pool.submit(made, step)

            waiting = [submit(step) for step in range(min(2 * loaders, self.steps))]
            for step in range(self.steps):
                if step + 2 * loaders < self.steps:
                    waiting.append(submit(step + 2 * loaders))
                yield waiting.pop(0).result()

    def _step(self, batch: Batch, step: int) -> dict[str, float]:
        share = rate_at(step, self.total_steps, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * share
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            parts = self.task.loss(self.model, batch)
        values = torch.stack(list(parts.values()))
        loss = values.sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        ranks.agree(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.average.update(self.model)
        losses = dict(zip(parts, values.detach().tolist(), strict=True))
        if not math.isfinite(sum(losses.values())):
            raise FloatingPointError(f"loss is {losses} at step {step}")
        return losses

    def _record(self, row: dict[str, float]) -> None:
        """Add the epoch's row to the history, in place of what a run that was killed before it saved has left there."""
        if not ranks.first():
            return
        file = self.folder / "history.jsonl"
        lines = [json.dumps(before) for before in _rows(file) if before["epoch"] < row["epoch"]]
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        unfinished.write_text("\n".join([*lines, json.dumps(row)]) + "\n", encoding="utf-8")
        unfinished.replace(file)

    def _save(self, metrics: dict[str, float]) -> None:
        if ranks.first():
            better = bool(metrics) and metrics[self.task.figure] > self.best
            if better:
                self.best = metrics[self.task.figure]
                self._checkpoint(metrics, {}).write(self.folder / "best.pt")
            resume = {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average_steps": self.average.steps,
                "best": self.best,
                "task": self.task.state(),
            }
            self._checkpoint(metrics, resume).write(self.folder / "last.pt")
        ranks.wait()

    def _checkpoint(self, metrics: dict[str, float], resume: dict[str, Any]) -> Checkpoint:
        settings = {"loop": asdict(self.settings), **self.task.settings()}
        weights = {name: value.detach().cpu().clone() for name, value in self.average.model.state_dict().items()}
        task = self.task
        return Checkpoint(task.name, task.arch, weights, settings, task.split_hash, self.epoch, metrics, resume)


def _rows(history: Path) -> list[dict[str, Any]]:
    """The rows of a history, none where there is no file; a last line that was cut off is left out."""
    if not history.is_file():
        return []
    lines = history.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]
