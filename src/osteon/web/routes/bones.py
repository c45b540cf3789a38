"""Single bones of an analysis: asked for, as they stand, as a picture to lay over a page."""

import time
from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Response

from osteon.service import bone_files
from osteon.service.bones import BonesTask
from osteon.web.access import Analysing, Reading
from osteon.web.bone_schemas import BonesOut
from osteon.web.routes.shared import (
    PNG,
    Again,
    AnalysisId,
    PageNumber,
    Responses,
    Shared,
    Stopping,
    WaitSeconds,
    bones_found,
    page_of,
    png,
    problems_of,
)
from osteon.web.schemas import API
from osteon.web.service import Service

_FOUND: Responses = {200: {"model": BonesOut, "description": "found, or it failed"}}

router = APIRouter(prefix=API, tags=["bones"])


@router.post(
    "/analyses/{analysis_id}/bones",
    status_code=202,
    response_model=BonesOut,
    responses=_FOUND | problems_of(404, 409, 422, 429, 501),
)
async def ask_for_bones(
    analysis_id: AnalysisId,
    service: Shared,
    stopping: Stopping,
    caller: Analysing,
    wait: WaitSeconds = 0,
    again: Again = False,
) -> Response:
    """Have the bones of an analysis found, once: what was found stays, unless `again`; a failure is tried again.

    Fractures of the analysis say from then on which bone they lie on.
    """
    until = time.monotonic() + wait
    ask = partial(service.ask_bones, analysis_id, owner=caller.sees, again=again, actor=caller.name)
    task = await to_thread.run_sync(ask)
    if not task.finished:
        await bones_found(service, [task.id], until=until, stopping=stopping)
        task = await to_thread.run_sync(partial(service.bones.find, analysis_id, owner=caller.sees))
    return await to_thread.run_sync(_answer, service, task, 200 if task.finished else 202)


@router.get("/analyses/{analysis_id}/bones", response_model=BonesOut, responses=problems_of(404, 409, 422))
def show_bones(analysis_id: AnalysisId, service: Shared, caller: Reading) -> Response:
    """The bones of an analysis as COCO, with their names in English and Russian; nothing is begun by this."""
    return _answer(service, service.bones.find(analysis_id, owner=caller.sees), 200)


@router.get("/analyses/{analysis_id}/bones.png", response_class=Response, responses=PNG | problems_of(404, 422))
def bones_picture(analysis_id: AnalysisId, service: Shared, caller: Reading, page: PageNumber = 1) -> Response:
    """The outlines of a page's bones in their colours, to lay over the page; transparent elsewhere."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    findings = page_of(analysis, page)
    found = bone_files.records(service.store.files, analysis.id, page - 1)
    drawn = bone_files.layer_png(found, height_px=findings["height_px"], width_px=findings["width_px"])
    return png(drawn)


def _answer(service: Service, task: BonesTask, status: int) -> Response:
    """Written out in the caller's thread: a file of many pages has long outlines."""
    return Response(_told(service, task).model_dump_json(), status, media_type="application/json")


def _told(service: Service, task: BonesTask) -> BonesOut:
    if task.status != "succeeded":
        return BonesOut.of(task)
    pages = service.store.find(task.id).pages
    found = [(page, bone_files.records(service.store.files, task.id, number)) for number, page in enumerate(pages)]
    return BonesOut.of(task, bone_files.coco(found))
