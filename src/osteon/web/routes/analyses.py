"""Analyses: files taken in, their list, one as it stands, its removal, its progress."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from osteon.service.store import Analysis, Status
from osteon.web.access import Analysing, Reading
from osteon.web.routes.shared import AnalysisId, Decoding, Responses, Shared, form, found, problems_of, settled
from osteon.web.schemas import API, AcceptedOut, AnalysesOut, AnalysisOut, AnalysisSummary
from osteon.web.service import Service
from osteon.web.uploads import received

MOST_WAIT_SECONDS = 300.0
_EVENTS_LOOK_SECONDS = 0.05
_HEARTBEAT_SECONDS = 15.0
_MOST_EVENTS_SECONDS = 600.0

_DONE: Responses = {200: {"model": AcceptedOut, "description": "all finished"}}
_SSE: Responses = {200: {"content": {"text/event-stream": {}}}}

router = APIRouter(prefix=API, tags=["analyses"])


@router.post(
    "/analyses",
    status_code=202,
    response_model=AcceptedOut,
    openapi_extra=form(many=True),
    responses=_DONE | problems_of(413, 422, 429),
)
async def analyse(
    request: Request,
    service: Shared,
    decoding: Decoding,
    caller: Analysing,
    wait: Annotated[float, Query(ge=0, le=MOST_WAIT_SECONDS, description="seconds to hold the answer")] = 0,
) -> Response:
    """Take one or more files in for analysis; with `wait`, hold the answer until all are finished or time is over."""
    settings = service.settings
    uploads = await received(request, max_bytes=settings.max_upload_bytes, max_files=settings.max_files)
    accept = partial(service.accept, uploads, owner=caller.owner)
    analyses, errors = await to_thread.run_sync(accept, limiter=decoding)
    analyses = await settled(service, analyses, seconds=wait)
    done = wait > 0 and all(analysis.finished for analysis in analyses)
    answer = AcceptedOut.of(analyses, errors).model_dump(mode="json", exclude_unset=len(analyses) != 1 or bool(errors))
    return JSONResponse(answer, status_code=200 if done else 202)


@router.get("/analyses", responses=problems_of(422))
def list_analyses(
    service: Shared,
    caller: Reading,
    status: Annotated[Status | None, Query(description="only those with this status")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9]{1,18}$", description="`next_cursor` of the answer before")
    ] = None,
) -> AnalysesOut:
    """Analyses, newest first."""
    listed = service.store.page(
        owner=caller.sees, status=status, limit=limit + 1, before=int(cursor) if cursor else None
    )
    shown = listed[:limit]
    more = len(listed) > limit
    summaries = [AnalysisSummary.of(analysis) for analysis in shown]
    return AnalysesOut(analyses=summaries, next_cursor=str(shown[-1].number) if more else None)


@router.get("/analyses/{analysis_id}", responses=problems_of(404, 422))
def show_analysis(analysis_id: AnalysisId, service: Shared, caller: Reading) -> AnalysisOut:
    """An analysis as it stands: its status and, once it succeeded, its findings."""
    return AnalysisOut.of(service.store.find(analysis_id, owner=caller.sees))


@router.delete("/analyses/{analysis_id}", status_code=204, responses=problems_of(404, 422))
def remove_analysis(analysis_id: AnalysisId, service: Shared, caller: Analysing) -> None:
    """Remove an analysis with all its files; what is running of it is thrown away."""
    service.store.remove(analysis_id, owner=caller.sees, actor=caller.name)


@router.get(
    "/analyses/{analysis_id}/events",
    response_class=Response,
    responses=_SSE | problems_of(404, 422),
)
async def events(analysis_id: AnalysisId, service: Shared, caller: Reading) -> StreamingResponse:
    """Progress as server-sent events: `progress` with `id`, `status`, `progress` at each change, `finished` last."""
    analysis = await to_thread.run_sync(partial(service.store.find, analysis_id, owner=caller.sees))
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
        current = await found(service, analysis.id)
