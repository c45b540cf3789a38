"""Errors as `application/problem+json` (RFC 9457), with a hint."""

import http
import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from osteon.errors import (
    DecoderUnavailable,
    NotAllowed,
    NotSignedIn,
    OffsetMismatch,
    OsteonError,
    TooManyRequests,
    TooManyWaiting,
)
from osteon.service import logs

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

_HTTP_HINTS = {404: "see /docs for what there is", 405: "see /docs for the methods of this address"}


def title_of(kind: str) -> str:
    """The class name of an error as words.

    >>> title_of("InvalidImage")
    'Invalid image'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).capitalize()


def problem(
    status: int, kind: str, detail: str, hint: str, *, headers: Mapping[str, str] | None = None, **extensions: Any
) -> Response:
    """A problem document; its type leads to the error's entry in /docs."""
    content = {
        "type": f"/docs#{kind}",
        "title": title_of(kind),
        "status": status,
        "detail": detail,
        "hint": hint,
        **extensions,
    }
    return JSONResponse(content, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def of_error(error: OsteonError, **extensions: Any) -> Response:
    """One of Osteon's own errors as a problem."""
    kind = type(error).__name__
    return problem(error.http_status, kind, error.message, error.hint, headers=_headers(error), **extensions)


def _headers(error: OsteonError) -> dict[str, str]:
    match error:
        case TooManyWaiting() | DecoderUnavailable():
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
        case TooManyRequests():
            return {"Retry-After": str(error.retry_after_seconds)}
        case OffsetMismatch():
            return {"Upload-Offset": str(error.received_bytes)}
        case NotSignedIn():
            return {"WWW-Authenticate": 'Bearer realm="osteon"'}
        case NotAllowed(scope=scope) if scope:
            return {"WWW-Authenticate": f'Bearer realm="osteon", error="insufficient_scope", scope="{scope}"'}
        case NotAllowed():
            return {"WWW-Authenticate": 'Bearer realm="osteon"'}
        case _:
            return {}


def install(app: FastAPI) -> None:
    """Have the application answer every error as a problem."""
    app.add_exception_handler(OsteonError, _osteon)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(ChildProcessError, _no_decoder)
    app.add_exception_handler(Exception, _unexpected)


def _osteon(_request: Request, error: Exception) -> Response:
    assert isinstance(error, OsteonError)
    return of_error(error)


def _invalid(_request: Request, error: Exception) -> Response:
    """Which parameter is wrong and why; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    faults = "; ".join(f"{_place(fault)}: {fault['msg']}" for fault in error.errors())
    return problem(422, "InvalidRequest", faults, "see /docs for what this request takes")


def _place(fault: Mapping[str, Any]) -> str:
    """Where a fault is; a field that we do not know is named by its place only, since its name is the sender's word."""
    known = fault["loc"][:-1] if fault["type"] == "extra_forbidden" else fault["loc"]
    return ".".join(str(part) for part in known)


def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = http.HTTPStatus(error.status_code).phrase
    hint = _HTTP_HINTS.get(error.status_code, "see /docs")
    return problem(error.status_code, phrase.title().replace(" ", ""), phrase, hint, headers=error.headers)


def _gone(_request: Request, _error: Exception) -> Response:
    """The client went away while sending; nobody reads this."""
    return Response(status_code=400)


def _no_decoder(_request: Request, _error: Exception) -> Response:
    """The process that was to read the file did not start, or was ended for want of memory."""
    return of_error(DecoderUnavailable("no process could read the file just now", hint="send it again in some seconds"))


def _unexpected(_request: Request, error: Exception) -> Response:
    fault, where = type(error).__name__, logs.place(error.__traceback__)
    logs.event(logger, "request failed", level=logging.ERROR, error=fault, at=where)
    return problem(500, "InternalError", "the request failed inside Osteon", "try again; report it if it stays so")
