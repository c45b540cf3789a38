"""Which films to outline next: those on which the model of single bones is least sure, no two of them alike.

Two signs of doubt, each from 0 to 1, and a film's figure is their mean:

- scores: how near the bones' scores are to one half, 1 - |2s - 1|, weighted by area;
- mirror: the model is shown the film and its mirror image, and its bones on both are paired by overlap. 1 less the mean
  IoU of the pairs; a bone without a partner, or with one of another label, agrees by 0.

A film on which no bone was found is in doubt by 1. What the two are worth is told in docs/bone-annotations.md.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from osteon.datasets.duplicates import Fingerprint, find_duplicates, groups_of
from osteon.findings import Bone
from osteon.radiograph import Radiograph

COLUMNS = ("rank", "name", "chosen", "figure", "scores", "mirror", "bones", "body_part", "like", "why")
LEAST_PAIR_IOU = 0.1
"""Bones of the film and of its mirror image that overlap less are no pair."""


@dataclass(frozen=True)
class Doubt:
    """How unsure the model is of one film.

    Attributes:
        scores: by the bones' scores, 0 to 1.
        mirror: by disagreement with the mirror image, 0 to 1.
        bones: how many were found on the film.
        alone: how many on either had no partner of their label on the other.
    """

    scores: float
    mirror: float
    bones: int
    alone: int

    @property
    def figure(self) -> float:
        """The mean of both, 0 to 1."""
        return (self.scores + self.mirror) / 2

    @property
    def why(self) -> str:
        """The stronger reason in words."""
        if not self.bones:
            return "no bone found"
        if self.scores > self.mirror:
            return f"scores near one half ({self.scores:.2f})"
        unlike = f", {self.alone} found on one of them only" if self.alone else ""
        return f"unlike its mirror image ({self.mirror:.2f}{unlike})"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A film that could be outlined: its name, its doubt, a body part ("" where unknown), and a print to compare."""

    name: str
    doubt: Doubt
    part: str
    print: Fingerprint


@dataclass(frozen=True, eq=False)
class Ranked:
    """A candidate in its place; `like` names the chosen film that it repeats, else ""."""

    candidate: Candidate
    chosen: bool
    like: str = ""


def mirror_image(radiograph: Radiograph) -> Radiograph:
    """The radiograph with left and right exchanged."""
    return replace(radiograph, pixels=np.ascontiguousarray(radiograph.pixels[:, ::-1]))


def doubt(bones: Sequence[Bone], on_mirror_image: Sequence[Bone], *, width_px: int) -> Doubt:
    """The doubt about a film.

    Args:
        bones: found on the film.
        on_mirror_image: found on its mirror image, in the mirror image's pixels.
        width_px: of the film.
    """
    if not bones:
        return Doubt(1.0, 1.0, 0, len(on_mirror_image))
    areas = np.array([bone.area_px for bone in bones], np.float64) + 1
    unsure = np.array([1 - abs(2 * bone.score - 1) for bone in bones], np.float64)
    agreements = _agreements(bones, [_mirrored(bone, width_px) for bone in on_mirror_image])
    alone = sum(value == 0 for value in agreements)
    return Doubt(float((unsure * areas).sum() / areas.sum()), 1 - float(np.mean(agreements)), len(bones), alone)


def _mirrored(bone: Bone, width_px: int) -> Bone:
    x0, y0, x1, y1 = bone.box_xyxy_px
    x, y = bone.corner_xy_px
    corner = (width_px - x - bone.mask.shape[1], y)
    return replace(
        bone, box_xyxy_px=(width_px - x1, y0, width_px - x0, y1), corner_xy_px=corner, mask=bone.mask[:, ::-1]
    )


def _agreements(first: Sequence[Bone], second: Sequence[Bone]) -> list[float]:
    """The IoU of each pair, greatest first, 0 where the labels differ; then 0 for each bone without a partner."""
    overlaps = np.array([[one.iou(two) for two in second] for one in first]).reshape(len(first), len(second))
    pairs: list[float] = []
    left = overlaps.copy()
    while left.size and left.max() >= LEAST_PAIR_IOU:
        row, column = divmod(int(left.argmax()), left.shape[1])
        same = first[row].label == second[column].label
        pairs.append(float(overlaps[row, column]) if same else 0.0)
        left[row], left[:, column] = -1, -1
    return pairs + [0.0] * (len(first) + len(second) - 2 * len(pairs))


def rank(candidates: Sequence[Candidate], *, count: int) -> tuple[Ranked, ...]:
    """All candidates in order: first the `count` chosen ones, then the others by their figure.

    Body parts are chosen from in turn, the one with the most doubtful film first, and of each its most doubtful film
    that shows no film chosen before; so that the choice is not a pile of one joint, nor of one patient's repeats.
    """
    groups = groups_of(find_duplicates([item.print for item in candidates]))
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    queues: dict[str, list[Candidate]] = {}
    for item in _by_figure(candidates):
        queues.setdefault(item.part, []).append(item)
    chosen: list[Candidate] = []
    taken: dict[int, str] = {}
    while len(chosen) < count and any(queues.values()):
        for queue in queues.values():
            fresh = next((item for item in queue if group_of.get(item.name, -1) not in taken), None)
            queue[:] = queue[queue.index(fresh) + 1 :] if fresh else []
            if fresh and len(chosen) < count:
                chosen.append(fresh)
                if fresh.name in group_of:
                    taken[group_of[fresh.name]] = fresh.name
    names = {item.name for item in chosen}
    rest = [item for item in _by_figure(candidates) if item.name not in names]
    likes = [taken.get(group_of.get(item.name, -1), "") for item in rest]
    return (
        *(Ranked(item, True) for item in chosen),
        *(Ranked(item, False, like) for item, like in zip(rest, likes, strict=True)),
    )


def _by_figure(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda item: (-item.doubt.figure, item.name))


def write_csv(ranking: Sequence[Ranked], file: Path) -> None:
    """The ranking as a table, `COLUMNS` as its header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_row(number, item) for number, item in enumerate(ranking, start=1))


def _row(number: int, item: Ranked) -> tuple[str | int, ...]:
    found = item.candidate.doubt
    figures = (f"{value:.4f}" for value in (found.figure, found.scores, found.mirror))
    why = f"shows the film {item.like}" if item.like else found.why
    chosen = "yes" if item.chosen else "no"
    return (number, item.candidate.name, chosen, *figures, found.bones, item.candidate.part, item.like, why)
