"""Figures of judged bones and films: judge, detector and both, by film and by bone, and how sure their differences are.

Some bones break more often than others, so much of an AUROC by bone may be won by knowing a femur from a finger. The
figure `by_bone_of_a_label` compares bones with others of the same label only (mean over the broken bones).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.datasets.bone_crops import Damage
from osteon.errors import InvalidDataset
from osteon.evaluation.bone_judge import JudgedFilm, Values, fit_combination
from osteon.evaluation.bootstrap import Interval, drawn_weights, percentile, wilson
from osteon.evaluation.detection import auroc

Flags = NDArray[np.bool_]
WHO = ("detector", "judge", "both")
LEAST_BROKEN = 5
"""Broken bones of a label, from which on its own AUROC is told."""


@dataclass(frozen=True, eq=False)
class _Scored:
    """Things that are broken or not.

    Attributes:
        film: (n,) index of the film of each.
        truth: (n,) broken.
        scores: (n,) by who gave them.
        stratum: (n,) only things of one stratum are compared.
    """

    film: NDArray[np.intp]
    truth: Flags
    scores: dict[str, Values]
    stratum: NDArray[np.intp]

    def ranks(self) -> dict[str, "_Ranks"]:
        """The order of the scores, by who."""
        return {who: _Ranks.of(scores, self.stratum) for who, scores in self.scores.items()}


@dataclass(frozen=True, eq=False)
class _Ranks:
    """(n,) rank of each score among all distinct ones of its stratum, strata one after the other; (ranks,) stratum."""

    rank: NDArray[np.intp]
    stratum: NDArray[np.intp]

    @classmethod
    def of(cls, scores: Values, stratum: NDArray[np.intp]) -> "_Ranks":
        pairs, rank = np.unique(np.stack([stratum.astype(np.float64), scores]), axis=1, return_inverse=True)
        return cls(rank.reshape(-1), pairs[0].astype(np.intp))

    def auroc(self, truth: Flags, weights: NDArray[np.int64]) -> float:
        """Mean over the broken of the share of whole ones of their stratum that score lower; ties count half."""
        positive = np.bincount(self.rank, np.where(truth, weights, 0), len(self.stratum))
        negative = np.bincount(self.rank, np.where(truth, 0, weights), len(self.stratum))
        whole = np.bincount(self.stratum, negative)
        before = np.cumsum(whole) - whole
        below = np.cumsum(negative) - negative / 2 - before[self.stratum]
        known = (whole > 0)[self.stratum]
        total = positive[known].sum()
        return float(positive[known] @ (below[known] / whole[self.stratum][known]) / total) if total else float("nan")


def report(films: Sequence[JudgedFilm], *, with_detector: bool, samples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """All figures as JSON; `without_hardware` has the main ones on films without metal, where some have any.

    Nearly all films with metal are fractured, so a model that knows metal looks as if it knew fractures.

    Args:
        films: judged by models that have not seen them.
        with_detector: their detector scores mean something; else the judge alone is measured.
        samples: of the bootstrap, which draws films (with all of their bones), fractured and normal ones apart.
        seed: of the bootstrap.

    Raises:
        InvalidDataset: no fractured, or no normal film.
    """
    fractured = np.array([film.fractured for film in films], np.bool_)
    if not fractured.any() or fractured.all():
        raise InvalidDataset(
            f"{int(fractured.sum())} of {len(films)} films are fractured", hint="give fractured and normal films"
        )
    found = _main(films, fractured, with_detector, samples, seed)
    bare = [film for film in films if not film.hardware]
    if len(bare) < len(films) and 0 < sum(film.fractured for film in bare) < len(bare):
        kinds = np.array([film.fractured for film in bare], np.bool_)
        found["without_hardware"] = _main(bare, kinds, with_detector, samples, seed)
    return found


def _main(
    films: Sequence[JudgedFilm], fractured: Flags, with_detector: bool, samples: int, seed: int
) -> dict[str, Any]:
    parts = np.array([film.part for film in films])
    by_film, by_bone = _films(films), _bones(films)
    fitted: dict[str, Any] = {}
    for name, scored in (("by_film", by_film), ("by_bone", by_bone)):
        if with_detector:
            fitted[name] = _join(scored, _groups(parts, fractured, seed))
        else:
            del scored.scores["detector"]
    return {
        "films": len(films),
        "fractured": int(fractured.sum()),
        "without_bones": sum(not film.bones for film in films),
        "bones": _counts(films),
        "by_film": _figures(by_film, fractured, samples, seed),
        "by_bone": _figures(replace(by_bone, stratum=np.zeros_like(by_bone.stratum)), fractured, samples, seed),
        "by_bone_of_a_label": _figures(by_bone, fractured, samples, seed),
        "by_part": _by_part(by_film, by_bone, parts),
        "by_label": _by_label(films, by_bone),
        "place": {who: _place(films, who) for who in by_film.scores if who != "both"},
        "combination": fitted,
    }


def _films(films: Sequence[JudgedFilm]) -> _Scored:
    scores = {
        "detector": np.array([film.detector for film in films], np.float64),
        "judge": np.array([film.judge for film in films], np.float64),
    }
    index = np.arange(len(films))
    return _Scored(index, np.array([film.fractured for film in films], np.bool_), scores, np.zeros_like(index))


def _bones(films: Sequence[JudgedFilm]) -> _Scored:
    """The bones of which it is known whether they are broken; strata are labels."""
    known = [
        (index, bone) for index, film in enumerate(films) for bone in film.bones if bone.damage in ("damaged", "intact")
    ]
    scores = {
        "detector": np.array([bone.detector for _, bone in known], np.float64),
        "judge": np.array([bone.judge for _, bone in known], np.float64),
    }
    truth = np.array([bone.damage == "damaged" for _, bone in known], np.bool_)
    labels = np.unique(np.array([bone.label for _, bone in known], str), return_inverse=True)[1]
    return _Scored(np.array([index for index, _ in known], np.intp), truth, scores, labels)


def _groups(parts: NDArray[np.str_], fractured: Flags, seed: int) -> NDArray[np.str_]:
    """(films,) the group of each: its part, or one of two halves of a single part, fractured films parted evenly."""
    if len(set(parts.tolist())) > 1:
        return parts
    drawn = np.random.default_rng(seed).permutation(len(parts))
    order = drawn[np.argsort(fractured[drawn], kind="stable")]
    halves = np.empty(len(parts), np.dtype("<U6"))
    halves[order] = np.where(np.arange(len(parts)) % 2, "half 2", "half 1")
    return halves


def _join(scored: _Scored, groups: NDArray[np.str_]) -> dict[str, Any]:
    """Put the joint score `both` beside the others, fitted on the other groups of films; tell the curves.

    With too few of a kind, nothing is joined.
    """
    detector, judge, own = scored.scores["detector"], scored.scores["judge"], groups[scored.film]
    joint = np.zeros(len(own))
    curves = {}
    try:
        for group in sorted(set(own.tolist())):
            rest, here = own != group, own == group
            curve = fit_combination(detector[rest], judge[rest], scored.truth[rest])
            curves[group] = curve.to_json()
            joint[here] = [curve.probability(d, j) for d, j in zip(detector[here], judge[here], strict=True)]
        whole = fit_combination(detector, judge, scored.truth).to_json()
    except InvalidDataset:
        return {}
    scored.scores["both"] = joint
    return {"all": whole, "cross_fitted": curves}


def _figures(scored: _Scored, fractured: Flags, samples: int, seed: int) -> dict[str, Any]:
    """AUROC of each with its interval, and the paired differences to the detector with theirs."""
    rng = np.random.default_rng(seed)
    ranks = scored.ranks()
    drawn: dict[str, list[float]] = {who: [] for who in ranks}
    for _ in range(samples):
        weights = drawn_weights(fractured, rng)[scored.film]
        for who, order in ranks.items():
            drawn[who].append(order.auroc(scored.truth, weights))
    once = np.ones(len(scored.truth), np.int64)
    values = {who: order.auroc(scored.truth, once) for who, order in ranks.items()}
    figures: dict[str, Any] = {"broken": int(scored.truth.sum()), "whole": int((~scored.truth).sum())}
    figures["auroc"] = {who: _said(values[who], percentile(np.array(drawn[who]))) for who in values}
    if "detector" in values:
        figures["less_detector"] = {
            who: _said(values[who] - values["detector"], percentile(np.array(drawn[who]) - np.array(drawn["detector"])))
            for who in values
            if who != "detector"
        }
    return figures


def _said(value: float, interval: Interval) -> dict[str, Any]:
    return {"value": value, "interval": [interval.low, interval.high]}


def _counts(films: Sequence[JudgedFilm]) -> dict[str, int]:
    kinds: tuple[Damage, ...] = ("damaged", "shared", "intact", "unknown")
    return {kind: sum(bone.damage == kind for film in films for bone in film.bones) for kind in kinds}


def _by_part(by_film: _Scored, by_bone: _Scored, parts: NDArray[np.str_]) -> list[dict[str, Any]]:
    rows = []
    for part in sorted(set(parts.tolist())):
        row: dict[str, Any] = {"part": part, "films": int((parts == part).sum())}
        for name, scored in (("by_film", by_film), ("by_bone", by_bone)):
            here = parts[scored.film] == part
            row[name] = {who: auroc(scores[here], scored.truth[here]) for who, scores in scored.scores.items()}
        rows.append(row)
    return rows


def _by_label(films: Sequence[JudgedFilm], by_bone: _Scored) -> dict[str, Any]:
    labels = np.array([b.label for film in films for b in film.bones if b.damage in ("damaged", "intact")])
    found = {}
    for label in sorted(set(labels.tolist())):
        here = labels == label
        truth = by_bone.truth[here]
        if truth.sum() >= LEAST_BROKEN and not truth.all():
            figures = {who: auroc(scores[here], truth) for who, scores in by_bone.scores.items()}
            found[label] = {"broken": int(truth.sum()), "whole": int((~truth).sum()), "auroc": figures}
    return found


def _place(films: Sequence[JudgedFilm], who: str) -> dict[str, Any]:
    """On fractured films with a broken and another bone: is the bone that scores highest a broken one?

    Chance is what a blind choice would give. A judge that knows fractured films by anything else than the broken bone
    (a cast, the projector) does no better than that.
    """
    right, chance = [], []
    for film in films:
        broken = [bone.damage in ("damaged", "shared") for bone in film.bones]
        if any(broken) and not all(broken):
            scores = [bone.judge if who == "judge" else bone.detector for bone in film.bones]
            best = [hit for hit, value in zip(broken, scores, strict=True) if value == max(scores)]
            right.append(sum(best) / len(best))
            chance.append(sum(broken) / len(broken))
    share = float(np.mean(right)) if right else float("nan")
    interval = wilson(sum(right), len(right))
    return {
        "films": len(right),
        "right": _said(share, interval),
        "by_chance": float(np.mean(chance)) if chance else float("nan"),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """A report's main tables as Markdown; also of one that was written as JSON, where what has no value is null."""
    lines = ["| AUROC | broken / whole | " + " | ".join(WHO) + " | both less detector |", "|---" * 6 + "|"]
    titles = {"by_film": "by film", "by_bone": "by bone", "by_bone_of_a_label": "by bone, same label only"}
    subsets = {"": found, ", without metal": found.get("without_hardware")}
    for figures, title in [(s[n], titles[n] + kind) for kind, s in subsets.items() if s for n in titles]:
        cells = [_cell(figures["auroc"].get(who)) for who in WHO]
        gain = _cell(figures.get("less_detector", {}).get("both"), signed=True)
        lines.append(f"| {title} | {figures['broken']} / {figures['whole']} | " + " | ".join(cells) + f" | {gain} |")
    lines += ["", "| the highest bone is the broken one | films | share | by chance |", "|---" * 4 + "|"]
    for who, place in [(who + kind, place) for kind, s in subsets.items() if s for who, place in s["place"].items()]:
        chance = "" if place["by_chance"] is None else f"{place['by_chance']:.3f}"
        lines.append(f"| {who} | {place['films']} | {_cell(place['right'])} | {chance} |")
    return "\n".join(lines) + "\n"


def _cell(said: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    if said is None or said["value"] is None or None in said["interval"]:
        return ""
    low, high = said["interval"]
    return f"{said['value']:{'+' if signed else ''}.3f} ({low:.3f} to {high:.3f})"
