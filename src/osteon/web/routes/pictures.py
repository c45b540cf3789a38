"""Pictures of an analysed page, and its pixels."""

import json
import zlib
from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from osteon.files import overlay
from osteon.files.overlay import Language
from osteon.service import pictures
from osteon.service.decoders import DecodedPage
from osteon.service.store import Analysis
from osteon.web.access import Reading
from osteon.web.routes.shared import (
    PNG,
    AnalysisId,
    Decoding,
    PageNumber,
    Responses,
    Shared,
    no_page,
    page_of,
    png,
    problems_of,
)
from osteon.web.schemas import API
from osteon.web.service import Service

PIXELS_HEADER = "X-Osteon-Pixels"
_GZIP_WBITS, _GZIP_LEVEL = 31, 1

_JPEG: Responses = {200: {"content": {"image/jpeg": {}}}}
_PIXELS: Responses = {
    200: {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            PIXELS_HEADER: {
                "description": "JSON: height_px, width_px, bits (8 or 16), low and high (shown black and white)",
                "schema": {"type": "string"},
            }
        },
    }
}

router = APIRouter(prefix=API, tags=["pictures"])


@router.get("/analyses/{analysis_id}/image.png", response_class=Response, responses=PNG | problems_of(404, 422))
def image(analysis_id: AnalysisId, service: Shared, caller: Reading, page: PageNumber = 1) -> Response:
    """The page as a person sees it, 8 bit grey, bone bright."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    return png(pictures.image_png(service.store.files, analysis.id, page - 1))


@router.get("/analyses/{analysis_id}/thumbnail.jpg", response_class=Response, responses=_JPEG | problems_of(404, 422))
def thumbnail(analysis_id: AnalysisId, service: Shared, caller: Reading) -> Response:
    """The first page, at most 160 px a side."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    return Response(pictures.thumbnail_jpg(service.store.files, analysis.id), media_type="image/jpeg")


@router.get("/analyses/{analysis_id}/bone.png", response_class=Response, responses=PNG | problems_of(404, 422))
def bone(analysis_id: AnalysisId, service: Shared, caller: Reading, page: PageNumber = 1) -> Response:
    """The bone mask to lay over the page; transparent elsewhere, coarser than the page."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    page_of(analysis, page)
    return png(pictures.bone_png(service.store.files, analysis.id, page - 1))


@router.get("/analyses/{analysis_id}/overlay.png", response_class=Response, responses=PNG | problems_of(404, 422))
def overlay_picture(
    analysis_id: AnalysisId, service: Shared, caller: Reading, page: PageNumber = 1, language: Language = "en"
) -> Response:
    """The page with bone, boxes and decision drawn on it."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    findings = page_of(analysis, page)
    drawn = pictures.overlay_pixels(service.store.files, analysis.id, page - 1, findings, language=language)
    return png(overlay.encode(drawn))


@router.get("/analyses/{analysis_id}/pixels", response_class=Response, responses=_PIXELS | problems_of(404, 422))
async def pixels(
    request: Request,
    analysis_id: AnalysisId,
    service: Shared,
    decoding: Decoding,
    caller: Reading,
    page: PageNumber = 1,
) -> Response:
    """The grey values of the page, row by row, one byte each or, of 16 bits, two with the lower first."""
    analysis = await to_thread.run_sync(partial(service.store.find, analysis_id, owner=caller.sees))
    page_of(analysis, page)
    zipped = "gzip" in request.headers.get("accept-encoding", "").lower()
    return await to_thread.run_sync(partial(_pixels, service, analysis, page, zipped=zipped), limiter=decoding)


def _pixels(service: Service, analysis: Analysis, page: int, *, zipped: bool) -> Response:
    try:
        with service.reading.decoded(service.store.files, analysis, keep=True) as file:
            if page > len(file.pages):
                raise no_page(analysis, page)
            shown = file.pages[page - 1]
            samples = shown.pixels()
            content = samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()
    except FileNotFoundError as error:  # it was removed this moment
        raise no_page(analysis, page) from error
    headers = {PIXELS_HEADER: _described(shown), "Vary": "Accept-Encoding"}
    if zipped:
        packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS)
        content = packer.compress(content) + packer.flush()
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type="application/octet-stream", headers=headers)


def _described(page: DecodedPage) -> str:
    low, high = page.window
    return json.dumps(
        {"height_px": page.height_px, "width_px": page.width_px, "bits": page.bits, "low": low, "high": high}
    )
