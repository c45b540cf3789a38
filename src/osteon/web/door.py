"""What is turned away unread: foreign hosts, changes that another site asks for, floods, huge JSON."""

import re
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from osteon.errors import ImageTooLarge, NotAllowed, OsteonError
from osteon.web import problems
from osteon.web.access import COOKIE, SAFE_METHODS, Access, address_of, bearer, cross_site
from osteon.web.schemas import API

PROBES = frozenset(("/healthz", "/readyz"))
"""Asked by whatever watches over the server, under any name and as often as it likes."""

MOST_JSON_BYTES = 2**20
"""Of a body that is no upload."""

_STREAMED = re.compile(rf"{API}/(previews|analyses|uploads/[^/]+)")
"""These count their bodies themselves (`web.uploads`); any other FastAPI reads into memory, whatever type it claims."""


class Door:
    """Middleware: lets in what may be looked at; who asks, and what they may, is `osteon.web.access`."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            await self._check(request)
        except OsteonError as error:
            answer: Response = problems.of_error(error)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive if _streamed(request) else _at_most(receive, MOST_JSON_BYTES), send)

    async def _check(self, request: Request) -> None:
        access, headers = self._access, request.headers
        if request.method not in SAFE_METHODS and cross_site(headers) and not bearer(headers):
            raise NotAllowed("another site asked for this change", hint="ask from Osteon's own page, or with a key")
        if not await access.keys_needed():
            access.check_host(headers.get("host", ""))
        elif not bearer(headers) and COOKIE not in request.cookies:
            await access.limit(f"address:{address_of(request)}", access.settings.requests_per_minute)
        announced = headers.get("content-length", "")
        if not _streamed(request) and announced.isdigit() and int(announced) > MOST_JSON_BYTES:
            raise _too_large()


def _streamed(request: Request) -> bool:
    return bool(_STREAMED.fullmatch(request.scope["path"]))


def _at_most(receive: Receive, most_bytes: int) -> Receive:
    total = 0

    async def counting() -> MutableMapping[str, Any]:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most_bytes:
            raise _too_large()
        return message

    return counting


def _too_large() -> ImageTooLarge:
    return ImageTooLarge(f"the JSON body is larger than {MOST_JSON_BYTES // 2**20} MiB", hint="send less at once")
