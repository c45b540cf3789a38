"""Pictures of an analysed page."""

from fastapi import APIRouter, Response

from osteon.files import overlay
from osteon.files.overlay import Language
from osteon.service import pictures
from osteon.web.access import Reading
from osteon.web.routes.shared import PNG, AnalysisId, PageNumber, Shared, page_of, png, problems_of
from osteon.web.schemas import API

router = APIRouter(prefix=API, tags=["pictures"])


@router.get(
    "/analyses/{analysis_id}/image.png",
    response_class=Response,
    responses=PNG | problems_of(404, 422),
)
def image(analysis_id: AnalysisId, service: Shared, caller: Reading, page: PageNumber = 1) -> Response:
    """The page as a person sees it, 8 bit grey, bone bright."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    return png(pictures.image_png(service.store.folder(analysis.id), page - 1))


@router.get(
    "/analyses/{analysis_id}/bone.png",
    response_class=Response,
    responses=PNG | problems_of(404, 422),
)
def bone(analysis_id: AnalysisId, service: Shared, caller: Reading, page: PageNumber = 1) -> Response:
    """The bone mask to lay over the page; transparent elsewhere, coarser than the page."""
    folder = service.store.folder(service.store.find(analysis_id, owner=caller.sees).id)
    pictures.image_png(folder, page - 1)
    return png(pictures.bone_png(folder, page - 1))


@router.get(
    "/analyses/{analysis_id}/overlay.png",
    response_class=Response,
    responses=PNG | problems_of(404, 422),
)
def overlay_picture(
    analysis_id: AnalysisId, service: Shared, caller: Reading, page: PageNumber = 1, language: Language = "en"
) -> Response:
    """The page with bone, boxes and decision drawn on it."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    findings = page_of(analysis, page)
    drawn = pictures.overlay_pixels(service.store.folder(analysis.id), page - 1, findings, language=language)
    return png(overlay.encode(drawn))
