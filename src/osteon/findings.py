"""What Osteon found on one radiograph: bone evidence, decision, fractures; and its JSON (interfaces.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import Language, Third, place_of, suspected
from osteon.geometry import shared_px

SCHEMA_VERSION = 1

Grade = Literal["fracture", "doubt"]
GRADES: tuple[Grade, ...] = ("fracture", "doubt")
"""The graver first."""
Decision = Literal["fracture", "doubt", "no_fracture", "not_a_radiograph"]
BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoneEvidence:
    """The gate's answer: is there bone, how much of the picture, how sure.

    Attributes:
        present: area and confidence both reach the gate's operating point.
        area_fraction: share of the picture's pixels that are bone, 0 to 1.
        confidence: mean bone probability over the pixels called bone, 0 to 1; 0 where there are none.
        probability_map: (h, w) float32 bone probability over the picture, on the gate's coarser grid.
    """

    present: bool
    area_fraction: float
    confidence: float
    probability_map: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The `bone` object of the JSON; numbers rounded to 4 places."""
        return {
            "present": self.present,
            "area_fraction": round(self.area_fraction, 4),
            "confidence": round(self.confidence, 4),
        }


@dataclass(frozen=True)
class Damage:
    """How likely a bone is broken, or any bone of a film, where each bone was judged by itself.

    Attributes:
        score: the judge's own, 0 to 1; of a film that of its most damaged bone.
        probability: of a fracture, by judge and detector together, calibrated; None where the judge's card does not
            join it with this detector.
    """

    score: float
    probability: float | None

    def to_json(self) -> dict[str, Any]:
        """A `damage` object of the JSON; numbers rounded to 4 places."""
        told = None if self.probability is None else round(self.probability, 4)
        return {"score": round(self.score, 4), "probability": told}


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone (or implant) of a radiograph, complete where others overlap it.

    Attributes:
        label: a key of `anatomy.BONES`.
        score: the model's, 0 to 1.
        box_xyxy_px: its box in image pixels.
        corner_xy_px: the image pixel that the mask's upper left pixel is.
        mask: (h, w) bool, the part of the picture that holds the bone; perhaps 0 pixels large.
        area_px: pixels of the mask that are bone; counted where it is not given.
        damage: how likely it is broken, where that was asked; never of metal.
    """

    label: str
    score: float
    box_xyxy_px: BoxXyxy
    corner_xy_px: tuple[int, int]
    mask: NDArray[np.bool_] = field(repr=False)
    area_px: int = -1
    damage: Damage | None = None

    def __post_init__(self) -> None:
        if self.area_px < 0:
            object.__setattr__(self, "area_px", int(np.count_nonzero(self.mask)))

    def on(self, height_px: int, width_px: int) -> NDArray[np.bool_]:
        """(height_px, width_px) bool mask of the whole picture; what lies beyond its border is cut off."""
        whole = np.zeros((height_px, width_px), np.bool_)
        x, y = self.corner_xy_px
        height, width = self.mask.shape
        rows, columns = slice(max(y, 0), max(y + height, 0)), slice(max(x, 0), max(x + width, 0))
        seen = whole[rows, columns]
        up, left = max(-y, 0), max(-x, 0)
        seen[:] = self.mask[up : up + seen.shape[0], left : left + seen.shape[1]]
        return whole

    def iou(self, other: "Bone") -> float:
        """Intersection over union of two masks of one picture; 0 where both are empty."""
        shared = shared_px(self.mask, self.corner_xy_px, other.mask, other.corner_xy_px)
        return shared / max(self.area_px + other.area_px - shared, 1)

    def to_json(self) -> dict[str, Any]:
        """An object of `bones`; pixels rounded to 1 place, the score to 4."""
        return {
            "label": self.label,
            "score": round(self.score, 4),
            "box_xyxy_px": [round(v, 1) for v in self.box_xyxy_px],
            "area_px": self.area_px,
            **({"damage": self.damage.to_json()} if self.damage else {}),
        }


@dataclass(frozen=True)
class Anchor:
    """The bone that a fracture's box lies on.

    Attributes:
        label: a key of `anatomy.BONES`; None where it is not clear which, or the box lies on none.
        overlap: share of the bone within the box that belongs to this label, 0 to 1, the box's middle counting most.
        confidence: by how much the label leads before the next, weighted by the bones' scores, 0 to 1.
        third: of the bone's shaft, where it can be told.
        outside: bones were found, and the box lies on none of them.
    """

    label: str | None
    overlap: float
    confidence: float
    third: Third | None = None
    outside: bool = False

    def text(self, language: Language) -> str:
        """The finding in words."""
        return suspected(self.label, self.third, language, outside=self.outside)

    def place(self, language: Language) -> str:
        """The bone and its third in words; '' where the bone is not clear."""
        return place_of(self.label, self.third, language) if self.label else ""

    def to_json(self) -> dict[str, Any]:
        """What it adds to an object of `fractures`; numbers rounded to 4 places."""
        return {
            "bone": self.label,
            "bone_overlap": round(self.overlap, 4),
            "bone_confidence": round(self.confidence, 4),
            "bone_third": self.third,
            "outside_bone": self.outside,
            "text": {"en": self.text("en"), "ru": self.text("ru")},
        }


@dataclass(frozen=True)
class Suspicion:
    """What the detector says of the whole picture, by all that it saw on it.

    Attributes:
        score: on the scale of the boxes' scores, 0 to 1; it decides, not the best box.
        probability: that the picture shows a fracture, calibrated; None where the model's card has no curve.
    """

    score: float
    probability: float | None

    def to_json(self) -> dict[str, Any]:
        """The `suspicion` object of the JSON; numbers rounded to 4 places."""
        told = None if self.probability is None else round(self.probability, 4)
        return {"score": round(self.score, 4), "probability": told}


@dataclass(frozen=True)
class Fracture:
    """A box around a suspected fracture, in image pixels.

    `score` is the detector's raw output, `probability` its calibrated meaning; `grade` is the highest operating
    point that the score reaches on a picture that reaches it (its best box stands for it where no score does), None
    for a mere candidate; `anchor` the bone that it lies on, where
    bones were asked for.
    """

    box_xyxy_px: BoxXyxy
    score: float
    probability: float
    grade: Grade | None
    anchor: Anchor | None = None

    def to_json(self) -> dict[str, Any]:
        """An object of `fractures`; pixels rounded to 1 place, numbers to 4."""
        return {
            "box_xyxy_px": [round(v, 1) for v in self.box_xyxy_px],
            "score": round(self.score, 4),
            "probability": round(self.probability, 4),
            "grade": self.grade,
            **(self.anchor.to_json() if self.anchor else {}),
        }


@dataclass(frozen=True)
class ModelRef:
    """Which model spoke: name, version, and the sha256 of its file."""

    name: str
    version: str
    sha256: str

    def to_json(self) -> dict[str, str]:
        """An object of `models`."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}


