"""Reports of an analysis."""

from fastapi import APIRouter, Response

from osteon.files.overlay import Language
from osteon.service import report
from osteon.web.access import Reading
from osteon.web.routes.shared import AnalysisId, Responses, Shared, page_of, problems_of
from osteon.web.schemas import API

_PDF: Responses = {200: {"content": {"application/pdf": {}}}}

router = APIRouter(prefix=API, tags=["pictures"])


@router.get(
    "/analyses/{analysis_id}/report.pdf",
    response_class=Response,
    responses=_PDF | problems_of(404, 422),
)
def report_file(analysis_id: AnalysisId, service: Shared, caller: Reading, language: Language = "en") -> Response:
    """The report of all pages, for printing."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    page_of(analysis, 1)
    content = report.pdf(analysis, service.store.files, language=language)
    disposition = f'inline; filename="osteon-{analysis.id[:8]}.pdf"'
    return Response(content, media_type="application/pdf", headers={"Content-Disposition": disposition})
