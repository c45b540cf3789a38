"""Pages decoded when their file came, handed to the job that follows, so that the work is done once."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osteon.files import read_pages
from osteon.radiograph import Radiograph

MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Page:
    """A decoded page and the milliseconds that took."""

    radiograph: Radiograph
    read_ms: float

    @property
    def size_bytes(self) -> int:
        """Of its pixels."""
        return int(self.radiograph.pixels.nbytes)


def pages(source: Path | bytes, *, name: str) -> Iterator[Page]:
    """The pages of a file one after another, each decoded only when it is asked for; raises what `read_pages` does."""
    started = time.perf_counter()
    for radiograph in read_pages(source, name=name):
        yield Page(radiograph, (time.perf_counter() - started) * 1000)
        started = time.perf_counter()


class DecodedPages:
    """A shelf of limited size: what does not fit is simply decoded again. Safe to use from several threads."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: dict[str, list[Page]] = {}
        self._size = 0

    def checked(self, content: Path | bytes, *, name: str) -> list[Page]:
        """Decode every page of a file, to learn whether it is sound; the pages, or none where they are too large.

        Raises:
            InvalidImage: the file cannot be decoded.
        """
        found: list[Page] = []
        size = 0
        for page in pages(content, name=name):
            size += page.size_bytes
            if size > self._most_bytes:
                found.clear()
            else:
                found.append(page)
        return found

    def put(self, analysis_id: str, found: list[Page]) -> None:
        """Keep the pages of an analysis, if there is room."""
        size = sum(page.size_bytes for page in found)
        with self._lock:
            if found and self._size + size <= self._most_bytes:
                self._kept[analysis_id] = found
                self._size += size

    def take(self, analysis_id: str) -> list[Page]:
        """The pages of an analysis, which are then no longer kept; none where there are not any."""
        with self._lock:
            found = self._kept.pop(analysis_id, [])
            self._size -= sum(page.size_bytes for page in found)
            return found
