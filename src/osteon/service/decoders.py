"""Uploaded bytes are parsed in processes of their own: a file that crashes or hangs a decoder costs only itself.

The processes are kept warm, each does one file at a time, and one that misbehaves is ended and replaced. Previews have
a process of their own, so that no large file is before them.
"""

import json
import logging
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteon.errors import DecoderCrashed, DecoderTimedOut, ImageTooLarge, InvalidImage, UnsupportedDicom
from osteon.limits import Limits
from osteon.radiograph import Pixels, Radiograph
from osteon.service.archives import Entry
from osteon.service.handover import MOST_PAGE_BYTES, PREVIEW_SIDE_PX, picture_file, pixels_file, thumbnail_file
from osteon.service.scratch import Scratch

logger = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-m", "osteon.service.decoding")
PREVIEW_LIMITS = Limits(max_bytes=4 * 2**20, max_side_px=PREVIEW_SIDE_PX, max_pages=1)

_START_SECONDS = 60.0
_PREVIEW_SECONDS = 10.0
_MOST_ANSWER_BYTES = 2**20
_SIGKILL = 9
_KINDS: Mapping[str, type[InvalidImage]] = {
    kind.__name__: kind for kind in (InvalidImage, UnsupportedDicom, ImageTooLarge)
}
_LITTLE = 4
"""A 16-bit page that uses less than a quarter of its range would look black, or flat."""

_OTHER_FORMAT = "export the picture in another format and send that"


