"""The card of a model: what it is, what it needs, how far it can be trusted. It rides inside the ONNX file.

No card, no load. The card is JSON under the metadata key `osteon.card`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from osteon.errors import ModelMismatch

METADATA_KEY = "osteon.card"

Task = Literal["gate", "detector", "bones", "bone-judge"]
Layout = Literal["osteon", "yolo", "yolo-nms"]
"""What goes in and comes out; see `layouts`."""


@dataclass(frozen=True)
class OperatingPoint:
    """A cut chosen on validation, and what it gave there.

    Attributes:
        threshold: least raw score (for the gate's `area_fraction` and `confidence`: least value).
        measured: figures on the validation part at this cut, e.g. sensitivity and specificity by image.
    """

    threshold: float
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """Raw score -> probability: a logistic curve over the score's logit (Platt 1999), fitted on validation."""

    slope: float
    intercept: float

    def probability(self, score: float) -> float:
        """The probability that a box of this score is a fracture.

        >>> Calibration(slope=1.0, intercept=0.0).probability(0.25)
        0.25
        """
        inside = min(max(score, 1e-6), 1 - 1e-6)
        return round(1 / (1 + math.exp(-(self.slope * math.log(inside / (1 - inside)) + self.intercept))), 6)


@dataclass(frozen=True)
class PictureScale:
    """How suspicious a picture is as a whole: by the sum of the scores of all of a detector's points, none cut off.

    The score is a logistic curve over the sum's logarithm. It is drawn so that the card's cuts of boxes, `fracture` and
    `doubt`, stand where the picture's specificity and sensitivity are wanted; so a picture is graded by the cuts of its
    boxes. Many weak suspicions count as much as a strong one: the best score is one of thousands, and often chance.

    Attributes:
        slope: of the score's logit over the logarithm of the sum.
        intercept: likewise.
        calibration: picture's score -> probability that it shows a fracture.
    """

    slope: float
    intercept: float
    calibration: Calibration | None = None

    def score(self, mass: float) -> float:
        """The picture's score, in (0, 1).

        >>> PictureScale(slope=2.0, intercept=0.0).score(1.0)
        0.5
        """
        logit = self.slope * math.log(max(mass, 1e-9)) + self.intercept
        return 1 / (1 + math.exp(-min(max(logit, -50.0), 50.0)))


@dataclass(frozen=True)
class Card:
    """What a reader and the pipeline must know of a model.

    Attributes:
        name: e.g. "osteon-gate".
        task: gate, detector or bones (single bones; see `bones`).
        version: of the release.
        arch: architecture and starting weights, in words.
        side_px: side of the square input, (1, 1, side_px, side_px) float32 in [0, 1] from `preprocess.letterbox`.
        labels: what the outputs stand for.
        operating_points: gate: `area_fraction` and `confidence`; detector: `fracture` and `doubt`; bones: `bone`.
        licence: SPDX name of the weights' licence.
        training_data: what it was trained on, and where that comes from.
        split_hash: of the split that it was trained and validated on.
        metrics: figures on the validation part.
        iou_threshold: of non-maximum suppression (detectors).
        calibration: score -> probability (detectors).
        settings: every training setting in force.
        limits: what it is not for.
        layout: of input and output, for detectors of others.
        cross_validation: figures of the recipe over all folds, each picture judged by the model that did not see it,
            with 95% intervals; see `osteon.evaluation.adoption`. Where there are such, cuts and calibration are theirs.
        picture: (detectors) how a whole picture is scored; None: by its best box.
        outside_demotes: (bones) a fracture that lies on none of the bones found loses a grade.
    """

    name: str
    task: Task
    version: str
    arch: str
    side_px: int
    labels: tuple[str, ...]
    operating_points: Mapping[str, OperatingPoint]
    licence: str
    training_data: str
    split_hash: str
    metrics: Mapping[str, float]
    iou_threshold: float = 0.5
    calibration: Calibration | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    limits: str = "Decision support for research. Not a medical device; not for diagnosis."
    layout: Layout = "osteon"
    picture: PictureScale | None = None
    outside_demotes: bool = False
    cross_validation: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The card as it stands in the file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """A card from the file; raises ModelMismatch where something is missing or of a wrong kind."""
        try:
            value = json.loads(text)
            points = {name: OperatingPoint(**point) for name, point in value.pop("operating_points").items()}
            calibration, picture = value.pop("calibration"), value.pop("picture", None)
            _check_kinds(value, points)
            return cls(
                **value | {"labels": tuple(value["labels"])},
                operating_points=points,
                calibration=Calibration(**calibration) if calibration else None,
                picture=picture_scale(picture) if picture else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelMismatch(
                f"the model's card cannot be read ({type(error).__name__})",
                hint="export the checkpoint again with `osteon export`",
            ) from error

    def cut(self, name: str) -> float:
        """The threshold of an operating point; raises ModelMismatch where the card has none of this name."""
        if name not in self.operating_points:
            known = ", ".join(self.operating_points) or "none"
            raise ModelMismatch(
                f"{self.name} has no operating point '{name}' (it has: {known})",
                hint="choose operating points with `osteon evaluate` and export again",
            )
        return self.operating_points[name].threshold


def picture_scale(value: Mapping[str, Any]) -> PictureScale:
    """A scale from its JSON; raises TypeError or AttributeError where it is none."""
    fitted = value.get("calibration")
    return PictureScale(**{**value, "calibration": Calibration(**fitted) if fitted else None})


def _check_kinds(value: Mapping[str, Any], points: Mapping[str, OperatingPoint]) -> None:
    """Raise TypeError where a number, text or list that inference relies on is of another kind."""
    if type(value["side_px"]) is not int or value["side_px"] < 1:
        raise TypeError("side_px")
    if not isinstance(value["labels"], list) or value["task"] not in get_args(Task):
        raise TypeError("labels or task")
    if value.get("layout", "osteon") not in get_args(Layout):
        raise TypeError("layout")
    numbers = [point.threshold for point in points.values()] + [value.get("iou_threshold", 0.5)]
    if not all(type(number) in (int, float) for number in numbers):
        raise TypeError("a threshold")
