"""The web application: `create_app`, and the addresses outside the interface (health, metrics, pages)."""

import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from osteon.service import metrics
from osteon.service.settings import Settings
from osteon.web import page, problems, routes, sign_in
from osteon.web.access import Access, Calling
from osteon.web.door import Door
from osteon.web.edge import Edge
from osteon.web.schemas import ProblemOut
from osteon.web.service import Service

_FILES_SIDE_BY_SIDE, _PREVIEWS_SIDE_BY_SIDE = 8, 4
"""Requests that may wait for a decoder in a thread of their own; there are fewer decoders."""


class _Application(FastAPI):
    """FastAPI, which cannot be told that the default answer is a problem document and not plain JSON."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                content = operation["responses"]["default"]["content"]
                if "application/json" in content:
                    content[problems.MEDIA_TYPE] = content.pop("application/json")
        return document


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; the gate is loaded here, the detector when the first radiograph comes.

    Args:
        settings: None: those of the environment.

    Raises:
        ConfigurationError: a setting that cannot work.
        ModelMismatch: the gate's file is missing or none.
    """
    service = Service.of(settings or Settings.from_environment())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(service.start)
        yield
        await to_thread.run_sync(service.stop)

    app = _Application(
        title="Osteon",
        version=version("osteon"),
        description="Bone and fracture findings on plain radiographs. Decision support for research. "
        "Not a medical device.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={"default": {"model": ProblemOut, "description": "a problem (RFC 9457)"}},
    )
    app.state.service = service
    app.state.access = access = Access.of(service.settings, service.store.database)
    app.state.stopping = threading.Event()
    app.state.decoding = CapacityLimiter(_FILES_SIDE_BY_SIDE)
    app.state.previewing = CapacityLimiter(_PREVIEWS_SIDE_BY_SIDE)
    problems.install(app)
    app.include_router(routes.router)
    app.include_router(page.router)
    app.include_router(sign_in.router)
    _add_operation(app, service)
    app.mount("/static", StaticFiles(directory=page.STATIC), name="static")
    app.add_middleware(Door, access=access)
    app.add_middleware(Edge, metrics=service.metrics)
    return app


def stopping(app: FastAPI) -> None:
    """Say that the server is about to stop: open streams end, answers that are held are given as things stand."""
    app.state.stopping.set()


def _add_operation(app: FastAPI, service: Service) -> None:
    """Liveness, readiness and metrics."""

    @app.get("/healthz", tags=["operation"])
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"], responses={503: {"description": "database, queue or disk cannot be used"}})
    def readyz() -> Response:
        """The gate is loaded, database and queue answer, and there is room on the disk."""
        for detail, hint in _obstacles(service):
            return problems.problem(503, "NotReady", detail, hint)
        return JSONResponse({"status": "ready", "detector_loaded": service.pipeline.detector.loaded})

    @app.get("/metrics", tags=["operation"], response_class=Response)
    def metrics_text(_caller: Calling) -> Response:
        """Numbers for Prometheus."""
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)


def _obstacles(service: Service) -> Iterator[tuple[str, str]]:
    """What keeps the service from taking work in, and what to do about it."""
    if not service.store.answers():
        yield "the database does not answer", "look at the data folder's disk, or at the database server"
    if not service.runner.answers():
        yield "the queue does not answer", "look at Redis; without one, restart the server"
    free_mb = shutil.disk_usage(service.settings.data_dir).free // 2**20
    if free_mb < service.settings.min_free_mb:
        yield f"{free_mb} MiB are free on the disk", f"OSTEON_MIN_FREE_MB asks for {service.settings.min_free_mb}"
