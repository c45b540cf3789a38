"""Previews: the gate alone, at once."""

import time
from base64 import b64encode

from anyio import to_thread
from fastapi import APIRouter, Request

from osteon.errors import ImageTooLarge
from osteon.service import pictures
from osteon.service.decoders import PREVIEW_LIMITS, DecodedFile
from osteon.service.encodings import jpeg
from osteon.service.handover import PREVIEW_SIDE_PX
from osteon.service.store import Upload
from osteon.web.access import Analysing
from osteon.web.routes.shared import Previewing, Shared, form, problems_of
from osteon.web.schemas import API, PreviewOut
from osteon.web.service import Service
from osteon.web.uploads import received

router = APIRouter(prefix=API, tags=["previews"])


@router.post("/previews", openapi_extra=form(many=False), responses=problems_of(413, 422))
async def preview(request: Request, service: Shared, previewing: Previewing, _caller: Analysing) -> PreviewOut:
    """The gate alone, at once, on a preview whose long side is at most 512 px: is the full-size image wanted?"""
    scratch = service.reading.scratch
    async with received(request, scratch, max_bytes=PREVIEW_LIMITS.max_bytes, max_files=1) as sent:
        return await to_thread.run_sync(_small, service, sent.files[0], limiter=previewing)


def _small(service: Service, upload: Upload) -> PreviewOut:
    started = time.perf_counter()
    try:
        file = service.reading.decoders.preview(upload.path, name=upload.name)
    except ImageTooLarge as error:
        hint = f"scale the preview to {PREVIEW_SIDE_PX} px, or send the full-size image to /api/v1/analyses"
        raise ImageTooLarge(error.message, hint=hint) from error
    try:
        return gated(service, file, since=started, drawn=False)
    finally:
        file.remove()


def gated(service: Service, file: DecodedFile, *, since: float, drawn: bool) -> PreviewOut:
    """What the gate makes of the first page of a file; never touches the detector.

    Args:
        since: when reading it began, by `time.perf_counter`.
        drawn: give a preview along, for who has none.
    """
    radiograph = file.pages[0].radiograph()
    decoded = time.perf_counter()
    bone = service.pipeline.bone(radiograph)
    timing = {"read": (decoded - since) * 1000, "gate": (time.perf_counter() - decoded) * 1000}
    service.metrics.gated(bone)
    assert bone.probability_map is not None
    mask = _data_url("image/png", pictures.mask_png(bone.probability_map))
    image = _data_url("image/jpeg", jpeg(radiograph.as_uint8(), side_px=PREVIEW_SIDE_PX)) if drawn else None
    gate = service.pipeline.gate
    return PreviewOut.of(bone, gate.card, gate.ref, mask=mask, image=image, timing_ms=timing)


def _data_url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"