@dataclass(frozen=True)
class DecodedPage:
    """A page whose pixels lie in a scratch file.

    Attributes:
        page: index in its file.
        folder: where its files lie.
        source: what to call it.
        height_px, width_px: its size.
        bits: 8 or 16.
        low, high: the least and the greatest pixel value that occur.
        sha256: of the whole file.
        read_ms: what decoding took.
    """

    page: int
    folder: Path
    source: str
    height_px: int
    width_px: int
    bits: int
    low: int
    high: int
    sha256: str
    spacing_mm: tuple[float, float] | None
    modality: str
    body_part: str
    view: str
    laterality: str
    chroma: float
    read_ms: float

    @property
    def picture(self) -> Path:
        """The page as people see it, 8-bit grey PNG; not there for previews."""
        return picture_file(self.folder, self.page)

    @property
    def window(self) -> tuple[int, int]:
        """The values to show as black and white at first: the whole range, unless the page uses little of it."""
        white = (1 << self.bits) - 1
        little = self.low < self.high and (self.high - self.low) * _LITTLE < white
        return (self.low, self.high) if self.bits > 8 and little else (0, white)

    def pixels(self) -> Pixels:
        """(height, width) uint8 or uint16, mapped into memory, not to be written.

        Raises:
            DecoderCrashed: the file is not what the decoder said.
        """
        try:
            mapped = np.load(pixels_file(self.folder, self.page), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DecoderCrashed("the decoded page cannot be read", hint="send the file again") from error
        if mapped.shape != (self.height_px, self.width_px) or mapped.dtype != np.dtype(f"uint{self.bits}"):
            raise DecoderCrashed("the decoded page is not what the decoder said", hint=_OTHER_FORMAT)
        return np.asarray(mapped)

    def radiograph(self) -> Radiograph:
        """The page; raises DecoderCrashed."""
        return Radiograph(
            self.pixels(),
            self.source,
            self.sha256,
            spacing_mm=self.spacing_mm,
            page=self.page,
            modality=self.modality,
            body_part=self.body_part,
            view=self.view,
            laterality=self.laterality,
            chroma=self.chroma,
        )


@dataclass(frozen=True)
class DecodedFile:
    """A decoded file in scratch files, to be removed by whoever has it.

    Attributes:
        folder: holds everything.
        pages: at least one.
        study: salted hash of the study it belongs to, or "".
    """

    folder: Path
    pages: tuple[DecodedPage, ...]
    study: str

    @property
    def thumbnail(self) -> Path:
        """The first page, at most 160 px a side, JPEG; not there for previews."""
        return thumbnail_file(self.folder)

    @property
    def size_bytes(self) -> int:
        """On disk."""
        with suppress(OSError):
            return sum(path.stat().st_size for path in self.folder.iterdir())
        return 0

    def remove(self) -> None:
        """Remove its files; what is mapped into memory stays there until it is let go."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Decoders:
    """A few decoder processes. Safe to use from several threads; who finds none free waits."""

    def __init__(
        self,
        scratch: Scratch,
        *,
        processes: int = 2,
        seconds: float = 30.0,
        memory_bytes: int = 2 * 2**30,
        limits: Limits | None = None,
        program: Sequence[str] = (),
    ) -> None:
        """Decoders whose processes start when they are first needed, or with `start`.

        Args:
            processes: for whole files; there is one more for previews.
            seconds: most for one file.
            memory_bytes: most for one file, beyond what a process takes before it.
            limits: sizes above which a file is refused before it is decoded.
            program: what decodes, `PROGRAM` unless told.
        """
        self._scratch = scratch
        self._seconds = seconds
        self._limits = limits or Limits()
        words = [*(program or PROGRAM), str(memory_bytes), str(2 * MOST_PAGE_BYTES)]
        self._files = _Lane(words, processes)
        self._previews = _Lane(words, 1)

    def start(self) -> None:
        """Have all processes start in the background; they are ready in less than a second."""
        self._previews.start()
        self._files.start()

    def stop(self) -> None:
        """End all processes; what is being decoded fails."""
        self._previews.stop()
        self._files.stop()

    @property
    def lost(self) -> int:
        """How many processes crashed, or were ended for taking too long, and were replaced."""
        return self._files.lost + self._previews.lost

    def decode(self, source: Path, *, name: str, salt: str = "") -> DecodedFile:
        """All pages of a file, with the pictures that people look at.

        Args:
            name: what to call it; the process that decodes is not told.
            salt: views of one study have the same `study` under the same salt.

        Raises:
            InvalidImage: no picture, or a damaged one; or one of its children UnsupportedDicom, ImageTooLarge.
            DecoderCrashed: the process ended over it.
            DecoderTimedOut: it took too long.
            ChildProcessError: the process could not be started, or was ended from outside (want of memory, shutdown):
                no fault of the file.
        """
        order = {"limits": asdict(self._limits), "pictures": True, "salt": salt}
        return self._decoded(self._files, order, source, name=name, seconds=self._seconds)

    def preview(self, source: Path, *, name: str) -> DecodedFile:
        """The one page of a picture of at most 512 px a side; raises as `decode` does."""
        order = {"limits": asdict(PREVIEW_LIMITS), "pictures": False, "salt": ""}
        return self._decoded(self._previews, order, source, name=name, seconds=min(self._seconds, _PREVIEW_SECONDS))

    def unpack(self, archive: Path, folder: Path, *, most_entries: int, most_bytes: int) -> list[Entry]:
        """Unpack the files of a ZIP archive into a folder.

        Raises:
            InvalidImage: damaged, encrypted, empty, or an archive in the archive.
            ImageTooLarge: more files or bytes than allowed.
            DecoderCrashed, DecoderTimedOut: as with `decode`.
        """
        order = {"do": "unpack", "most_entries": most_entries, "most_bytes": most_bytes}
        answer = self._files.answer({**order, **_places(archive, folder)}, seconds=self._seconds)
        try:
            return [Entry(str(row["label"]), folder / f"{int(row['file'])}") for row in answer["entries"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _strange() from error

    def _decoded(self, lane: "_Lane", order: dict[str, Any], source: Path, *, name: str, seconds: float) -> DecodedFile:
        folder = self._scratch.folder()
        try:
            answer = lane.answer({"do": "decode", **order, **_places(source, folder)}, seconds=seconds)
            pages = tuple(_page(row, page, folder, name) for page, row in enumerate(answer["pages"]))
            if not pages:
                raise ValueError("no page")
            return DecodedFile(folder, pages, str(answer["study"]))
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, KeyError | TypeError | ValueError):
                raise _strange() from error
            raise


def _places(source: Path, folder: Path) -> dict[str, str]:
    return {"source": str(source.absolute()), "folder": str(folder.absolute())}


def _page(row: Mapping[str, Any], page: int, folder: Path, name: str) -> DecodedPage:
    spacing = row["spacing_mm"]
    return DecodedPage(
        page=page,
        folder=folder,
        source=f"{name}#{page + 1}" if page else name,
        spacing_mm=(float(spacing[0]), float(spacing[1])) if spacing else None,
        height_px=int(row["height_px"]),
        width_px=int(row["width_px"]),
        bits=int(row["bits"]),
        low=int(row["low"]),
        high=int(row["high"]),
        sha256=str(row["sha256"]),
        modality=str(row["modality"]),
        body_part=str(row["body_part"]),
        view=str(row["view"]),
        laterality=str(row["laterality"]),
        chroma=float(row["chroma"]),
        read_ms=float(row["read_ms"]),
    )


def _strange() -> DecoderCrashed:
    return DecoderCrashed("the decoder's answer makes no sense", hint=_OTHER_FORMAT)


class _Lane:
    """Processes for one kind of order; the one that was used last is used first, being warmest."""

    def __init__(self, words: Sequence[str], processes: int) -> None:
        self._words = words
        self._processes = processes
        self._stopped = threading.Event()
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        self._busy: set[_Process] = set()
        self.lost = 0
        """Processes that ended over an order, or were ended, and were replaced."""

        for _ in range(processes):
            self._idle.put(None)

    def start(self) -> None:
        """Start all processes, waiting for none."""
        taken = [self._idle.get() for _ in range(self._processes)]
        for process in taken:
            self._idle.put(process or self._begun())

    def _begun(self) -> "_Process | None":
        """A process that starts; None where that fails: whoever comes next tries again."""
        with suppress(ChildProcessError):
            return _Process(self._words)
        return None

    def stop(self) -> None:
        """End all processes; what is being done is lost."""
        self._stopped.set()
        for busy in list(self._busy):
            busy.kill()
        for _ in range(self._processes):
            process = self._idle.get()
            if process:
                process.end()
        for _ in range(self._processes):
            self._idle.put(None)

    def answer(self, order: Mapping[str, Any], *, seconds: float) -> Mapping[str, Any]:
        """What a process answers; raises the InvalidImage it reports, DecoderCrashed, DecoderTimedOut."""
        process = self._idle.get()
        try:
            if process and not process.alive:
                process.end()
                process = None
            process = process or _Process(self._words)
            self._busy.add(process)
            if self._stopped.is_set():
                process.kill()
            answer = process.answer(order, seconds=seconds)
        finally:
            if process:
                self._busy.discard(process)
            if process and not process.alive and not self._stopped.is_set():
                self.lost += 1
                process = self._begun()  # starts in the background, for whoever comes next
            self._idle.put(process)
        return _checked(answer)


def _checked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if "fault" in answer:
        raise ChildProcessError(str(answer["fault"])[:80])
    if "crash" in answer:
        raise DecoderCrashed(f"the file could not be decoded: {str(answer['crash'])[:80]}", hint=_OTHER_FORMAT)
    if "error" in answer:
        try:
            kind = _KINDS.get(answer["error"]["type"], InvalidImage)
            message, hint = str(answer["error"]["message"])[:500], str(answer["error"]["hint"])[:500]
        except (KeyError, TypeError) as error:
            raise _strange() from error
        raise kind(message, hint=hint)
    return answer


class _Process:
    """A decoder process and the way to talk to it; used by one thread at a time."""

    def __init__(self, words: Sequence[str]) -> None:
        """Start it; raises ChildProcessError where that fails."""
        try:
            self._popen = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt at the terminal is for the server, which ends it in its time
            )
        except OSError as error:
            raise ChildProcessError("a decoder process did not start") from error
        self._ready = False

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """Have whoever waits for its answer learn that there is none; there is nothing it could lose."""
        self._popen.kill()

    def end(self) -> None:
        """Kill it, and let go of it."""
        self._popen.kill()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()

    def answer(self, order: Mapping[str, Any], *, seconds: float) -> Mapping[str, Any]:
        """Its answer; raises DecoderCrashed, DecoderTimedOut or ChildProcessError, and is no more then."""
        if not self._ready:
            self._line(b"", seconds=_START_SECONDS)
            self._ready = True
        return self._line(json.dumps({**order, "seconds": seconds}).encode() + b"\n", seconds=seconds)

    def _line(self, order: bytes, *, seconds: float) -> Mapping[str, Any]:
        """Send a line, and wait for one; when time is over the process is killed, which ends the waiting."""
        assert self._popen.stdin and self._popen.stdout
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._popen.kill()

        watch = threading.Timer(seconds, kill)
        watch.daemon = True
        watch.start()
        answer: Any = None
        with suppress(OSError, ValueError):  # it ended before or amidst its answer
            self._popen.stdin.write(order)
            self._popen.stdin.flush()
            answer = json.loads(self._popen.stdout.readline(_MOST_ANSWER_BYTES))
        watch.cancel()
        watch.join()
        if late.is_set() or not isinstance(answer, dict):
            self.end()
            raise self._lost(late=late.is_set(), seconds=seconds)
        return answer

    def _lost(self, *, late: bool, seconds: float) -> InvalidImage | ChildProcessError:
        status = self._popen.returncode
        logger.warning("a decoder process was lost: %s", "too slow" if late else f"status {status}")
        if status == -_SIGKILL and not late:
            return ChildProcessError("a decoder process was ended from outside")
        if not self._ready:
            return ChildProcessError("a decoder process did not start")
        if late:
            return DecoderTimedOut(f"decoding took longer than {seconds:g} s", hint=_OTHER_FORMAT)
        return DecoderCrashed("the file made its decoder crash", hint=_OTHER_FORMAT)
