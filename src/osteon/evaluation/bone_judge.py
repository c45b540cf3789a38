"""Does it help to judge every bone by itself? Judge, whole-film detector, and both: AUROC by bone and by film.

By film every film counts whose truth is known; the judge's word is its most damaged bone, 0 where no bone was found. By
bone, broken bones of fractured films stand against the bones of normal films; bones whose fracture may be another's,
and the other bones of fractured films, are left out, for nobody knows. Every film is judged by models that have not
seen it, and the two scores are joined by a curve that was fitted on the other folds (of one fold, on its other half).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osteon.datasets.bone_crops import Damage
from osteon.datasets.case import Manifest
from osteon.datasets.crop_store import Crops, OutlinedBones, Row
from osteon.datasets.split import Split
from osteon.errors import InvalidDataset, ModelMismatch
from osteon.evaluation import records
from osteon.evaluation.detection import auroc
from osteon.evaluation.judge import Progress, truth_known
from osteon.inference.bone_judge import Combination, damage, detector_scores, logit
from osteon.inference.card import OperatingPoint, PictureScale
from osteon.inference.postprocess import Detections
from osteon.inference.session import Session

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Judging = tuple[Session, frozenset[str]]
"""A judge, and the films that it has not seen."""
SPECIFICITY = 0.95
_NONE = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class JudgedBone:
    """A bone: its label, what is known of it, the judge's probability, and the best box of the detector on it."""

    label: str
    damage: Damage
    judge: float
    detector: float


@dataclass(frozen=True)
class JudgedFilm:
    """A film: the part of the split it was judged in, its truth, the detector's score, its bones, metal or not."""

    name: str
    part: str
    fractured: bool
    detector: float
    bones: tuple[JudgedBone, ...]
    hardware: bool | None = None

    @property
    def judge(self) -> float:
        """The judge's word on the film: its most damaged bone."""
        return max((bone.judge for bone in self.bones), default=0.0)


def judges_by_part(sessions: Sequence[Session], folds: Mapping[str, Split]) -> dict[str, Judging]:
    """By name of the fold: the judge that has not learned from it, told by its card, and the fold's films.

    Raises:
        ModelMismatch: a judge is of no fold, or of one that has a judge already.
    """
    by_hash = {split.hash: name for name, split in folds.items()}
    parts: dict[str, Judging] = {}
    for session in sessions:
        name = by_hash.get(session.card.split_hash)
        if name is None or name in parts:
            raise ModelMismatch(
                f"a judge was trained on split {session.card.split_hash}, which is "
                + ("no fold of this split" if name is None else "given twice"),
                hint="give one judge for each fold of the split that it was trained on",
            )
        parts[name] = (session, frozenset(folds[name].parts["valid"]))
    return parts


def boxes_of(
    files: Sequence[Path], parts: Mapping[str, Judging], split: Split, *, scale: PictureScale | None
) -> dict[str, Detections]:
    """The boxes of each fold's own detector by film, from its records.

    Args:
        files: records.
        parts: see `judge_films`.
        split: whose parts the records must be of.
        scale: by which the detector scores a film as a whole, as its card has it; None: by its best box.

    Raises:
        InvalidDataset: records of another split, or of films outside of their part.
    """
    found: dict[str, Detections] = {}
    for file in files:
        kept = records.read(file)
        origin = kept.origin
        if origin.split_hash != split.hash or origin.part not in split.parts:
            raise InvalidDataset(
                f"{file.name} is of part {origin.part!r} of split {origin.split_hash}, not of {split.hash}",
                hint="write it with `osteon evaluate detector --split SPLIT --part PART --records FILE`",
            )
        part = "" if "" in parts and origin.part == "valid" else origin.part
        if part in parts:
            found |= {film.name: film.found for film in kept.judged(scale=scale) if film.name in parts[part][1]}
    return found


