"""What the routes share: the service, parameters, descriptions of answers, waiting for results."""

import time
from collections.abc import Collection, Mapping, Sequence
from threading import Event
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from osteon.errors import AnalysisNotFound
from osteon.service.store import Analysis
from osteon.web import problems
from osteon.web.schemas import AcceptedOut, FileErrorOut
from osteon.web.service import Service
from osteon.web.uploads import FIELD, STUDY_FIELD
from osteon.web.watch import Watch

MOST_WAIT_SECONDS = 300.0

# Dependencies are coroutines, though they wait for nothing: FastAPI sends plain functions to another thread and back.

Responses = dict[int | str, dict[str, Any]]


async def service_of(request: Request) -> Service:
    """The application's service."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def decoding_of(request: Request) -> CapacityLimiter:
    """How many requests may have a file decoded, or wait for that, at once."""
    limiter = request.app.state.decoding
    assert isinstance(limiter, CapacityLimiter)
    return limiter


async def previewing_of(request: Request) -> CapacityLimiter:
    """The same for previews, which large files do not hold up."""
    limiter = request.app.state.previewing
    assert isinstance(limiter, CapacityLimiter)
    return limiter


async def stopping_of(request: Request) -> Event:
    """Set when the server is about to stop."""
    stopping = request.app.state.stopping
    assert isinstance(stopping, Event)
    return stopping


Shared = Annotated[Service, Depends(service_of)]
Decoding = Annotated[CapacityLimiter, Depends(decoding_of)]
Previewing = Annotated[CapacityLimiter, Depends(previewing_of)]
Stopping = Annotated[Event, Depends(stopping_of)]
WaitSeconds = Annotated[float, Query(ge=0, le=MOST_WAIT_SECONDS, description="seconds to hold the answer")]
Again = Annotated[bool, Query(description="analyse anew what was analysed already")]
WithBones = Annotated[bool, Query(description="find single bones too, once the analysis succeeded")]
AnalysisId = Annotated[str, Path(description="id of the analysis")]
PageNumber = Annotated[int, Query(ge=1, le=10_000, description="page or frame, from 1")]


def problems_of(*statuses: int) -> Responses:
    """Descriptions of the problems that a route answers with."""
    return {
        status: {
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
            **_WHY[status],
        }
        for status in statuses
    }


def _header(name: str, kind: str) -> dict[str, Any]:
    return {name: {"schema": {"type": kind}}}


_WHY: dict[int, dict[str, Any]] = {
    401: {"description": "no key, or none that works", "headers": _header("WWW-Authenticate", "string")},
    403: {"description": "the key may not do this, or another site asked for it"},
    404: {"description": "no such analysis or upload, or no picture of it yet"},
    409: {"description": "the upload, or the analysis, is not where the request takes it to be"},
    413: {"description": "the body, or the picture, is over the limit"},
    422: {"description": "no picture, one that cannot be decoded, or a wrong parameter"},
    429: {"description": "too many analyses wait, or too many requests", "headers": _header("Retry-After", "integer")},
    501: {"description": "no model for this is installed"},
}


PNG: Responses = {200: {"content": {"image/png": {}}}}


def form(*, many: bool) -> dict[str, Any]:
    """OpenAPI's description of a multipart body with the file, or files, in the field `file`."""
    one = {"type": "string", "format": "binary"}
    study = {"type": "string", "description": "the sender's word for what groups the files"}
    properties = {FIELD: {"type": "array", "items": one, "minItems": 1}, STUDY_FIELD: study} if many else {FIELD: one}
    schema = {"type": "object", "required": [FIELD], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


async def accepted(
    service: Service,
    analyses: Sequence[Analysis],
    errors: list[FileErrorOut],
    *,
    wait: float,
    stopping: Event,
    bones: bool = False,
) -> Response:
    """The answer to files taken in, held until all are finished or time is over.

    Args:
        bones: their bones were asked for, too, and are waited for.
    """
    until = time.monotonic() + wait
    left = {analysis.id for analysis in analyses if not analysis.finished}
    left = await _unfinished(service.watch, left, until=until, stopping=stopping)
    if bones:
        left |= await bones_found(service, [analysis.id for analysis in analyses], until=until, stopping=stopping)
    current = list(analyses)
    if wait or service.settings.immediate:
        current = [one if one.finished and not bones else await _found(service, one.id) or one for one in analyses]
    done = wait > 0 and not left and all(analysis.finished for analysis in current)
    answer = AcceptedOut.of(current, errors).model_dump(mode="json", exclude_unset=True)
    return JSONResponse(answer, status_code=200 if done else 202)


async def bones_found(service: Service, analysis_ids: Collection[str], *, until: float, stopping: Event) -> set[str]:
    """Waits until the bones of these analyses are found, or failed, or time is over; whose are not."""
    return await _unfinished(service.bones_watch, set(analysis_ids), until=until, stopping=stopping)


async def _unfinished(watch: Watch, left: set[str], *, until: float, stopping: Event) -> set[str]:
    """Those that are not finished when the time is over or the server stops; what was removed is finished, too."""
    while left and time.monotonic() < until and not stopping.is_set():
        progress = await watch.look(left)
        left = {analysis_id for analysis_id in left if analysis_id in progress and not progress[analysis_id].finished}
    return left


async def _found(service: Service, analysis_id: str) -> Analysis | None:
    """The analysis as it stands, or None where it was removed."""
    try:
        return await to_thread.run_sync(service.store.find, analysis_id)
    except AnalysisNotFound:
        return None


def page_of(analysis: Analysis, page: int) -> Mapping[str, Any]:
    """The findings of a page, counted from 1; raises AnalysisNotFound where there are none (yet)."""
    if page > len(analysis.pages):
        raise no_page(analysis, page)
    return analysis.pages[page - 1]


def no_page(analysis: Analysis, page: int) -> AnalysisNotFound:
    """The error where an analysis has no such page (yet)."""
    return AnalysisNotFound(
        f"the analysis has no findings of page {page} (it is {analysis.status}, {len(analysis.pages)} pages)",
        hint="wait until the analysis succeeded, and ask for a page that the file has",
    )


def png(content: bytes) -> Response:
    """A picture."""
    return Response(content, media_type="image/png")