@dataclass(frozen=True)
class Findings:
    """Everything Osteon says of one radiograph.

    `fractures` are the boxes that have a grade; `candidates` the others that reach `min_score`, or the cut `doubt`.
    `suspicion` is the detector's word on the whole picture, where it has one; the decision is by it. `timing_ms` has
    `read`, `gate`, `detect`, `bones` and `judge` (where they ran) and `total`, in milliseconds. `bones` are the single
    bones, best score first, found by the model `instances`; None where nobody asked for them. `damage` is a second
    opinion on the whole picture, by each of these bones and the detector together; the decision stays the detector's.
    The model `judge` gave it; both are None where none is installed, or no bone was found.
    """

    source: str
    sha256: str
    height_px: int
    width_px: int
    bone: BoneEvidence
    decision: Decision
    fractures: tuple[Fracture, ...]
    gate: ModelRef
    detector: ModelRef | None
    timing_ms: Mapping[str, float] = field(compare=False)
    candidates: tuple[Fracture, ...] = ()
    suspicion: Suspicion | None = None
    bones: tuple[Bone, ...] | None = field(default=None, compare=False)
    instances: ModelRef | None = None
    damage: Damage | None = None
    judge: ModelRef | None = None

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object; `candidates` only where there are any, `bones` only where asked for."""
        value: dict[str, Any] = {
            "source": self.source,
            "sha256": self.sha256,
            "height_px": self.height_px,
            "width_px": self.width_px,
            "bone": self.bone.to_json(),
            "decision": self.decision,
            "fractures": [fracture.to_json() for fracture in self.fractures],
            "models": {
                "gate": self.gate.to_json(),
                "detector": self.detector.to_json() if self.detector else None,
            },
            "timing_ms": {name: round(ms, 1) for name, ms in self.timing_ms.items()},
        }
        if self.suspicion:
            value["suspicion"] = self.suspicion.to_json()
        if self.candidates:
            value["candidates"] = [candidate.to_json() for candidate in self.candidates]
        if self.bones is not None:
            value["bones"] = [bone.to_json() for bone in self.bones]
            value["models"]["bones"] = self.instances.to_json() if self.instances else None
        if self.damage:
            value["damage"] = self.damage.to_json()
            value["models"]["bone_judge"] = self.judge.to_json() if self.judge else None
        return value


@dataclass(frozen=True)
class Failure:
    """A file that could not be analysed, and why."""

    source: str
    type: str
    message: str
    hint: str

    def to_json(self) -> dict[str, str]:
        """An object of `errors`."""
        return {"source": self.source, "type": self.type, "message": self.message, "hint": self.hint}


def document(findings: Sequence[Findings], failures: Sequence[Failure] = ()) -> dict[str, Any]:
    """The JSON document of `osteon predict`: findings and errors, in the order of the input."""
    return {
        "schema_version": SCHEMA_VERSION,
        "findings": [finding.to_json() for finding in findings],
        "errors": [failure.to_json() for failure in failures],
    }