def judge_films(
    manifest: Manifest,
    crops: Crops,
    parts: Mapping[str, Judging],
    *,
    bones: OutlinedBones,
    found: Mapping[str, Detections] | None = None,
    progress: Progress | None = None,
) -> list[JudgedFilm]:
    """Every film of known truth, judged by the judge of its part.

    Args:
        manifest: the films with their truth.
        crops: of their bones.
        parts: by name of the part: its judge, and the films that this judge has not seen.
        bones: what the crops were cut by.
        found: the detector's boxes by film; a film without is left out. None: there is no detector to compare with.
        progress: reporter.
    """
    cases = {case.name: case for case in manifest if truth_known(case)}
    rows: dict[str, list[int]] = {name: [] for name in crops.films}
    for index, row in enumerate(crops.rows):
        rows[row.film].append(index)
    films = []
    chosen = [(part, name) for part in parts for name in crops.films if name in parts[part][1] and name in cases]
    for done, (part, name) in enumerate(chosen, start=1):
        if found is None or name in found:
            boxes = found[name] if found else _NONE
            own = rows[name]
            scores = detector_scores(boxes, bones.bones(name)) if len(boxes) else (0.0,) * len(own)
            judged = tuple(
                JudgedBone(crops.rows[i].label, crops.rows[i].damage, damage(parts[part][0], crops.crop(i)), score)
                for i, score in zip(own, scores, strict=True)
            )
            case = cases[name]
            films.append(JudgedFilm(name, part, bool(case.fractured), boxes.best, judged, case.hardware))
        if progress:
            progress("judging bones", done, len(chosen))
    return films


def bone_figures(rows: Sequence[Row], scores: Sequence[float]) -> dict[str, float]:
    """AUROC of crops that are "damaged" or "intact" (0.5 where there is only one kind), and how many are of each."""
    damaged = np.array([row.damage == "damaged" for row in rows], np.bool_)
    value = auroc(np.array(scores, np.float64), damaged)
    return {
        "auroc_bone": 0.5 if np.isnan(value) else round(value, 4),
        "broken_bones": float(damaged.sum()),
        "whole_bones": float((~damaged).sum()),
    }


def damaged_point(rows: Sequence[Row], scores: Sequence[float]) -> dict[str, OperatingPoint]:
    """`damaged`: the lowest cut that 0.95 of the whole bones stay below, and what it gives; none without both kinds."""
    damaged = np.array([row.damage == "damaged" for row in rows], np.bool_)
    values = np.array(scores, np.float64)
    if not damaged.any() or damaged.all():
        return {}
    whole = np.sort(values[~damaged])
    cut = float(np.floor(whole[int(np.ceil(SPECIFICITY * len(whole))) - 1] * 1e6) + 1) / 1e6
    measured = {"sensitivity": (values[damaged] >= cut).mean(), "specificity": (whole < cut).mean()}
    return {"damaged": OperatingPoint(cut, {name: round(float(value), 4) for name, value in measured.items()})}


def fit_combination(detector: Values, judge: Values, truth: Flags, *, steps: int = 50) -> Combination:
    """The logistic curve over both logits with the highest likelihood; a slight pull to 0 keeps it finite.

    Raises:
        InvalidDataset: only one kind.
    """
    if not truth.any() or truth.all():
        raise InvalidDataset("joining needs films with and without fractures", hint="use a larger validation part")
    rows = np.stack([_logits(detector), _logits(judge), np.ones(len(truth))], axis=1)
    pull = np.diag([1e-2, 1e-2, 1e-6])

    def loss(line: Values) -> float:
        return float((np.logaddexp(0, rows @ line) - truth * (rows @ line)).sum() + line @ pull @ line / 2)

    line = np.zeros(3)
    for _ in range(steps):  # Newton's method, each step halved until it gains
        probability = 1 / (1 + np.exp(-np.clip(rows @ line, -500, 500)))
        curvature = (rows * (probability * (1 - probability))[:, None]).T @ rows + pull
        change = np.linalg.solve(curvature, rows.T @ (probability - truth) + pull @ line)
        while loss(line - change) > loss(line) and np.abs(change).max() > 1e-9:
            change = change / 2
        line = line - change
        if np.abs(change).max() < 1e-8:
            break
    return Combination(*(round(float(value), 6) for value in line))


def _logits(scores: Values) -> Values:
    return np.array([logit(score) for score in scores.tolist()], np.float64)
