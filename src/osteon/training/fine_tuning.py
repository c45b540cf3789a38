"""Further training of a detector on new data, without forgetting the old.

What holds the old knowledge: normalisation keeps its statistics; a penalty grows with every weight's way from the start
(L2-SP, Xuhong et al. 2018); kept pictures are shown among the new ones; and an epoch counts only where the kept
validation figure holds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from osteon.datasets.case import Manifest
from osteon.datasets.split import Groups, Split
from osteon.errors import InvalidDataset
from osteon.training.config import DetectorSettings, LoopSettings, TuningSettings
from osteon.training.detector import Batch, DetectorTask, figures_of
from osteon.training.pictures import Picture

_FRESH = "mask_head"
"""The layer that a released file lacks: it may learn quickly, and has no start to stay near."""


@dataclass(frozen=True, eq=False)
class TuningData:
    """New and kept data as one: the manifest of both, their split, and the names of the kept cases."""

    manifest: Manifest
    split: Split
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Parts:
    """Pictures to train on and to validate on."""

    train: Sequence[Picture] = ()
    valid: Sequence[Picture] = ()


def merged(new: tuple[Manifest, Split], kept: tuple[Manifest, Split], groups: Groups = ()) -> TuningData:
    """Both data sets as one, new cases first, each in the part of its own split.

    A new case of which a duplicate lies in the kept set's other part would leak; it is in no part.

    Args:
        new: the new data and their split.
        kept: the old data and their split.
        groups: names of duplicates over both sets.

    Raises:
        InvalidDataset: a name stands in both.
    """
    mine, theirs = new[1].part_of(), kept[1].part_of()
    twice = {case.name for case in new[0]} & {case.name for case in kept[0]}
    if twice:
        raise InvalidDataset(
            f"{len(twice)} names stand in the new and in the kept data", hint="give data sets without common pictures"
        )
    leaking: set[str] = set()
    for group in map(tuple, groups):
        sides = {theirs[name] for name in group if name in theirs}
        leaking |= {name for name in group if name in mine and sides - {mine[name]}}
    parts = {
        part: tuple(sorted({*new[1].parts.get(part, ()), *kept[1].parts.get(part, ())} - leaking))
        for part in ("train", "valid")
    }
    both = Manifest(f"{new[0].name}+{kept[0].name}", (*new[0].cases, *kept[0].cases))
    method = f"new: {new[1].method}; kept: {kept[1].method}; without {len(leaking)} new cases that duplicate kept ones"
    return TuningData(both, Split(both.name, parts, new[1].seed, method), frozenset(case.name for case in kept[0]))


class FineTuning(DetectorTask):
    """Trains on new pictures among kept ones; validates on both, and judges by the new where the old holds."""

    def __init__(
        self,
        new: Parts,
        kept: Parts,
        start: nn.Module,
        *,
        settings: DetectorSettings,
        loop: LoopSettings,
        tuning: TuningSettings,
        split_hash: str,
    ) -> None:
        super().__init__(new.train, new.valid, settings=settings, loop=loop, split_hash=split_hash, pretrained=True)
        self.kept, self.tuning = kept, tuning
        self._start = {name: p.detach().clone() for name, p in start.named_parameters() if not name.startswith(_FRESH)}
        self._kept_at_start: float | None = None
        self._mixed: dict[int, list[Picture]] = {}

    def settings(self) -> dict[str, Any]:
        """As a detector's, with the tuning's and the number of kept pictures."""
        mine = super().settings()
        counts = {"kept": len(self.kept.train), "kept_valid": len(self.kept.valid)}
        return {**mine, "pictures": mine["pictures"] | counts, "tuning": asdict(self.tuning)}

    def state(self) -> dict[str, Any]:
        """As a detector's, with the kept figure of the start."""
        return {**super().state(), "kept_at_start": self._kept_at_start}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        super().restore(state)
        self._kept_at_start = state.get("kept_at_start")

    def steps(self) -> int:
        """Batches in an epoch, kept pictures included."""
        new = self._new_count()
        return max(1, (new + self._replay_count(new)) // self.loop.batch)

    def _new_count(self) -> int:
        return len(self.fractured) + self._drawn()

    def _replay_count(self, new: int) -> int:
        return min(len(self.kept.train), round(new * self.tuning.replay))

    def _order(self, epoch: int) -> list[Picture]:
        if epoch not in self._mixed:
            rng = np.random.default_rng((self.loop.seed, epoch, 1))
            new = super()._order(epoch)
            mixed = [*new, *self._replayed(rng, self._replay_count(len(new)))]
            self._mixed = {epoch: [mixed[i] for i in rng.permutation(len(mixed))]}
        return self._mixed[epoch]

    def _replayed(self, rng: np.random.Generator, count: int) -> list[Picture]:
        """A draw of kept pictures, half of them fractured as far as there are."""
        kinds = [[p for p in self.kept.train if bool(p.case.fractured) is fractured] for fractured in (True, False)]
        fractured = min(len(kinds[0]), max(count // 2, count - len(kinds[1])))
        return [
            kind[i]
            for kind, share in zip(kinds, (fractured, count - fractured), strict=True)
            for i in rng.choice(len(kind), share, replace=False)
        ]

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The detector's criterion and the penalty `anchor`; normalisation does not learn new statistics."""
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        parts = super().loss(model, batch)
        if self.tuning.anchor:
            parts["anchor"] = self.tuning.anchor * self._way(model)
        return parts

    def _way(self, model: nn.Module) -> Tensor:
        """Squared distance of all weights from where they started."""
        parameters = dict(model.named_parameters())
        where = next(iter(parameters.values())).device
        self._start = {name: value.to(where) for name, value in self._start.items()}
        return torch.stack([(parameters[name] - value).square().sum() for name, value in self._start.items()]).sum()

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures of the new pictures; with kept ones also `kept`, their selection figure, and others as `kept_...`.

        `selection` is that of the new pictures where `kept` holds within the margin, and below zero where it does not.
        """
        figures = super().evaluate(model)
        if not self.kept.valid:
            return figures
        old = figures_of(model, self.kept.valid, self.family.decode)
        kept = old.pop("selection")
        figures |= {"new": figures["selection"], "kept": kept} | {f"kept_{n}": old[n] for n in ("map50", "auroc")}
        if self._kept_at_start is None:
            self._kept_at_start = kept
        if kept < self._kept_at_start - self.tuning.margin:
            figures["selection"] = round(kept - 1, 4)
        return figures

    def groups(self, model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """All but the mask output start from other weights."""
        named = list(model.named_parameters())
        return (
            [p for name, p in named if not name.startswith(_FRESH)],
            [p for name, p in named if name.startswith(_FRESH)],
        )
