"""What became of each picture at the cut `doubt`, the worst misses and false alarms, and their pictures small.

A hit is a box at or above the cut that points at a fracture: it overlaps the truth by at least 0.3 (`HIT_IOU`). That is
less than the 0.5 of average precision, for a person who looks at the box sees the fracture.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from osteon.errors import InvalidImage
from osteon.evaluation.detection import Judged
from osteon.evaluation.operating_points import HIT_IOU
from osteon.evaluation.records import Facts
from osteon.files import read
from osteon.geometry import iou

Outcome = Literal["hit", "elsewhere", "silent", "false alarm", "quiet"]
THUMB_PX = 560
_QUALITY = 78


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture and what became of it.

    Attributes:
        judged: boxes and truth.
        facts: body part, views, size.
        outcome: hit; elsewhere: fractured, and called, but no box points at a fracture; silent: fractured, nothing
            reaches the cut; false alarm; quiet: normal, and nothing reaches the cut.
        best: the picture's highest score.
        on_target: the highest score of a box that points at a fracture; 0 where there is none.
    """

    judged: Judged
    facts: Facts
    outcome: Outcome
    best: float
    on_target: float


def seen(judged: Judged, facts: Facts, *, cut: float) -> Seen:
    """What became of a picture."""
    overlaps = iou(judged.found.boxes_xyxy_px, judged.truth_xyxy_px).max(axis=1, initial=0.0)
    pointing = overlaps >= np.float32(HIT_IOU)
    on_target = float(judged.found.scores[pointing].max(initial=0.0))
    called = judged.found.best >= cut
    outcome: Outcome
    if judged.fractured:
        shown = bool((judged.found.shown(cut) & pointing).any())
        outcome = "hit" if shown else ("elsewhere" if called else "silent")
    else:
        outcome = "false alarm" if called else "quiet"
    return Seen(judged, facts, outcome, judged.found.best, on_target)


def worst_misses(pictures: Sequence[Seen]) -> list[Seen]:
    """Fractured pictures on which no box points at a fracture at the cut: the least score on target first."""
    missed = [p for p in pictures if p.outcome in ("elsewhere", "silent")]
    return sorted(missed, key=lambda p: (p.on_target, p.best, p.judged.name))


def worst_alarms(pictures: Sequence[Seen]) -> list[Seen]:
    """Normal pictures that are called, the highest score first."""
    return sorted((p for p in pictures if p.outcome == "false alarm"), key=lambda p: (-p.best, p.judged.name))


def some_hits(pictures: Sequence[Seen], count: int) -> list[Seen]:
    """Hits from the surest to the least sure, evenly taken."""
    hits = sorted((p for p in pictures if p.outcome == "hit"), key=lambda p: (-p.on_target, p.judged.name))
    if len(hits) <= count:
        return hits
    return [hits[i] for i in np.linspace(0, len(hits) - 1, count).round().astype(int)]


def listed(picture: Seen) -> dict[str, Any]:
    """A row of a list of misses or false alarms, as JSON."""
    return {
        "name": picture.judged.name,
        "body_part": picture.facts.body_part,
        "views": list(picture.facts.views),
        "hardware": picture.facts.hardware,
        "fractures": len(picture.judged.truth_xyxy_px),
        "outcome": picture.outcome,
        "best_score": picture.best,
        "score_on_fracture": picture.on_target,
    }


@dataclass(frozen=True)
class Tile:
    """A picture of the gallery.

    Attributes:
        name: of the picture.
        note: what to say below it.
        image: data URL of a small JPEG; "" where the picture cannot be read any more.
        height_px: of the picture as the boxes have it.
        width_px: likewise.
        truth: boxes (x, y, width, height).
        found: boxes with score and grade ("fracture" or "doubt"), the least sure first, so the surest lies on top.
    """

    name: str
    note: str
    image: str
    height_px: int
    width_px: int
    truth: tuple[tuple[float, float, float, float], ...]
    found: tuple[tuple[float, float, float, float, float, str], ...]


def tile(picture: Seen, path: Path, cuts: Mapping[str, float]) -> Tile:
    """The picture small, with its boxes at or above `doubt`."""
    judged = picture.judged
    shown = judged.found.scores >= np.float32(cuts["doubt"])
    found = [
        (*_corner_and_size(box), round(float(score), 2), "fracture" if score >= cuts["fracture"] else "doubt")
        for box, score in zip(judged.found.boxes_xyxy_px[shown], judged.found.scores[shown], strict=True)
    ]
    truth = tuple(_corner_and_size(box) for box in judged.truth_xyxy_px)
    facts = picture.facts
    return Tile(judged.name, note(picture), thumb(path), facts.height_px, facts.width_px, truth, tuple(found[::-1]))


def _corner_and_size(box: Sequence[float] | np.ndarray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in box)
    return round(x0, 1), round(y0, 1), round(x1 - x0, 1), round(y1 - y0, 1)


def note(picture: Seen) -> str:
    """A line on a picture: what it shows and how sure the model was."""
    what = ", ".join(word for word in (picture.facts.body_part, *picture.facts.views) if word)
    if picture.outcome == "hit":
        said = f"on the fracture {picture.on_target:.2f}"
    elif picture.outcome == "elsewhere":
        said = f"points elsewhere ({picture.best:.2f}); on the fracture {picture.on_target:.2f}"
    else:
        said = f"best score {picture.best:.2f}"
    return f"{what}; {said}" if what else said


def thumb(path: Path) -> str:
    """The file's first picture as a data URL: JPEG, long side up to 560 px; "" where it cannot be read."""
    try:
        pixels = read(path)[0].as_uint8()
    except InvalidImage:
        return ""
    scale = min(1.0, THUMB_PX / max(pixels.shape))
    if scale < 1:
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
