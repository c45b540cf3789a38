"""What the service answers, as values. A field that this version does not know is ignored; boxes are [x0, y0, x1, y1].

Coordinates are pixels of the image as a person sees it. `score` is the detector's raw output, `probability` calibrated.
"""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from osteon.errors import OsteonError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Decision = Literal["fracture", "doubt", "no_fracture", "not_a_radiograph"]
Verdict = Literal["fracture", "no_fracture", "unsure", "unusable"]
BoxStatus = Literal["accepted", "rejected", "redrawn", "added"]
Box = tuple[float, float, float, float]
Json = Mapping[str, Any]

_FINISHED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Bone:
    """The gate's evidence: shares of the picture and of certainty, 0 to 1."""

    present: bool
    area_fraction: float
    confidence: float


@dataclass(frozen=True)
class Fracture:
    """A box around a suspected fracture; `grade` is `fracture`, `doubt` or None.

    Once bones were found: `bone` is the label of the one it lies on, None where that is not clear, and `text` says so
    by language (`en`, `ru`); '{}' before.
    """

    box_xyxy_px: Box
    score: float
    probability: float
    grade: str | None = None
    bone: str | None = None
    bone_overlap: float = 0.0
    bone_confidence: float = 0.0
    bone_third: str | None = None
    outside_bone: bool = False
    text: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Json) -> Self:
        """From the service's JSON."""
        return _known(cls, value, box_xyxy_px=_box(value["box_xyxy_px"]))


@dataclass(frozen=True)
class Damage:
    """How likely a bone is broken, or any bone of a page, where each bone was judged by itself.

    Attributes:
        score: the judge's own; of a page that of its most damaged bone.
        probability: of a fracture, by judge and detector together; None where these two were not joined.
    """

    score: float
    probability: float | None = None

    @classmethod
    def of(cls, value: Json) -> Self | None:
        """From the `damage` of a bone or a page; None where nothing was judged."""
        return _known(cls, value["damage"]) if value.get("damage") else None


@dataclass(frozen=True)
class SingleBone:
    """A bone (or implant), complete where others overlap it.

    Attributes:
        label: such as `radius`; `bone` of a model that names none.
        score: the model's, 0 to 1.
        names: by language, `en` and `ru`; empty in findings.
        outlines: [x0, y0, x1, y1, ...] of each of its parts; empty in findings.
        page: from 1.
        damage: None where it was not judged.
    """

    label: str
    score: float
    box_xyxy_px: Box
    area_px: int
    names: Mapping[str, str] = field(default_factory=dict)
    outlines: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    page: int = 1
    damage: Damage | None = None

    @classmethod
    def of(cls, value: Json) -> Self:
        """From a row of the findings' `bones`."""
        return _known(cls, value, box_xyxy_px=_box(value["box_xyxy_px"]), damage=Damage.of(value))

    @classmethod
    def of_annotation(cls, value: Json, categories: Mapping[int, Json]) -> Self:
        """From a row of COCO's `annotations`."""
        x, y, width, height = value["bbox"]
        return cls(
            label=value["label"],
            score=value["score"],
            box_xyxy_px=_box([x, y, x + width, y + height]),
            area_px=value["area"],
            names=categories[value["category_id"]]["names"],
            outlines=tuple(tuple(part) for part in value["segmentation"]),
            page=value["image_id"],
            damage=Damage.of(value),
        )


@dataclass(frozen=True)
class Model:
    """Which model spoke."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Findings:
    """Everything the service says of one page; `detector` is None where the gate ended the work.

    `bones` is None until somebody asked for them and they were found; `damage`, a second opinion on the whole page by
    these bones and the detector, until these were judged.
    """

    source: str
    sha256: str
    height_px: int
    width_px: int
    bone: Bone
    decision: Decision
    fractures: tuple[Fracture, ...]
    gate: Model
    detector: Model | None
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    bones: tuple[SingleBone, ...] | None = None
    damage: Damage | None = None

    @classmethod
    def of(cls, value: Json) -> Self:
        """From the service's JSON."""
        models = value["models"]
        return _known(
            cls,
            value,
            bone=_known(Bone, value["bone"]),
            fractures=tuple(Fracture.of(one) for one in value["fractures"]),
            gate=_known(Model, models["gate"]),
            detector=_known(Model, models["detector"]) if models.get("detector") else None,
            bones=tuple(SingleBone.of(one) for one in value["bones"]) if "bones" in value else None,
            damage=Damage.of(value),
        )


@dataclass(frozen=True)
class Failure:
    """Why a file could not be taken or analysed; `source` is its name, '' of an analysis."""

    type: str
    message: str
    hint: str
    source: str = ""


