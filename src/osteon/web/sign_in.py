"""The page where people sign in with their key."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from osteon.service.catalogue import LANGUAGES, catalogue
from osteon.web.access import Visiting
from osteon.web.page import FOLDER, PageLanguage

ADDRESS = "/sign-in"

router = APIRouter(include_in_schema=False)
_templates = Jinja2Templates(FOLDER / "templates")


@router.get(ADDRESS, response_class=HTMLResponse)
def sign_in_page(request: Request, language: PageLanguage, visitor: Visiting) -> Response:
    """The page; whoever is signed in, or needs no key, is led on."""
    if visitor is not None:
        return RedirectResponse("/", status_code=303)
    context = {"language": language, "languages": LANGUAGES, "words": catalogue()[language]}
    return _templates.TemplateResponse(request, "sign_in.html", context)
