"""The HTTP interface under /api/v1."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from osteon.errors import AnalysisNotFound
from osteon.files import overlay
from osteon.files.overlay import Language
from osteon.service import pictures, report
from osteon.service.store import Analysis, Status
from osteon.web import problems
from osteon.web.schemas import API, AcceptedOut, AnalysesOut, AnalysisOut, AnalysisSummary, PreviewOut
from osteon.web.service import PREVIEW_BYTES, Service
from osteon.web.uploads import FIELD, received

MOST_WAIT_SECONDS = 300.0
_LOOK_SECONDS = 0.03
_EVENTS_LOOK_SECONDS = 0.05
_HEARTBEAT_SECONDS = 15.0
_MOST_EVENTS_SECONDS = 600.0

router = APIRouter(prefix=API)


def service_of(request: Request) -> Service:
    """The application's service."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def decoding_of(request: Request) -> CapacityLimiter:
    """How many requests may decode a picture at once."""
    limiter = request.app.state.decoding
    assert isinstance(limiter, CapacityLimiter)
    return limiter


Shared = Annotated[Service, Depends(service_of)]
Decoding = Annotated[CapacityLimiter, Depends(decoding_of)]
AnalysisId = Annotated[str, Path(description="id of the analysis")]
PageNumber = Annotated[int, Query(ge=1, le=10_000, description="page or frame, from 1")]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
            **_WHY[status],
        }
        for status in statuses
    }


_WHY: dict[int, dict[str, Any]] = {
    404: {"description": "no such analysis, or it has no picture yet"},
    413: {"description": "the body, or the picture, is over the limit"},
    422: {"description": "no picture, one that cannot be decoded, or a wrong parameter"},
    429: {"description": "too many analyses wait", "headers": {"Retry-After": {"schema": {"type": "integer"}}}},
}


_DONE: dict[int | str, dict[str, Any]] = {200: {"model": AcceptedOut, "description": "all finished"}}
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
_PDF: dict[int | str, dict[str, Any]] = {200: {"content": {"application/pdf": {}}}}
_SSE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def _form(*, many: bool) -> dict[str, Any]:
    one = {"type": "string", "format": "binary"}
    field = {"type": "array", "items": one, "minItems": 1} if many else one
    schema = {"type": "object", "required": [FIELD], "properties": {FIELD: field}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.post("/previews", openapi_extra=_form(many=False), responses=_problems(413, 422), tags=["previews"])
async def preview(request: Request, service: Shared, decoding: Decoding) -> PreviewOut:
    """The gate alone, at once, on a preview whose long side is at most 512 px: is the full-size image wanted?"""
    uploads = await received(request, max_bytes=PREVIEW_BYTES, max_files=1)
    return await to_thread.run_sync(service.preview, uploads[0], limiter=decoding)


@router.post(
    "/analyses",
    status_code=202,
    response_model=AcceptedOut,
    openapi_extra=_form(many=True),
    responses=_DONE | _problems(413, 422, 429),
    tags=["analyses"],
)
async def analyse(
    request: Request,
    service: Shared,
    decoding: Decoding,
    wait: Annotated[float, Query(ge=0, le=MOST_WAIT_SECONDS, description="seconds to hold the answer")] = 0,
) -> Response:
    """Take one or more files in for analysis; with `wait`, hold the answer until all are finished or time is over."""
    settings = service.settings
    uploads = await received(request, max_bytes=settings.max_upload_bytes, max_files=settings.max_files)
    analyses, errors = await to_thread.run_sync(service.accept, uploads, limiter=decoding)
    analyses = await _finished(service, analyses, seconds=wait)
    done = wait > 0 and all(analysis.finished for analysis in analyses)
    answer = AcceptedOut.of(analyses, errors).model_dump(mode="json", exclude_unset=len(analyses) != 1 or bool(errors))
    return JSONResponse(answer, status_code=200 if done else 202)


async def _finished(service: Service, analyses: Sequence[Analysis], *, seconds: float) -> list[Analysis]:
    """The analyses once all are finished, or as they stand when the time is over."""
    until = time.monotonic() + seconds
    current = list(analyses)
    while not all(analysis.finished for analysis in current):
        current = [await _found(service, analysis.id) or analysis for analysis in current]
        left = until - time.monotonic()
        if left <= 0:
            break
        await asyncio.sleep(min(_LOOK_SECONDS, left))
    return current


async def _found(service: Service, analysis_id: str) -> Analysis | None:
    try:
        return await to_thread.run_sync(service.store.find, analysis_id)
    except AnalysisNotFound:
        return None


@router.get("/analyses", responses=_problems(422), tags=["analyses"])
def list_analyses(
    service: Shared,
    status: Annotated[Status | None, Query(description="only those with this status")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9]{1,18}$", description="`next_cursor` of the answer before")
    ] = None,
) -> AnalysesOut:
    """Analyses, newest first."""
    found = service.store.page(status=status, limit=limit + 1, before=int(cursor) if cursor else None)
    shown = found[:limit]
    more = len(found) > limit
    summaries = [AnalysisSummary.of(analysis) for analysis in shown]
    return AnalysesOut(analyses=summaries, next_cursor=str(shown[-1].number) if more else None)


