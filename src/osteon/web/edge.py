"""Around every request: security headers, its id, a line in the log, the count and seconds for the metrics."""

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon.service import logs
from osteon.service.metrics import Metrics
from osteon.web.door import PROBES

logger = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
REQUEST_ID_HEADER = "X-Request-ID"
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ONE_YEAR_OF_HTTPS = "max-age=31536000"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_UNROUTED = "other"


class Edge:
    """Middleware: strict headers on every answer, nothing kept by browsers but static files, requests told of."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        identity = logs.request_id(Headers(scope=scope).get(REQUEST_ID_HEADER, ""))

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _mark(MutableHeaders(scope=message), scope, identity)
            await send(message)

        with logs.during(identity):
            try:
                await self._app(scope, receive, send_marked)
            finally:
                self._tell(scope, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """Count and log it: by the pattern of its path, since the path and the query are the sender's words."""
        method = scope["method"] if scope["method"] in _METHODS else _UNROUTED
        route = getattr(scope.get("route"), "path", _UNROUTED)
        self._metrics.answered(method, route, status, seconds)
        quiet = scope["path"] in PROBES or scope["path"].startswith("/static/")
        level = logging.DEBUG if quiet and status < 400 else logging.INFO
        ms = round(seconds * 1000, 1)
        logs.event(logger, "request", level=level, method=method, route=route, status=status, ms=ms)


def _mark(headers: MutableHeaders, scope: Scope, identity: str) -> None:
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if scope["scheme"] == "https":
        headers["Strict-Transport-Security"] = _ONE_YEAR_OF_HTTPS
    headers[REQUEST_ID_HEADER] = identity
    headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
