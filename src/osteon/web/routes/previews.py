"""Previews: the gate alone, at once."""

from anyio import to_thread
from fastapi import APIRouter, Request

from osteon.web.access import Analysing
from osteon.web.routes.shared import Decoding, Shared, form, problems_of
from osteon.web.schemas import API, PreviewOut
from osteon.web.service import PREVIEW_BYTES
from osteon.web.uploads import received

router = APIRouter(prefix=API, tags=["previews"])


@router.post("/previews", openapi_extra=form(many=False), responses=problems_of(413, 422))
async def preview(request: Request, service: Shared, decoding: Decoding, _caller: Analysing) -> PreviewOut:
    """The gate alone, at once, on a preview whose long side is at most 512 px: is the full-size image wanted?"""
    uploads = await received(request, max_bytes=PREVIEW_BYTES, max_files=1)
    return await to_thread.run_sync(service.preview, uploads[0], limiter=decoding)