@dataclass(frozen=True)
class Analysis:
    """An analysis as it stood when the service answered.

    Attributes:
        progress: 0 to 1.
        decision: the gravest of all pages; None until it succeeded.
        pages: the findings of each page; empty until it succeeded, and in lists.
        links: addresses of its pictures and reports, by name.
        study: what it was grouped by; '' for none.
    """

    id: str
    status: Status
    progress: float = 0.0
    name: str = ""
    size_bytes: int = 0
    created_at: datetime | None = None
    finished_at: datetime | None = None
    decision: Decision | None = None
    page_count: int = 0
    error: Failure | None = None
    pages: tuple[Findings, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    study: str = ""
    seen: bool = False

    @classmethod
    def of(cls, value: Json) -> Self:
        """From the service's JSON."""
        return _known(
            cls,
            value,
            created_at=_moment(value.get("created_at")),
            finished_at=_moment(value.get("finished_at")),
            error=_known(Failure, value["error"]) if value.get("error") else None,
            pages=tuple(Findings.of(page) for page in value.get("pages") or ()),
            study=value.get("study") or "",
        )

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in _FINISHED

    @property
    def findings(self) -> Findings | None:
        """Of the first page; None until it succeeded."""
        return self.pages[0] if self.pages else None


@dataclass(frozen=True)
class Bones:
    """The bones of an analysis as they stood when the service answered; none before `status` is succeeded."""

    status: Status
    bones: tuple[SingleBone, ...] = ()
    error: Failure | None = None

    @classmethod
    def of(cls, value: Json) -> Self:
        """From the service's JSON."""
        categories = {one["id"]: one for one in value["categories"]}
        return cls(
            value["status"],
            tuple(SingleBone.of_annotation(one, categories) for one in value["annotations"]),
            _known(Failure, value["error"]) if value.get("error") else None,
        )

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen unless somebody asks again."""
        return self.status in _FINISHED


@dataclass(frozen=True)
class Accepted:
    """What came of a file with several images: an analysis each, and those that were not taken."""

    analyses: tuple[Analysis, ...]
    errors: tuple[Failure, ...] = ()

    @classmethod
    def of(cls, value: Json) -> Self:
        """From the service's JSON."""
        return cls(
            tuple(Analysis.of(one) for one in value["analyses"]),
            tuple(_known(Failure, one) for one in value.get("errors") or ()),
        )


@dataclass(frozen=True)
class Preview:
    """What the gate makes of a picture.

    Attributes:
        wanted: whether the full-size image is worth sending.
        reason: why not: no_bone, small_area or low_confidence.
        mask_png: RGBA picture to lay over the preview, coarser than it.
    """

    bone: Bone
    wanted: bool
    reason: str | None
    gate: Model
    mask_png: bytes = field(default=b"", repr=False)
    timing_ms: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Json) -> Self:
        """From the service's JSON."""
        mask = b64decode(str(value.get("mask") or "").partition(",")[2])
        gate = _known(Model, value["models"]["gate"])
        return _known(cls, value, bone=_known(Bone, value["bone"]), gate=gate, mask_png=mask)


@dataclass(frozen=True)
class BoxAnswer:
    """What a reader makes of one box; `of` is its place in the findings, from 0, None of an added one."""

    box_xyxy_px: Box
    status: BoxStatus
    of: int | None = None


@dataclass(frozen=True)
class Answer:
    """A reader's answer to one page (from 1); `id`, `author` and `created_at` are the service's."""

    page: int
    verdict: Verdict
    comment: str = ""
    boxes: tuple[BoxAnswer, ...] = ()
    id: str = ""
    author: str = ""
    created_at: datetime | None = None

    @classmethod
    def of(cls, value: Json) -> Self:
        """From the service's JSON."""
        boxes = tuple(_known(BoxAnswer, box, box_xyxy_px=_box(box["box_xyxy_px"])) for box in value.get("boxes") or ())
        return _known(
            cls, value, boxes=boxes, created_at=_moment(value.get("created_at")), id=str(value.get("id") or "")
        )


@dataclass(frozen=True)
class Sent:
    """What came of one file of a folder: the analyses (several of an archive), or the error."""

    path: Path
    analyses: tuple[Analysis, ...] = ()
    error: OsteonError | None = None


def _known(kind: "type[Record]", value: Json, **made: Any) -> "Record":
    """The record with those of the value's fields that it knows."""
    names = {one.name for one in fields(kind)}
    return kind(**({name: one for name, one in value.items() if name in names} | made))


def _box(value: Any) -> Box:
    x0, y0, x1, y1 = (float(one) for one in value)
    return x0, y0, x1, y1


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
