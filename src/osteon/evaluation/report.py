"""A detector judged on a data set, as a report that a clinic can read before it uses the model: JSON and one HTML file.

The page is self-contained: charts are inline SVG, pictures are inside, nothing is loaded from anywhere. It therefore
shows the data set's pictures and file names, and belongs where the data set belongs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from osteon.datasets.case import Manifest
from osteon.errors import ConfigurationError, InvalidDataset
from osteon.evaluation import charts, gallery, groups
from osteon.evaluation.bootstrap import Interval, intervals
from osteon.evaluation.calibration import LEAST_SHOWN, bins_to_json, goodness, reliability
from osteon.evaluation.detection import Judged, summary
from osteon.evaluation.gallery import Seen, Tile
from osteon.evaluation.judge import truth_known
from osteon.evaluation.operating_points import at_cut, box_outcomes
from osteon.evaluation.page import html
from osteon.evaluation.plain import plain
from osteon.evaluation.records import Records
from osteon.findings import ModelRef
from osteon.inference.card import Card

SCHEMA_VERSION = 1
NAMES = ("report.json", "report.html")


@dataclass(frozen=True, eq=False)
class Subject:
    """What is judged: a model with its card, on the cases of a data set, with the boxes that it found there."""

    card: Card
    ref: ModelRef
    manifest: Manifest
    records: Records


def document(subject: Subject, *, samples: int = 1000) -> dict[str, Any]:
    """The report as JSON: figures with 95% intervals, groups, calibration, curves, worst cases, warnings.

    Raises:
        InvalidDataset: no picture whose truth is known could be read.
        ModelMismatch: the model's card has no operating points.
    """
    judged = subject.records.judged(scale=subject.card.picture)
    if not judged:
        raise InvalidDataset(
            "no picture of this set can be judged",
            hint="pictures need boxes or polygons of fractures, or the word that they are normal; see docs/data.md",
        )
    cuts = {name: subject.card.cut(name) for name in ("fracture", "doubt")}
    figures, sure = summary(judged), intervals(judged, samples=samples, cuts=cuts)
    points = {name: _point(judged, name, cut, sure) for name, cut in cuts.items()}
    pictures = look(subject, judged)
    return {
        "schema_version": SCHEMA_VERSION,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": _model(subject),
        "data": _data(subject, judged),
        "too_small": _too_small(judged, points, figures, sure),
        "remarks": remarks(subject),
        "figures": figures,
        "intervals": {name: _ends(sure[name]) for name in figures},
        "operating_points": points,
        "calibration": _calibration(subject.card, judged),
        "groups": [groups.figures(group, cuts) for group in groups.groups(subject.records.pictures, judged)],
        "curves": charts.points(judged),
        "outcomes": {name: sum(p.outcome == name for p in pictures) for name in _OUTCOMES},
        "misses": [gallery.listed(p) for p in gallery.worst_misses(pictures)],
        "false_alarms": [gallery.listed(p) for p in gallery.worst_alarms(pictures)],
    }


_OUTCOMES = ("hit", "elsewhere", "silent", "false alarm", "quiet")


def look(subject: Subject, judged: Sequence[Judged]) -> list[Seen]:
    """What became of each picture at the cut `doubt`."""
    cut = subject.card.cut("doubt")
    pairs = zip(judged, subject.records.pictures, strict=True)
    return [gallery.seen(picture, record.facts, cut=cut) for picture, record in pairs]


def write_report(subject: Subject, folder: Path, *, samples: int = 1000, pictures: int = 12) -> dict[str, Any]:
    """Write report.json and report.html, and give the document.

    Args:
        subject: model, data and boxes.
        folder: made where it is not there.
        samples: of the bootstrap.
        pictures: of each kind in the gallery; 0: none.

    Raises:
        ConfigurationError: the files cannot be written.
    """
    found = document(subject, samples=samples)
    shelves = tiles(subject, pictures) if pictures else {}
    texts = (json.dumps(plain(found), indent=1, ensure_ascii=False) + "\n", html(found, shelves))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(NAMES, texts, strict=True):
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the report: {error.strerror}", hint="choose a folder that you may write to"
        ) from error
    return found


def tiles(subject: Subject, count: int) -> dict[str, list[Tile]]:
    """The gallery: up to `count` misses, false alarms and hits, read from their files again."""
    seen = look(subject, subject.records.judged(scale=subject.card.picture))
    shelves = {
        "misses": gallery.worst_misses(seen)[:count],
        "false alarms": gallery.worst_alarms(seen)[:count],
        "hits": gallery.some_hits(seen, count),
    }
    paths = {case.name: case.path for case in subject.manifest}
    cuts = {name: subject.card.cut(name) for name in ("fracture", "doubt")}
    return {
        name: [gallery.tile(picture, paths[picture.judged.name], cuts) for picture in chosen]
        for name, chosen in shelves.items()
    }


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _point(judged: Sequence[Judged], name: str, cut: float, sure: Mapping[str, Interval]) -> dict[str, Any]:
    """A cut: figures by picture and by box with their intervals."""
    figures = at_cut(judged, cut)
    ends = {figure: sure[f"{name}.{figure}"] for figure in figures}
    alarms = sum(int(p.found.shown(cut).sum()) for p in judged if not p.fractured)
    figures["boxes_on_a_normal_picture"] = alarms / max(1, sum(not p.fractured for p in judged))
    return {"threshold": cut, "figures": figures, "intervals": {figure: _ends(ends[figure]) for figure in ends}}


def _too_small(
    judged: Sequence[Judged], points: Mapping[str, Any], figures: Mapping[str, float], sure: Mapping[str, Interval]
) -> list[str]:
    counted = {"sensitivity": points["doubt"], "specificity": points["fracture"]}
    known = {name: Interval(*point["intervals"][name]) for name, point in counted.items()}
    known |= {name: sure[name] for name in ("auroc", "map50")}
    values = {name: point["figures"][name] for name, point in counted.items()} | dict(figures)
    fractured = sum(p.fractured for p in judged)
    return groups.too_small(fractured, len(judged) - fractured, known, values)


def remarks(subject: Subject) -> list[str]:
    """What a reader must know before believing the figures."""
    card, origin = subject.card, subject.records.origin
    said = []
    if origin.split_hash and origin.split_hash == card.split_hash:
        if origin.part == "valid":
            said.append(
                "The model's cuts, calibration and best epoch were chosen on these pictures: the figures are a little "
                "too good."
            )
        elif origin.part == "train":
            said.append("The model was trained on these pictures: the figures say nothing about others.")
    elif subject.manifest.name and subject.manifest.name.lower() in card.training_data.lower():
        theirs = f"The model was trained on pictures of a set called {subject.manifest.name}"
        said.append(
            f"{theirs}, by split {card.split_hash}; these are part {origin.part} of split {origin.split_hash}. "
            "Make sure that none of them was trained on."
            if origin.split_hash
            else f"{theirs}. Unless these were kept apart, the figures are too good; give the split file."
        )
    turned_away = [r for r in subject.records.pictures if r.shows_bone is False]
    if turned_away:
        fractured = sum(r.judged.fractured for r in turned_away)
        said.append(
            f"The gate turns away {len(turned_away)} of {len(subject.records.pictures)} pictures ({fractured} of them "
            "fractured): in use the detector would not see them. Figures here are the detector's alone."
        )
    left_out = len(subject.manifest) - len(subject.records.pictures)
    if left_out:
        unknown = sum(not truth_known(case) for case in subject.manifest)
        said.append(
            f"{left_out} of {len(subject.manifest)} pictures are left out: of {unknown} nobody said where the "
            f"fractures are or that there are none, {left_out - unknown} cannot be read."
        )
    return said


def _model(subject: Subject) -> dict[str, Any]:
    card = subject.card
    return {
        **subject.ref.to_json(),
        "arch": card.arch,
        "side_px": card.side_px,
        "licence": card.licence,
        "training_data": card.training_data,
        "split_hash": card.split_hash,
        "iou_threshold": card.iou_threshold,
        "metrics": dict(card.metrics),
        "limits": card.limits,
    }


def _data(subject: Subject, judged: Sequence[Judged]) -> dict[str, Any]:
    facts = [record.facts for record in subject.records.pictures]
    longer = [max(f.height_px, f.width_px) for f in facts]
    asked = [r.shows_bone for r in subject.records.pictures if r.shows_bone is not None]
    origin = subject.records.origin
    return {
        "name": subject.manifest.name,
        "split": {"hash": origin.split_hash, "part": origin.part} if origin.split_hash else None,
        "cases": len(subject.manifest),
        "pictures": len(judged),
        "fractured": sum(p.fractured for p in judged),
        "normal": sum(not p.fractured for p in judged),
        "fractures": sum(len(p.truth_xyxy_px) for p in judged),
        "long_side_px": [min(longer), int(np.median(longer)), max(longer)],
        "gate": {"asked": len(asked), "turned_away": sum(not bone for bone in asked)} if asked else None,
        "importer": list(subject.manifest.remarks),
    }


def _calibration(card: Card, judged: Sequence[Judged]) -> dict[str, Any] | None:
    scores, hits = box_outcomes(judged)
    if card.calibration is None or not scores.size:
        return None
    probabilities = np.array([card.calibration.probability(float(score)) for score in scores])
    return {
        "curve": asdict(card.calibration),
        "all": goodness(probabilities, hits),
        "shown": goodness(probabilities, hits, least=LEAST_SHOWN),
        "bins": bins_to_json(reliability(probabilities, hits)),
    }
