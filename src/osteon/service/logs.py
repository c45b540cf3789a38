"""What the service writes to its log: one line an event, JSON or text, and never a word that a sender wrote.

Only our own messages are written out (they are made of ids, counts, class names) and uvicorn's. A record of any other
library is reduced to where it came from, and an exception to its class and its place in the code: both may quote what
a file holds.
"""

import json
import logging
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

Form = Literal["auto", "json", "text"]
Value = str | int | float | bool | None

OURS = ("osteon", "uvicorn", "alembic.runtime.migration")
"""Loggers whose messages hold nothing that a sender wrote."""

_EVENT, _FIELDS = "osteon_event", "osteon_fields"
_OPAQUE_ID = re.compile(r"[0-9A-Fa-f-]{8,64}")
_request: ContextVar[str] = ContextVar("request", default="")


def event(logger: logging.Logger, name: str, *, level: int = logging.INFO, **fields: Value) -> None:
    """Write an event with its fields: ids, counts and classes only, never a name, a path or a query."""
    if logger.isEnabledFor(level):
        text = " ".join([name, *(f"{key}={value}" for key, value in fields.items())])
        logger.log(level, "%s", text, extra={_EVENT: name, _FIELDS: fields})


def request_id(sent: str) -> str:
    """The id of a request: the one that was sent with it, where that is opaque (a UUID, a trace id), else a new one.

    >>> request_id("4bf92f35-77b3-4da6")
    '4bf92f35-77b3-4da6'
    >>> request_id("Ivanov^Ivan") == "Ivanov^Ivan"
    False
    """
    return sent if _OPAQUE_ID.fullmatch(sent) else uuid.uuid4().hex


@contextmanager
def during(identity: str) -> Iterator[None]:
    """Have all events within carry this request id."""
    token = _request.set(identity)
    try:
        yield
    finally:
        _request.reset(token)


def configure(form: Form, *, stream: TextIO | None = None) -> None:
    """Send every log record of this process to standard error (or the stream) in this form, and nowhere else.

    Args:
        form: `auto` is text on a terminal and JSON elsewhere.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    for_people = form == "text" or (form == "auto" and stream.isatty())
    handler.setFormatter(Text() if for_people else Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger("osteon").setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class Json(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `event`, its fields, `request_id` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        return json.dumps(dict(_content(record)), ensure_ascii=False)


class Text(logging.Formatter):
    """The same for people: time, level, event, then `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        content = dict(_content(record))
        head = [str(content.pop(key)) for key in ("time", "level", "event")]
        return " ".join([*head, *(f"{key}={_spoken(value)}" for key, value in content.items())])


def _content(record: logging.LogRecord) -> Iterator[tuple[str, Value]]:
    yield "time", datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    yield "level", record.levelname.lower()
    yield "event", getattr(record, _EVENT, "message")
    fields: Mapping[str, Value] | None = getattr(record, _FIELDS, None)
    if fields is not None:
        yield from fields.items()
    elif _is_ours(record.name):
        yield "message", record.getMessage()
    else:
        yield "from", f"{record.name} {Path(record.pathname).name}:{record.lineno}"
    if record.exc_info and record.exc_info[0]:
        yield "error", record.exc_info[0].__name__
        yield "at", place(record.exc_info[2])
    if _request.get():
        yield "request_id", _request.get()


def place(trace: TracebackType | None) -> str:
    """File and line of the innermost frame: all that is told of an exception but its class."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"


def _is_ours(name: str) -> bool:
    return any(name == known or name.startswith(known + ".") for known in OURS)


def _spoken(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[\s"=]', text) or not text else text
