"""What people look at: the page, its samples, and the description of the interface."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from osteon.errors import AnalysisNotFound, OsteonError
from osteon.samples import samples
from osteon.service.catalogue import LANGUAGES, Language, catalogue, preferred
from osteon.service.handover import PREVIEW_SIDE_PX
from osteon.web import problems
from osteon.web.access import Visiting
from osteon.web.routes import Shared

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
_templates = Jinja2Templates(FOLDER / "templates")

router = APIRouter(include_in_schema=False)


async def language_of(request: Request, language: Annotated[Language | None, Query()] = None) -> Language:
    """The language asked for, else the browser's."""
    return language or preferred(request.headers.get("accept-language", ""))


PageLanguage = Annotated[Language, Depends(language_of)]


@router.get("/", response_class=HTMLResponse)
def index(request: Request, service: Shared, language: PageLanguage, visitor: Visiting) -> Response:
    """The page; whoever needs to sign in is led there."""
    if visitor is None:
        return RedirectResponse("/sign-in", status_code=303)
    context: dict[str, Any] = {
        "language": language,
        "languages": LANGUAGES,
        "words": catalogue()[language],
        "version": request.app.version,
        "samples": samples(),
        "config": {
            "catalogue": catalogue(),
            "previewSide": PREVIEW_SIDE_PX,
            "maxBytes": service.settings.max_upload_bytes,
            "bones": service.pipeline.instances is not None,
            "csrf": visitor.csrf,
            "caller": {"name": visitor.name, "scopes": sorted(visitor.scopes), "local": visitor.local},
        },
    }
    return _templates.TemplateResponse(request, "index.html", context)


@router.get("/samples/{key}")
def sample(key: str) -> Response:
    """The bytes of a sample."""
    for known in samples():
        if known.key == key:
            return Response(known.content(), media_type="application/octet-stream")
    raise AnalysisNotFound("no such sample", hint="the page lists the samples there are")


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request, language: PageLanguage) -> Response:
    """The interface, read from its own OpenAPI document; no asset from elsewhere."""
    context = {
        "language": language,
        "words": catalogue()[language],
        "api": request.app.openapi(),
        "errors": [
            {
                "kind": kind.__name__,
                "title": problems.title_of(kind.__name__),
                "status": kind.http_status,
                "what": (kind.__doc__ or "").strip(),
            }
            for kind in _all_errors(OsteonError)
        ],
    }
    return _templates.TemplateResponse(request, "docs.html", context)


def _all_errors(kind: type[OsteonError]) -> list[type[OsteonError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _all_errors(child))]
