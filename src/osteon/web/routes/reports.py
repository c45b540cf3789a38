"""Reports of an analysis."""

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from osteon.files.overlay import Language
from osteon.service.answers import Answers
from osteon.service.report import Report, report_of
from osteon.service.report_html import content_security_policy, html
from osteon.service.report_pdf import pdf
from osteon.web.access import Caller, Reading
from osteon.web.routes.shared import AnalysisId, Responses, Shared, page_of, problems_of
from osteon.web.schemas import API
from osteon.web.service import Service

_PDF: Responses = {200: {"content": {"application/pdf": {}}}}
_HTML: Responses = {200: {"content": {"text/html": {}}}}

router = APIRouter(prefix=API, tags=["pictures"])


@router.get(
    "/analyses/{analysis_id}/report.pdf",
    response_class=Response,
    responses=_PDF | problems_of(404, 422),
)
def report_pdf(analysis_id: AnalysisId, service: Shared, caller: Reading, language: Language = "en") -> Response:
    """The report of all pages, for the file."""
    content = pdf(_report(service, caller, analysis_id, language))
    return _file(content, "application/pdf", f"osteon-{analysis_id[:8]}.pdf")


@router.get(
    "/analyses/{analysis_id}/report.html",
    response_class=Response,
    responses=_HTML | problems_of(404, 422),
)
def report_html(analysis_id: AnalysisId, service: Shared, caller: Reading, language: Language = "en") -> Response:
    """The same report as one HTML file, for reading and printing: no script, nothing from elsewhere."""
    content = html(_report(service, caller, analysis_id, language)).encode()
    response = _file(content, "text/html; charset=utf-8", f"osteon-{analysis_id[:8]}.html")
    response.headers["Content-Security-Policy"] = content_security_policy()
    return response


def _report(service: Service, caller: Caller, analysis_id: str, language: Language) -> Report:
    analysis = service.store.find(analysis_id, owner=caller.sees)
    page_of(analysis, 1)
    answers = Answers(service.store.database).of(analysis.id)
    return report_of(analysis, service.store.files, answers, made_at=datetime.now(UTC), language=language)


def _file(content: bytes, media_type: str, name: str) -> Response:
    """A file to look at; its name is of ours, nothing that a sender wrote."""
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'inline; filename="{name}"'})
