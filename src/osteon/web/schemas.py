"""What the HTTP interface answers, as OpenAPI tells it."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field

from osteon.anatomy import Third
from osteon.findings import BoneEvidence, Decision, Grade, ModelRef
from osteon.inference.card import Card
from osteon.service.resumables import Resumable
from osteon.service.store import Analysis, Status, gravest

API = "/api/v1"


class BoneOut(BaseModel):
    """The gate's answer."""

    present: bool = Field(description="area and confidence both reach the gate's cuts")
    area_fraction: float = Field(description="share of the picture that is bone, 0 to 1")
    confidence: float = Field(description="mean bone probability where there is bone, 0 to 1")


class TextOut(BaseModel):
    """A text in both languages."""

    en: str
    ru: str


class FractureOut(BaseModel):
    """A box around a suspected fracture."""

    box_xyxy_px: tuple[float, float, float, float] = Field(description="pixels of the image as a person sees it")
    score: float = Field(description="the detector's raw output, 0 to 1")
    probability: float = Field(description="calibrated: how likely a box of this score is a fracture")
    grade: Grade | None = Field(description="the highest operating point that the score reaches")
    bone: str | None = Field(
        None, description="label of the bone it lies on; null: not clear. As all below: once bones are found"
    )
    bone_overlap: float = Field(0.0, description="share of the bone in the box that is of this label, 0 to 1")
    bone_confidence: float = Field(0.0, description="by how much the label leads before the next, 0 to 1")
    bone_third: Third | None = Field(None, description="of the bone's shaft, where it can be told")
    outside_bone: bool = Field(False, description="it lies on none of the bones that were found")
    text: TextOut | None = Field(None, description="the finding in words")


class DamageOut(BaseModel):
    """How likely a bone is broken, or any bone of a picture, where each bone was judged by itself."""

    score: float = Field(description="the judge's own; of a picture that of its most damaged bone")
    probability: float | None = Field(
        description="of a fracture, by judge and detector together; null where these two were not joined"
    )


class SingleBoneOut(BaseModel):
    """A bone (or implant); its outline stands in `GET .../bones`."""

    label: str
    score: float
    box_xyxy_px: tuple[float, float, float, float]
    area_px: int
    damage: DamageOut | None = Field(None, description="there where bones are judged; never of metal")


class SuspicionOut(BaseModel):
    """What the detector says of the whole picture, by all that it saw on it."""

    score: float = Field(description="on the scale of the boxes' scores")
    probability: float | None = Field(description="that the picture shows a fracture, calibrated")


class ModelOut(BaseModel):
    """Which model spoke."""

    name: str
    version: str
    sha256: str


class ModelsOut(BaseModel):
    """The models of a finding; `detector` and `bones` are null where the gate ended the work."""

    gate: ModelOut
    detector: ModelOut | None
    bones: ModelOut | None = Field(None, description="there once bones are found")
    bone_judge: ModelOut | None = Field(None, description="there once bones are found and judged")


class FindingsOut(BaseModel):
    """Everything Osteon says of one page."""

    source: str
    sha256: str
    height_px: int
    width_px: int
    bone: BoneOut
    decision: Decision
    suspicion: SuspicionOut | None = Field(
        None, description="the detector's word on the whole picture, by which it decides; null where it has none"
    )
    fractures: list[FractureOut]
    models: ModelsOut
    timing_ms: dict[str, float]
    bones: list[SingleBoneOut] = Field([], description="there once bones are found, the surest first")
    damage: DamageOut | None = Field(
        None,
        description="a second opinion on the whole picture, once bones are found: by each bone judged by itself and the"
        " detector; the decision stays the detector's",
    )


class ErrorOut(BaseModel):
    """Why a file could not be analysed."""

    type: str
    message: str
    hint: str


class FileErrorOut(ErrorOut):
    """Why one of several files was not taken."""

    source: str


class LinksOut(BaseModel):
    """Where the rest of an analysis is."""

    self: str
    events: str
    image: str
    thumbnail: str
    pixels: str
    bone: str
    bones: str
    overlay: str
    report: str


class AnalysisSummary(BaseModel):
    """An analysis without its findings."""

    id: str
    status: Status
    progress: float = Field(description="0 to 1")
    name: str = Field(description="what the sender calls the file")
    size_bytes: int
    created_at: datetime
    finished_at: datetime | None
    decision: Decision | None = Field(description="the gravest of all pages; null until it succeeded")
    page_count: int = Field(description="0 until it succeeded")
    error: ErrorOut | None = Field(description="why it failed")
    study: str = Field(description="the same for all views of one study; empty where nothing groups it")
    seen: bool = Field(description="whether somebody looked at the result")
    links: LinksOut

    @classmethod
    def of(cls, analysis: Analysis) -> Self:
        """The summary of a stored analysis."""
        return cls(**_summary(analysis))


class AnalysisOut(AnalysisSummary):
    """An analysis; `findings` are those of the first page, `pages` those of every page, the first included."""

    findings: FindingsOut | None = Field(description="of the first page; null until it succeeded")
    pages: list[FindingsOut] = Field(description="of each page or frame; empty until it succeeded")

    @classmethod
    def of(cls, analysis: Analysis) -> Self:
        """All of a stored analysis."""
        pages = [FindingsOut.model_validate(page) for page in analysis.pages]
        return cls(**_summary(analysis), findings=pages[0] if pages else None, pages=pages)


