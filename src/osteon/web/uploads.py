"""Bodies of requests, written to scratch files while they stream in: counted, hashed, never whole in memory."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from osteon.errors import ImageTooLarge, InvalidImage
from osteon.service.archives import shown_name
from osteon.service.scratch import Scratch
from osteon.service.store import Upload

FIELD, STUDY_FIELD = "file", "study"

_MOST_FIELDS = 16
_MOST_TEXT_BYTES = 1024
_PIECE_BYTES = 2**20
_SEND_FORM = f"send multipart/form-data with the file in the field `{FIELD}`"


class Sink:
    """A scratch file that is written piece by piece, counted and hashed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._file = path.open("wb")

    @property
    def sha256(self) -> str:
        """Of what came so far."""
        return self._digest.hexdigest()

    def write(self, pieces: Sequence[bytes]) -> None:
        """Add pieces."""
        for piece in pieces:
            self._file.write(piece)
            self._digest.update(piece)
            self.size_bytes += len(piece)

    def close(self) -> None:
        """Have the file ready for reading."""
        self._file.close()

    def discard(self) -> None:
        """Remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Form:
    """What a multipart body held.

    Attributes:
        files: at least one; their content lies in scratch files.
        study: the sender's word for what groups the files, or "".
    """

    files: tuple[Upload, ...]
    study: str


@asynccontextmanager
async def received(request: Request, scratch: Scratch, *, max_bytes: int, max_files: int) -> AsyncIterator[Form]:
    """The files of a multipart body, at least one; their scratch files are gone when the context ends.

    Raises:
        ImageTooLarge: the body is larger than `max_bytes`, found from Content-Length or, where that is missing or
            wrong, as soon as so much has come in.
        InvalidImage: no multipart body, one that cannot be read, too many files, or none in the field `file`.
    """
    parser = _Parser(_boundary(request), scratch, max_files=max_files)
    try:
        try:
            async for piece in counted(request, max_bytes=max_bytes, too_large=_too_large(max_bytes)):
                parser.feed(piece)
                if parser.waiting_bytes >= _PIECE_BYTES:
                    await to_thread.run_sync(parser.flush)
        except FormParserError as error:
            raise InvalidImage("the multipart form cannot be read", hint=_SEND_FORM) from error
        await to_thread.run_sync(parser.finish)
        yield parser.form()
    finally:
        await to_thread.run_sync(parser.discard)


async def saved(request: Request, sink: Sink, *, max_bytes: int, too_large: ImageTooLarge) -> None:
    """Write a bare body into a sink.

    Raises:
        ImageTooLarge: `too_large`, since it is larger than `max_bytes`; the sink holds a part of it then.
        ClientDisconnect: the connection broke; the sink holds all that came.
    """
    pieces: list[bytes] = []
    waiting = 0
    try:
        async for piece in counted(request, max_bytes=max_bytes, too_large=too_large):
            pieces.append(piece)
            waiting += len(piece)
            if waiting >= _PIECE_BYTES:
                await to_thread.run_sync(sink.write, pieces)
                pieces, waiting = [], 0
    finally:
        await to_thread.run_sync(sink.write, pieces)


async def counted(request: Request, *, max_bytes: int, too_large: ImageTooLarge) -> AsyncIterator[bytes]:
    """The body's pieces as they come; raises `too_large` once they are, or are announced to be, too many."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    total = 0
    async for piece in request.stream():
        total += len(piece)
        if total > max_bytes:
            raise too_large
        yield piece


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise InvalidImage("no multipart form in the body", hint=_SEND_FORM)
    if b"boundary" not in options:
        raise InvalidImage("the multipart form names no boundary", hint=_SEND_FORM)
    return options[b"boundary"]


class _Part:
    """One part of a form: a file on its way into a sink, or a short text."""

    def __init__(self) -> None:
        self.header = bytearray()
        self.value = bytearray()
        self.field = ""
        self.name: str | None = None
        self.sink: Sink | None = None
        self.text = bytearray()


class _Parser:
    """Takes a form apart. What goes into files waits in memory until `flush`, which may take its time."""

    def __init__(self, boundary: bytes, scratch: Scratch, *, max_files: int) -> None:
        self._scratch = scratch
        self._max_files = max_files
        self._files: list[_Part] = []
        self._fields = 0
        self._study = ""
        self._ended = False
        self._part = _Part()
        self._waiting: list[tuple[Sink, bytes]] = []
        self.waiting_bytes = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._part.header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._part.value.extend(data[start:end]),
                    "on_header_end": self._header,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._all,
                },
            )
        except FormParserError as error:
            raise InvalidImage("the multipart form's boundary is no boundary", hint=_SEND_FORM) from error

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body; raises FormParserError, InvalidImage."""
        self._parser.write(piece)

    def flush(self) -> None:
        """Write what waits."""
        for sink, piece in self._waiting:
            sink.write((piece,))
        self._waiting.clear()
        self.waiting_bytes = 0

    def finish(self) -> None:
        """Write what waits, and have the files ready for reading; raises InvalidImage where the form has no end."""
        if not self._ended:
            raise InvalidImage(
                "the multipart form ends too early", hint="send it again; the connection may have broken"
            )
        self.flush()
        for part in self._files:
            if part.sink:
                part.sink.close()

    def form(self) -> Form:
        """What it held; raises InvalidImage where there was no file."""
        uploads = tuple(
            Upload(shown_name(part.name), part.sink.path, sha256=part.sink.sha256)
            for part in self._files
            if part.sink and part.field == FIELD
        )
        if not uploads:
            raise InvalidImage(f"no file in the field `{FIELD}`", hint=_SEND_FORM)
        return Form(uploads, self._study)

    def discard(self) -> None:
        """Remove the files."""
        for part in self._files:
            if part.sink:
                part.sink.discard()

    def _begin(self) -> None:
        self._part = _Part()
        self._fields += 1
        if self._fields > self._max_files + _MOST_FIELDS:
            raise InvalidImage("too many fields in the form", hint=_SEND_FORM)

    def _header(self) -> None:
        if self._part.header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._part.value))
            self._part.field = options.get(b"name", b"").decode("utf-8", "replace")
            name = options.get(b"filename")
            self._part.name = None if name is None else name.decode("utf-8", "replace")
        self._part.header.clear()
        self._part.value.clear()

    def _headers_finished(self) -> None:
        if self._part.name is None:
            return
        if len(self._files) == self._max_files:
            raise InvalidImage(
                f"more than {self._max_files} files in one request", hint="send them in several, or as a ZIP archive"
            )
        self._part.sink = Sink(self._scratch.file())
        self._files.append(self._part)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.sink:
            self._waiting.append((self._part.sink, data[start:end]))
            self.waiting_bytes += end - start
        elif self._part.field == STUDY_FIELD:
            self._part.text += data[start:end]
            if len(self._part.text) > _MOST_TEXT_BYTES:
                raise InvalidImage(f"the field `{STUDY_FIELD}` is too long", hint="send a short word of your own")

    def _end(self) -> None:
        if self._part.field == STUDY_FIELD and not self._part.sink:
            self._study = self._part.text.decode("utf-8", "replace")

    def _all(self) -> None:
        self._ended = True


def _too_large(max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"the body is larger than {max_bytes / 2**20:.1f} MiB",
        hint="send fewer or smaller files, or raise OSTEON_MAX_UPLOAD_MB",
    )
