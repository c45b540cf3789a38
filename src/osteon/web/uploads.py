"""Files out of a request's body, counted while they stream in."""

import re
from collections.abc import MutableMapping
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Receive

from osteon.errors import ImageTooLarge, InvalidImage
from osteon.service.store import Upload

FIELD = "file"
UNNAMED = "image"

_SEND_FORM = f"send multipart/form-data with the file in the field `{FIELD}`"
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


async def received(request: Request, *, max_bytes: int, max_files: int) -> list[Upload]:
    """The files of a multipart body, at least one.

    Raises:
        ImageTooLarge: the body is larger than `max_bytes`, found from Content-Length or, where that is missing or
            wrong, as soon as so much has come in.
        InvalidImage: no multipart body, or no file in the field `file`.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidImage("no multipart form in the body", hint=_SEND_FORM)
    _check_announced(request, max_bytes)
    counted = Request(request.scope, _counted(request.receive, max_bytes))
    try:
        async with counted.form(max_files=max_files, max_fields=16) as form:
            parts = [part for part in form.getlist(FIELD) if isinstance(part, UploadFile)]
            uploads = [Upload(shown_name(part.filename), await part.read()) for part in parts]
    except HTTPException as error:
        raise InvalidImage(f"the multipart form cannot be read: {error.detail}", hint=_SEND_FORM) from error
    if not uploads:
        raise InvalidImage(f"no file in the field `{FIELD}`", hint=_SEND_FORM)
    return uploads


def shown_name(name: str | None) -> str:
    r"""What a sender calls a file, fit to be shown: no folders, no control characters, at most 255 characters.

    >>> shown_name("C:\\scans\\wrist\n.jpg")
    'wrist.jpg'
    """
    last = re.split(r"[/\\]", name or "")[-1]
    return _UNSHOWABLE.sub("", last).strip()[:255] or UNNAMED


def _check_announced(request: Request, max_bytes: int) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)


def _counted(receive: Receive, max_bytes: int) -> Receive:
    total = 0

    async def counting() -> MutableMapping[str, Any]:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > max_bytes:
            raise _too_large(max_bytes)
        return message

    return counting


def _too_large(max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"the body is larger than {max_bytes / 2**20:.1f} MiB",
        hint="send fewer or smaller files, or raise OSTEON_MAX_UPLOAD_MB",
    )
