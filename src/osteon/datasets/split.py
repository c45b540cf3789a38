"""Seeded splits of a data set, in which nothing that belongs together falls apart, with a hash to record.

Cases that share a duplicate group or a patient form a block; blocks are dealt to the parts stratum by stratum (label
and body part), in an order which only the seed and the names decide.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.datasets.case import Case, Manifest, digest
from osteon.datasets.duplicates import joined
from osteon.errors import ConfigurationError, InvalidDataset

Groups = Iterable[Iterable[str]]
"""Names of cases that must stay together, for one film or one person."""

LEFT_OUT = "left_out"
"""The part of an official split that neither trains nor validates."""


@dataclass(frozen=True)
class Split:
    """Which case is in which part.

    Attributes:
        name: of the data set.
        parts: sorted names of cases by part.
        seed: that dealt them.
        method: how, in words.
    """

    name: str
    parts: Mapping[str, tuple[str, ...]]
    seed: int
    method: str

    @property
    def hash(self) -> str:
        """A digest of the parts alone: two splits that deal alike have the same."""
        return digest({part: list(names) for part, names in self.parts.items()})

    def part_of(self) -> dict[str, str]:
        """The part by name of case."""
        return {name: part for part, names in self.parts.items() for name in names}

    def select(self, manifest: Manifest, part: str) -> Manifest:
        """The cases of one part.

        Raises:
            ConfigurationError: the split has no such part.
        """
        if part not in self.parts:
            raise ConfigurationError(f"no part {part!r} in this split", hint=f"it has {', '.join(self.parts)}")
        return manifest.only(frozenset(self.parts[part]))

    def fold(self, part: str) -> "Split":
        """The split which validates on one part and trains on all others, but never on `left_out` or `test`.

        Raises:
            ConfigurationError: the split has no such part.
        """
        if part not in self.parts:
            raise ConfigurationError(f"no part {part!r} in this split", hint=f"it has {', '.join(self.parts)}")
        apart = {part, LEFT_OUT, "test"}
        rest = sorted(name for other, names in self.parts.items() if other not in apart for name in names)
        parts = {"train": tuple(rest), "valid": self.parts[part]}
        return Split(self.name, parts, self.seed, f"{self.method}; validated on {part}")

    def to_json(self) -> dict[str, Any]:
        """The split as a JSON object."""
        parts = {part: list(names) for part, names in self.parts.items()}
        return {"name": self.name, "hash": self.hash, "seed": self.seed, "method": self.method, "parts": parts}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Split":
        """The split of a JSON object.

        Raises:
            InvalidDataset: a field is missing, or the parts do not have the hash that stands with them.
        """
        try:
            parts = {str(part): tuple(map(str, names)) for part, names in value["parts"].items()}
            split = cls(str(value["name"]), parts, int(value["seed"]), str(value["method"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidDataset("no split in this JSON", hint="write one with `osteon data split`") from error
        if value.get("hash", split.hash) != split.hash:
            raise InvalidDataset(
                f"the split's parts have the hash {split.hash}, but {value['hash']} stands in the file",
                hint="somebody edited the parts; make the split again, or remove the hash if that was meant",
            )
        return split

    @classmethod
    def read(cls, file: Path) -> "Split":
        """The split of a JSON file.

        Raises:
            InvalidDataset: unreadable, or no split.
        """
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidDataset(
                f"{file.name} is no readable JSON", hint="write a split with `osteon data split`"
            ) from error
        return cls.from_json(value if isinstance(value, dict) else {})

    def write(self, file: Path) -> None:
        """The split as a JSON file, there whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        unfinished.write_text(json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished.replace(file)


def split(manifest: Manifest, *, fractions: Mapping[str, float], seed: int = 0, groups: Groups = ()) -> Split:
    """Every case in exactly one part, no group and no patient in two; label and body part alike in all parts.

    Args:
        manifest: the cases.
        fractions: share of the cases by part, together 1.
        seed: another seed, another dealing.
        groups: names that must stay together, such as `duplicates.groups_of` gives.

    Raises:
        ConfigurationError: shares that are not positive or do not add up to 1.
        InvalidDataset: two cases have one name.
    """
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigurationError(
            f"shares {list(fractions.values())}, expected positive numbers that add up to 1",
            hint="for example 0.8,0.2",
        )
    parts = _deal(_blocks(manifest.cases, groups), fractions, seed)
    return Split(manifest.name, parts, seed, "grouped by duplicates and patients, stratified by label and body part")


def split_folds(manifest: Manifest, *, folds: int, seed: int = 0, groups: Groups = ()) -> Split:
    """As `split`, into `folds` equal parts fold1, fold2, ...; `Split.fold` makes training and validation of them.

    Raises:
        ConfigurationError: fewer than two folds.
        InvalidDataset: two cases have one name.
    """
    if folds < 2:
        raise ConfigurationError(f"{folds} folds, expected two or more", hint="for example --folds 5")
    fractions = {f"fold{number}": 1 / folds for number in range(1, folds + 1)}
    return split(manifest, fractions=fractions, seed=seed, groups=groups)


def official_split(manifest: Manifest, groups: Groups, *, seed: int = 0, valid_share_of_normals: float = 0.1) -> Split:
    """FracAtlas' own lists of fractured films, without their leaks, and a share of the normal films.

    Validation loses the films of which a duplicate is in the official training list. Normal films are dealt, groups
    together and by body part, to training and validation; one that duplicates a film of the lists is left out, for
    it leaks or contradicts the film's label. So nothing in `train` duplicates anything in `valid` (or `test`).

    Raises:
        InvalidDataset: the manifest has no official lists.
    """
    if not {"train", "valid"} <= {case.split for case in manifest}:
        raise InvalidDataset(
            "no official training and validation lists", hint="this split is for FracAtlas with its Utilities folder"
        )
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": [], LEFT_OUT: []}
    normal: list[tuple[Case, ...]] = []
    for block in _blocks(manifest.cases, groups):
        official = {case.split for case in block} - {""}
        if not official and not any(case.fractured for case in block):
            normal.append(block)
            continue
        kept = next((part for part in ("train", "test", "valid") if part in official), LEFT_OUT)
        for case in block:
            parts[kept if case.split == kept else LEFT_OUT].append(case.name)
    shares = {"train": 1 - valid_share_of_normals, "valid": valid_share_of_normals}
    for part, names in _deal(normal, shares, seed).items():
        parts[part] += names
    method = "official lists without the validation films that duplicate a training film; normals dealt by group"
    return Split(manifest.name, {part: tuple(sorted(parts[part])) for part in parts if parts[part]}, seed, method)


def follow(manifest: Manifest, other: Split, *, groups: Groups = ()) -> Split:
    """Every case in the part that it, or a duplicate of it, has in another split, so that both can be trained.

    A model that learns from this split's `fold1.train` has then seen nothing that the other validates on in `fold1`.
    A case that the other split does not know, nor any duplicate of it, is left out; so is one whose duplicates lie in
    several parts of the other.

    Args:
        manifest: the cases, such as the outlined films of a data set.
        other: a split of the whole data set.
        groups: names that must stay together; names that only the other split knows count too.

    Raises:
        InvalidDataset: two cases have one name, or the splits have no case in common.
    """
    part_of = other.part_of()
    together = {name: group for group in joined(groups) for name in group}
    parts: dict[str, list[str]] = {part: [] for part in other.parts}
    left_out: list[str] = []
    for block in _blocks(manifest.cases, groups):
        names = {name for case in block for name in (case.name, *together.get(case.name, ()))}
        found = {part_of[name] for name in names if name in part_of}
        chosen = parts[found.pop()] if len(found) == 1 else left_out
        chosen += [case.name for case in block]
    if not any(parts.values()):
        raise InvalidDataset(
            f"no case of {manifest.name} is in the split of {other.name}", hint="give the split of the same films"
        )
    dealt = {part: tuple(sorted(names)) for part, names in parts.items()}
    if left_out:
        dealt[LEFT_OUT] = tuple(sorted({*left_out, *dealt.get(LEFT_OUT, ())}))
    return Split(manifest.name, dealt, other.seed, f"follows the split {other.hash} of {other.name}")


def _blocks(cases: Sequence[Case], groups: Groups) -> list[tuple[Case, ...]]:
    """Cases that must stay together; those without a group alone."""
    by_name = {case.name: case for case in cases}
    if len(by_name) < len(cases):
        raise InvalidDataset(
            f"{len(cases) - len(by_name)} cases share their name with another",
            hint="names must be unique in a data set",
        )
    people: dict[str, list[str]] = {}
    for case in cases:
        if case.patient:
            people.setdefault(case.patient, []).append(case.name)
    known = [[name for name in group if name in by_name] for group in groups]
    together = joined([*known, *people.values(), *([name] for name in by_name)])
    return [tuple(by_name[name] for name in names) for names in together]


def _deal(blocks: Sequence[tuple[Case, ...]], fractions: Mapping[str, float], seed: int) -> dict[str, tuple[str, ...]]:
    """Each block to the part that lacks most, walking the strata one after the other.

    So the shares hold over all cases, and nearly so within each stratum.
    """
    total = 0
    parts: dict[str, list[str]] = {part: [] for part in fractions}
    for block in sorted(blocks, key=lambda block: (_stratum(block), _draw(block, seed))):
        total += len(block)
        lacking = {part: share * total - len(parts[part]) for part, share in fractions.items()}
        parts[max(lacking, key=lambda part: lacking[part])] += [case.name for case in block]
    return {part: tuple(sorted(names)) for part, names in parts.items()}


def _stratum(block: Sequence[Case]) -> tuple[str, str]:
    labels = {case.fractured for case in block}
    label = "fractured" if True in labels else ("normal" if False in labels else "unknown")
    by_frequency = sorted(Counter(case.body_part for case in block).items(), key=lambda item: (-item[1], item[0]))
    return label, by_frequency[0][0]


def _draw(block: Sequence[Case], seed: int) -> str:
    """A number drawn for a block that depends on nothing but the seed and its names."""
    return hashlib.sha256(f"{seed}:{min(case.name for case in block)}".encode()).hexdigest()
