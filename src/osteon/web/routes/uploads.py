"""Uploads in pieces, for large files and connections that break."""

import time
from contextlib import suppress
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request, Response
from starlette.requests import ClientDisconnect

from osteon.errors import ImageTooLarge, InvalidImage, UploadNotFound
from osteon.service.archives import shown_name
from osteon.service.intake import grouped
from osteon.service.resumables import Resumable, check_offset
from osteon.service.store import Analysis
from osteon.web.access import Analysing
from osteon.web.routes.previews import gated
from osteon.web.routes.shared import (
    Again,
    Decoding,
    Responses,
    Shared,
    Stopping,
    WaitSeconds,
    WithBones,
    accepted,
    problems_of,
)
from osteon.web.schemas import API, AcceptedOut, FileErrorOut, PreviewOut, UploadIn, UploadOut
from osteon.web.service import Service
from osteon.web.uploads import Sink, saved

OFFSET_HEADER = "Upload-Offset"

_DONE: Responses = {200: {"model": AcceptedOut, "description": "all finished"}}
_PIECE = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_BEYOND = ImageTooLarge("the piece goes beyond the announced size", hint="announce the file's true size_bytes")

UploadId = Annotated[str, Path(description="id of the upload")]
Offset = Annotated[int, Header(alias=OFFSET_HEADER, ge=0, description="where in the file the piece begins")]

router = APIRouter(prefix=API, tags=["uploads"])


@router.post("/uploads", status_code=201, responses=problems_of(413, 422, 429))
def begin_upload(sent: UploadIn, service: Shared, caller: Analysing) -> UploadOut:
    """Announce a file that will come in pieces; what is not finished in a day is removed."""
    most = service.settings.max_upload_bytes
    if sent.size_bytes > most:
        raise ImageTooLarge(
            f"{sent.size_bytes / 2**20:.1f} MiB are announced, at most {most / 2**20:.1f} MiB are taken",
            hint="send a smaller file, or raise OSTEON_MAX_UPLOAD_MB",
        )
    upload = service.resumables.begin(
        name=shown_name(sent.name),
        size_bytes=sent.size_bytes,
        owner=caller.owner,
        study=grouped(sent.study, salt=caller.owner),
    )
    return UploadOut.of(upload)


@router.get("/uploads/{upload_id}", responses=problems_of(404, 422))
def show_upload(upload_id: UploadId, service: Shared, caller: Analysing) -> UploadOut:
    """How much of a file has come."""
    return UploadOut.of(service.resumables.find(upload_id, owner=caller.owner))


@router.patch("/uploads/{upload_id}", openapi_extra=_PIECE, responses=problems_of(404, 409, 413, 422))
async def add_piece(
    request: Request, upload_id: UploadId, service: Shared, caller: Analysing, offset: Offset
) -> UploadOut:
    """Add a piece, the body as it is; where the connection breaks, what came of it is kept."""
    upload = await to_thread.run_sync(partial(service.resumables.find, upload_id, owner=caller.owner))
    check_offset(upload, offset)
    sink = Sink(service.reading.scratch.file())
    broken: ClientDisconnect | None = None
    try:
        try:
            await saved(request, sink, max_bytes=upload.size_bytes - upload.received_bytes, too_large=_BEYOND)
        except ClientDisconnect as error:
            broken = error
        sink.close()
        if sink.size_bytes:
            add = partial(service.resumables.add, upload, sink.path, size_bytes=sink.size_bytes)
            upload = await to_thread.run_sync(add)
    finally:
        sink.discard()
    if broken:
        raise broken
    return UploadOut.of(upload)


@router.delete("/uploads/{upload_id}", status_code=204, responses=problems_of(404, 422))
def remove_upload(upload_id: UploadId, service: Shared, caller: Analysing) -> None:
    """Remove an upload and what came of it."""
    service.resumables.remove(upload_id, owner=caller.owner)
    service.reading.shelf.drop(upload_id)


@router.post("/uploads/{upload_id}/preview", responses=problems_of(404, 409, 413, 422))
async def preview_upload(upload_id: UploadId, service: Shared, decoding: Decoding, caller: Analysing) -> PreviewOut:
    """The gate alone on the first page of an upload, with a preview of it for browsers that cannot show such files."""

    def look() -> PreviewOut:
        started = time.perf_counter()
        upload = service.resumables.find(upload_id, owner=caller.owner)
        file = service.reading.shelf.take(upload.id)
        if file is None:
            with service.resumables.assembled(upload) as whole:
                file = service.reading.decoders.decode(whole.path, name=upload.name, salt=caller.owner)
        try:
            return gated(service, file, since=started, drawn=True)
        finally:
            service.reading.shelf.put(upload.id, file)

    return await to_thread.run_sync(look, limiter=decoding)


@router.post(
    "/uploads/{upload_id}/analysis",
    status_code=202,
    response_model=AcceptedOut,
    responses=_DONE | problems_of(404, 409, 413, 422, 429, 501),
)
async def analyse_upload(
    upload_id: UploadId,
    service: Shared,
    decoding: Decoding,
    stopping: Stopping,
    caller: Analysing,
    wait: WaitSeconds = 0,
    again: Again = False,
    bones: WithBones = False,
) -> Response:
    """Take a complete upload in for analysis; the upload is gone then, as it is where it is no picture."""
    if bones:
        service.check_bones()
    upload = await to_thread.run_sync(partial(service.resumables.find, upload_id, owner=caller.owner))
    accept = partial(_accept, service, upload, again=again, bones=bones)
    analyses, errors = await to_thread.run_sync(accept, limiter=decoding)
    return await accepted(service, analyses, errors, wait=wait, stopping=stopping, bones=bones)


def _accept(
    service: Service, upload: Resumable, *, again: bool, bones: bool
) -> tuple[list[Analysis], list[FileErrorOut]]:
    def remove() -> None:
        with suppress(UploadNotFound):
            service.resumables.remove(upload.id, owner=upload.owner)
        service.reading.shelf.drop(upload.id)

    with service.resumables.assembled(upload) as whole:
        try:
            given = {"owner": upload.owner, "study": upload.study, "shelved": upload.id}
            taken = service.accept([whole], **given, again=again, bones=bones)
        except InvalidImage:
            remove()
            raise
    remove()
    return taken
