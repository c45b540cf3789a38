"""Analyses: files taken in, their list, one as it stands, its end, its progress; studies."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from osteon.errors import AnalysisNotFound
from osteon.findings import Decision
from osteon.service.intake import grouped
from osteon.service.store import Status
from osteon.web import streams
from osteon.web.access import Analysing, Reading
from osteon.web.routes.shared import (
    Again,
    AnalysisId,
    Decoding,
    Responses,
    Shared,
    Stopping,
    WaitSeconds,
    WithBones,
    accepted,
    form,
    problems_of,
)
from osteon.web.schemas import API, AcceptedOut, AnalysesOut, AnalysisOut, AnalysisSummary, SeenIn, StudyOut
from osteon.web.uploads import received

_MOST_VIEWS = 100
_TEXT = r"^[^\x00]*$"
_STUDY = "^[0-9A-Za-z]{1,64}$"

_DONE: Responses = {200: {"model": AcceptedOut, "description": "all finished"}}
_SSE: Responses = {200: {"content": {"text/event-stream": {}}}}

router = APIRouter(prefix=API, tags=["analyses"])


@router.post(
    "/analyses",
    status_code=202,
    response_model=AcceptedOut,
    openapi_extra=form(many=True),
    responses=_DONE | problems_of(413, 422, 429, 501),
)
async def analyse(
    request: Request,
    service: Shared,
    decoding: Decoding,
    stopping: Stopping,
    caller: Analysing,
    wait: WaitSeconds = 0,
    again: Again = False,
    bones: WithBones = False,
) -> Response:
    """Take files in for analysis, a ZIP archive as the batch of its pictures; with `wait`, hold the answer until
    all are finished or time is over. What was analysed already is not analysed again, unless `again` asks for it.
    """
    if bones:
        service.check_bones()
    settings, scratch = service.settings, service.reading.scratch
    most = {"max_bytes": settings.max_upload_bytes, "max_files": settings.max_files}
    async with received(request, scratch, **most) as sent:
        study = grouped(sent.study, salt=caller.owner)
        accept = partial(service.accept, sent.files, owner=caller.owner, study=study, again=again, bones=bones)
        analyses, errors = await to_thread.run_sync(accept, limiter=decoding)
    return await accepted(service, analyses, errors, wait=wait, stopping=stopping, bones=bones)


@router.get("/analyses", responses=problems_of(422))
def list_analyses(  # noqa: PLR0913 - each is a parameter of the request
    service: Shared,
    caller: Reading,
    status: Annotated[Status | None, Query(description="only those with this status")] = None,
    decision: Annotated[Decision | None, Query(description="only those with this decision")] = None,
    search: Annotated[str, Query(max_length=255, pattern=_TEXT, description="only those whose name holds this")] = "",
    study: Annotated[str | None, Query(pattern=_STUDY, description="only the views of this study")] = None,
    unseen: Annotated[bool, Query(description="only results that nobody looked at")] = False,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9]{1,18}$", description="`next_cursor` of the answer before")
    ] = None,
) -> AnalysesOut:
    """Analyses, newest first."""
    listed = service.store.page(
        owner=caller.sees,
        status=status,
        decision=decision,
        search=search,
        study=study,
        unseen=unseen,
        limit=limit + 1,
        before=int(cursor) if cursor else None,
    )
    shown = listed[:limit]
    more = len(listed) > limit
    summaries = [AnalysisSummary.of(analysis) for analysis in shown]
    return AnalysesOut(analyses=summaries, next_cursor=str(shown[-1].number) if more else None)


@router.get("/analyses/{analysis_id}", responses=problems_of(404, 422), response_model_exclude_unset=True)
def show_analysis(analysis_id: AnalysisId, service: Shared, caller: Reading) -> AnalysisOut:
    """An analysis as it stands: its status and, once it succeeded, its findings."""
    return AnalysisOut.of(service.store.find(analysis_id, owner=caller.sees))


@router.patch("/analyses/{analysis_id}", responses=problems_of(404, 422), response_model_exclude_unset=True)
def mark_analysis(analysis_id: AnalysisId, change: SeenIn, service: Shared, caller: Reading) -> AnalysisOut:
    """Note that somebody looked at the result, or that it shall count as new."""
    return AnalysisOut.of(service.store.mark_seen(analysis_id, seen=change.seen, owner=caller.sees))


@router.post("/analyses/{analysis_id}/cancel", responses=problems_of(404, 422), response_model_exclude_unset=True)
def cancel_analysis(analysis_id: AnalysisId, service: Shared, caller: Analysing) -> AnalysisOut:
    """Cancel an analysis: at once where it waits, soon where it runs; nothing happens to a finished one."""
    return AnalysisOut.of(service.store.cancel(analysis_id, owner=caller.sees, actor=caller.name))


@router.delete("/analyses/{analysis_id}", status_code=204, responses=problems_of(404, 422))
def remove_analysis(analysis_id: AnalysisId, service: Shared, caller: Analysing) -> None:
    """Remove an analysis with all its files; what is running of it is thrown away."""
    service.store.remove(analysis_id, owner=caller.sees, actor=caller.name)
    service.reading.shelf.drop(analysis_id)


@router.get("/studies/{study}", responses=problems_of(404, 422))
def show_study(study: Annotated[str, Path(pattern=_STUDY)], service: Shared, caller: Reading) -> StudyOut:
    """The views of one study, at most the newest 100, and the gravest of their decisions."""
    views = service.store.page(owner=caller.sees, study=study, limit=_MOST_VIEWS)
    if not views:
        raise AnalysisNotFound("no analysis belongs to this study", hint="take `study` from an analysis")
    return StudyOut.of(study, views)


@router.get(
    "/analyses/{analysis_id}/events",
    response_class=Response,
    responses=_SSE | problems_of(404, 422),
)
async def events(analysis_id: AnalysisId, service: Shared, stopping: Stopping, caller: Reading) -> StreamingResponse:
    """Progress as server-sent events: `progress` with `id`, `status`, `progress` at each change, `finished` last."""
    analysis = await to_thread.run_sync(partial(service.store.find, analysis_id, owner=caller.sees))
    return StreamingResponse(streams.of_one(service.watch, analysis, stopping), media_type="text/event-stream")


@router.get("/events", response_class=Response, responses=_SSE)
async def all_events(service: Shared, stopping: Stopping, caller: Reading) -> StreamingResponse:
    """Changes of all analyses as server-sent events: `changed` with the analysis as in lists, `removed` with `id`."""
    stream = streams.of_all(service.store, caller.sees, stopping)
    return StreamingResponse(stream, media_type="text/event-stream")
