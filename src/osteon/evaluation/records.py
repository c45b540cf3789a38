"""A detector's boxes on a data set, kept in a file, so that folds, ensembles and variants need no second run.

JSON lines, gzipped where the name ends in `.gz`. The first line is the origin: model, its suppression threshold, least
score, split. Each further line is a picture: its name, every candidate box *before* suppression with its score, best
first (`found`: rows of x0, y0, x1, y1, score), the sum of all points' scores (`mass`; older files lack it), the truth
(`truth`: rows of x0, y0, x1, y1), what is known of it, and whether the gate saw bone on it. Numbers read back as the
float32 that were written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.datasets.case import Case
from osteon.errors import InvalidDataset
from osteon.evaluation.detection import Judged
from osteon.evaluation.record_files import DAMAGED, read_lines, write_lines
from osteon.inference.card import PictureScale
from osteon.inference.postprocess import Detections, suppressed

KIND = "osteon_records"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Facts:
    """What is known of a picture besides its fractures, to tell groups apart; see `Case`."""

    height_px: int
    width_px: int
    body_part: str = ""
    views: tuple[str, ...] = ()
    hardware: bool | None = None
    multiscan: bool | None = None


@dataclass(frozen=True)
class Origin:
    """Whose boxes they are.

    Attributes:
        name: the model's.
        version: likewise.
        sha256: of the model file, or "".
        iou_threshold: at which the model's card has overlapping boxes suppressed.
        min_score: candidates below it were dropped.
        split_hash: of the split that the pictures are from, or "".
        part: of that split, e.g. "fold1".
    """

    name: str
    version: str
    sha256: str
    iou_threshold: float
    min_score: float
    split_hash: str = ""
    part: str = ""


@dataclass(frozen=True, eq=False)
class Record:
    """One picture: candidates beside the truth, facts, and whether the gate saw bone (None: not asked)."""

    judged: Judged
    facts: Facts
    shows_bone: bool | None = None


@dataclass(frozen=True, eq=False)
class Records:
    """All pictures of one model on one part of a data set."""

    origin: Origin
    pictures: tuple[Record, ...]

    def judged(
        self,
        *,
        iou_threshold: float | None = None,
        voting_iou: float | None = None,
        min_score: float = 0.0,
        scale: PictureScale | None = None,
    ) -> list[Judged]:
        """The pictures with suppressed boxes, by default as the model's card has it; see `suppressed`.

        Args:
            scale: by which pictures are scored as a whole, where their mass is known; None: by their best box.
        """
        threshold = self.origin.iou_threshold if iou_threshold is None else iou_threshold
        return [
            Judged(
                name=r.judged.name,
                found=suppressed(
                    replace(_at_least(r.judged.found, min_score), scale=scale),
                    iou_threshold=threshold,
                    voting_iou=voting_iou,
                ),
                truth_xyxy_px=r.judged.truth_xyxy_px,
            )
            for r in self.pictures
        ]


def facts(case: Case, *, height_px: int, width_px: int) -> Facts:
    """What a case tells of its picture, with the size that it was read at."""
    return Facts(height_px, width_px, case.body_part, case.views, case.hardware, case.multiscan)


def write(records: Records, file: Path) -> None:
    """The records as a file, one that was there before replaced only when all is written."""
    write_lines(file, KIND, SCHEMA_VERSION, asdict(records.origin), map(_to_json, records.pictures))


def read(file: Path) -> Records:
    """The records of a file.

    Raises:
        InvalidDataset: unreadable, or no records of this version.
    """
    try:
        head, lines = read_lines(file, KIND, SCHEMA_VERSION)
        return Records(Origin(**head), tuple(_from_json(line) for line in lines))
    except DAMAGED as error:
        raise InvalidDataset(
            f"{file.name} holds no records of a detector", hint="write them with `osteon evaluate detector --records`"
        ) from error


def _at_least(found: Detections, min_score: float) -> Detections:
    kept = found.scores >= np.float32(min_score)
    return replace(found, boxes_xyxy_px=found.boxes_xyxy_px[kept], scores=found.scores[kept])


def _to_json(record: Record) -> dict[str, Any]:
    judged = record.judged
    found = np.hstack([judged.found.boxes_xyxy_px, judged.found.scores[:, None]])
    value: dict[str, Any] = {"name": judged.name, "found": _rows(found), "truth": _rows(judged.truth_xyxy_px)}
    if judged.found.mass is not None:
        value["mass"] = judged.found.mass
    value["facts"] = asdict(record.facts)
    if record.shows_bone is not None:
        value["shows_bone"] = record.shows_bone
    return value


def _rows(values: NDArray[np.float32]) -> list[list[float]]:
    """The shortest decimals that read back as the same float32."""
    return [[float(str(number)) for number in row] for row in values.astype(np.float32)]


def _from_json(value: Mapping[str, Any]) -> Record:
    found, truth = _array(value["found"], 5), _array(value["truth"], 4)
    known = value["facts"]
    return Record(
        Judged(value["name"], Detections(found[:, :4], found[:, 4], value.get("mass")), truth),
        Facts(**known | {"views": tuple(known["views"])}),
        value.get("shows_bone"),
    )


def _array(rows: Sequence[Sequence[float]], width: int) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(len(rows), width)