class AcceptedOut(BaseModel):
    """The files taken, one analysis each; of a lone file `id`, `status`, `links`, `findings` stand at the top too."""

    analyses: list[AnalysisOut]
    errors: list[FileErrorOut] = Field(description="files of the batch that were not taken; the others go on")
    id: str | None = Field(default=None, description="of the lone file's analysis")
    status: Status | None = None
    links: LinksOut | None = None
    findings: FindingsOut | None = None

    @classmethod
    def of(cls, analyses: list[Analysis], errors: list[FileErrorOut]) -> Self:
        """The answer to an upload."""
        outs = [AnalysisOut.of(analysis) for analysis in analyses]
        if len(outs) != 1 or errors:
            return cls(analyses=outs, errors=errors)
        lone = outs[0]
        return cls(analyses=outs, errors=[], id=lone.id, status=lone.status, links=lone.links, findings=lone.findings)


class AnalysesOut(BaseModel):
    """A page of the list, newest first."""

    analyses: list[AnalysisSummary]
    next_cursor: str | None = Field(description="give it as `cursor` for older ones; null at the end")


class SeenIn(BaseModel, extra="forbid"):
    """What may be changed of an analysis."""

    seen: bool = Field(description="whether somebody looked at the result")


class StudyOut(BaseModel):
    """The views of one study together."""

    study: str
    decision: Decision | None = Field(description="the gravest of all views; null while none succeeded")
    finished: bool = Field(description="whether nothing more will happen to any view")
    analyses: list[AnalysisSummary] = Field(description="its views, oldest first")

    @classmethod
    def of(cls, study: str, analyses: list[Analysis]) -> Self:
        """The study of these analyses, newest first."""
        views = [AnalysisSummary.of(analysis) for analysis in reversed(analyses)]
        decision = gravest([{"decision": view.decision} for view in views])
        return cls(study=study, decision=decision, finished=all(one.finished for one in analyses), analyses=views)


class UploadIn(BaseModel, extra="forbid"):
    """A file that will come in pieces."""

    name: str = Field(max_length=1024, description="what the sender calls it")
    size_bytes: int = Field(ge=1, description="of the whole file")
    study: str = Field(default="", max_length=1024, description="the sender's word for what groups files")


class UploadLinksOut(BaseModel):
    """Where an upload goes on."""

    self: str
    preview: str
    analysis: str


class UploadOut(BaseModel):
    """A file that comes in pieces, as it stands."""

    id: str
    name: str
    size_bytes: int
    received_bytes: int = Field(description="the next piece begins here")
    created_at: datetime
    links: UploadLinksOut

    @classmethod
    def of(cls, upload: Resumable) -> Self:
        """An upload as it stands."""
        base = f"{API}/uploads/{upload.id}"
        return cls(
            id=upload.id,
            name=upload.name,
            size_bytes=upload.size_bytes,
            received_bytes=upload.received_bytes,
            created_at=upload.created_at,
            links=UploadLinksOut(self=base, preview=f"{base}/preview", analysis=f"{base}/analysis"),
        )


class CutsOut(BaseModel):
    """The gate's operating point: the least values of a radiograph."""

    area_fraction: float
    confidence: float


class PreviewOut(BaseModel):
    """What the gate makes of a preview."""

    bone: BoneOut
    wanted: bool = Field(description="whether the full-size image is wanted")
    reason: str | None = Field(description="why not: no_bone, small_area or low_confidence")
    cuts: CutsOut
    mask: str = Field(description="data URL of an RGBA PNG to lay over the preview, coarser than it")
    image: str | None = Field(description="data URL of the preview itself, JPEG, where the server made it")
    models: dict[str, ModelOut]
    timing_ms: dict[str, float]

    @classmethod
    def of(
        cls,
        bone: BoneEvidence,
        card: Card,
        gate: ModelRef,
        *,
        mask: str,
        image: str | None,
        timing_ms: dict[str, float],
    ) -> Self:
        """The answer to a preview."""
        cuts = CutsOut(area_fraction=card.cut("area_fraction"), confidence=card.cut("confidence"))
        return cls(
            bone=BoneOut.model_validate(bone.to_json()),
            wanted=bone.present,
            reason=_reason(bone, cuts),
            cuts=cuts,
            mask=mask,
            image=image,
            models={"gate": ModelOut.model_validate(gate.to_json())},
            timing_ms={name: round(ms, 1) for name, ms in timing_ms.items()},
        )


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str = Field(description="address of the error's entry in /docs")
    title: str
    status: int
    detail: str
    hint: str


def _reason(bone: BoneEvidence, cuts: CutsOut) -> str | None:
    if bone.present:
        return None
    if not bone.area_fraction:
        return "no_bone"
    return "small_area" if bone.area_fraction < cuts.area_fraction else "low_confidence"


def _summary(analysis: Analysis) -> dict[str, Any]:
    return {
        "id": analysis.id,
        "status": analysis.status,
        "progress": analysis.progress,
        "name": analysis.name,
        "size_bytes": analysis.size_bytes,
        "created_at": analysis.created_at,
        "finished_at": analysis.finished_at,
        "decision": analysis.decision or gravest(analysis.pages),
        "page_count": len(analysis.pages),
        "error": analysis.error,
        "study": analysis.study,
        "seen": analysis.seen_at is not None,
        "links": _links(analysis.id),
    }


def _links(analysis_id: str) -> LinksOut:
    base = f"{API}/analyses/{analysis_id}"
    return LinksOut(
        self=base,
        events=f"{base}/events",
        image=f"{base}/image.png",
        thumbnail=f"{base}/thumbnail.jpg",
        pixels=f"{base}/pixels",
        bone=f"{base}/bone.png",
        bones=f"{base}/bones",
        overlay=f"{base}/overlay.png",
        report=f"{base}/report.pdf",
    )