@router.get("/analyses/{analysis_id}", responses=_problems(404, 422), tags=["analyses"])
def show_analysis(analysis_id: AnalysisId, service: Shared) -> AnalysisOut:
    """An analysis as it stands: its status and, once it succeeded, its findings."""
    return AnalysisOut.of(service.store.find(analysis_id))


@router.delete("/analyses/{analysis_id}", status_code=204, responses=_problems(404, 422), tags=["analyses"])
def remove_analysis(analysis_id: AnalysisId, service: Shared) -> None:
    """Remove an analysis with all its files; what is running of it is thrown away."""
    service.store.remove(analysis_id)


@router.get(
    "/analyses/{analysis_id}/image.png",
    response_class=Response,
    responses=_PNG | _problems(404, 422),
    tags=["pictures"],
)
def image(analysis_id: AnalysisId, service: Shared, page: PageNumber = 1) -> Response:
    """The page as a person sees it, 8 bit grey, bone bright."""
    analysis = service.store.find(analysis_id)
    return _png(pictures.image_png(service.store.folder(analysis.id), page - 1))


@router.get(
    "/analyses/{analysis_id}/bone.png", response_class=Response, responses=_PNG | _problems(404, 422), tags=["pictures"]
)
def bone(analysis_id: AnalysisId, service: Shared, page: PageNumber = 1) -> Response:
    """The bone mask to lay over the page; transparent elsewhere, coarser than the page."""
    folder = service.store.folder(service.store.find(analysis_id).id)
    pictures.image_png(folder, page - 1)
    return _png(pictures.bone_png(folder, page - 1))


@router.get(
    "/analyses/{analysis_id}/overlay.png",
    response_class=Response,
    responses=_PNG | _problems(404, 422),
    tags=["pictures"],
)
def overlay_picture(
    analysis_id: AnalysisId, service: Shared, page: PageNumber = 1, language: Language = "en"
) -> Response:
    """The page with bone, boxes and decision drawn on it."""
    analysis = service.store.find(analysis_id)
    findings = _page_of(analysis, page)
    drawn = pictures.overlay_pixels(service.store.folder(analysis.id), page - 1, findings, language=language)
    return _png(overlay.encode(drawn))


@router.get(
    "/analyses/{analysis_id}/report.pdf",
    response_class=Response,
    responses=_PDF | _problems(404, 422),
    tags=["pictures"],
)
def report_file(analysis_id: AnalysisId, service: Shared, language: Language = "en") -> Response:
    """The report of all pages, for printing."""
    analysis = service.store.find(analysis_id)
    _page_of(analysis, 1)
    content = report.pdf(analysis, service.store.folder(analysis.id), language=language)
    disposition = f'inline; filename="osteon-{analysis.id[:8]}.pdf"'
    return Response(content, media_type="application/pdf", headers={"Content-Disposition": disposition})


@router.get(
    "/analyses/{analysis_id}/events",
    response_class=Response,
    responses=_SSE | _problems(404, 422),
    tags=["analyses"],
)
async def events(analysis_id: AnalysisId, service: Shared) -> StreamingResponse:
    """Progress as server-sent events: `progress` with `id`, `status`, `progress` at each change, `finished` last."""
    analysis = await to_thread.run_sync(service.store.find, analysis_id)
    return StreamingResponse(_events(service, analysis), media_type="text/event-stream")


async def _events(service: Service, analysis: Analysis) -> AsyncIterator[str]:
    told = ""
    started = spoken = time.monotonic()
    current: Analysis | None = analysis
    while current and time.monotonic() - started < _MOST_EVENTS_SECONDS:
        data = json.dumps({"id": current.id, "status": current.status, "progress": round(current.progress, 3)})
        if data != told:
            told, spoken = data, time.monotonic()
            yield f"event: {'finished' if current.finished else 'progress'}\ndata: {data}\n\n"
        elif time.monotonic() - spoken > _HEARTBEAT_SECONDS:
            spoken = time.monotonic()
            yield ": still here\n\n"
        if current.finished:
            return
        await asyncio.sleep(_EVENTS_LOOK_SECONDS)
        current = await _found(service, analysis.id)


def _page_of(analysis: Analysis, page: int) -> Any:
    if page > len(analysis.pages):
        raise AnalysisNotFound(
            f"the analysis has no findings of page {page} (it is {analysis.status}, {len(analysis.pages)} pages)",
            hint="wait until the analysis succeeded, and ask for a page that the file has",
        )
    return analysis.pages[page - 1]


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png")
