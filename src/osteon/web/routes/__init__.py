"""The HTTP interface under /api/v1: one file for each kind of thing that is asked for.

Each file's router carries the prefix itself, so that a route's path is whole in the metrics.
"""

from fastapi import APIRouter

from osteon.web.routes import analyses, answers, bones, pictures, previews, reports, session, uploads
from osteon.web.routes.shared import Shared

__all__ = ["Shared", "router"]

router = APIRouter()
for part in (previews, uploads, analyses, pictures, bones, reports, answers, session):
    router.include_router(part.router)
