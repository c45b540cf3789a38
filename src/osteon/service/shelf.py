"""Pages decoded when their file came, handed to the job that follows, so that the work is done once."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from osteon.service.decoders import DecodedFile

MOST_BYTES = 2**30
KEPT_SECONDS = 900.0


@dataclass(frozen=True)
class _Kept:
    file: DecodedFile
    size_bytes: int
    since: float


class Shelf:
    """Decoded files under the id of what they belong to. Safe to use from several threads.

    It is bounded in bytes on disk and in time: what goes is simply decoded again by whoever needs it.
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES, kept_seconds: float = KEPT_SECONDS) -> None:
        self._most_bytes = most_bytes
        self._kept_seconds = kept_seconds
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    def put(self, key: str, file: DecodedFile) -> None:
        """Keep a file, which belongs to the shelf then; the oldest make room."""
        with self._lock:
            self._remove(key)
            kept = _Kept(file, file.size_bytes, time.monotonic())
            self._kept[key] = kept
            self._size += kept.size_bytes
            self._make_room()

    def take(self, key: str) -> DecodedFile | None:
        """A file, which belongs to the caller then, to be used and removed or put back; None where it is not here."""
        with self._lock:
            self._make_room()
            kept = self._kept.pop(key, None)
            if kept is None:
                return None
            self._size -= kept.size_bytes
            return kept.file

    def drop(self, key: str) -> None:
        """Remove a file, if it is here."""
        with self._lock:
            self._remove(key)

    def tidy(self) -> None:
        """Remove what has lain here for too long."""
        with self._lock:
            self._make_room()

    def clear(self) -> None:
        """Remove all files."""
        with self._lock:
            for key in list(self._kept):
                self._remove(key)

    def _make_room(self) -> None:
        oldest = time.monotonic() - self._kept_seconds
        for key, kept in list(self._kept.items()):
            if self._size > self._most_bytes or kept.since < oldest:
                self._remove(key)

    def _remove(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept:
            self._size -= kept.size_bytes
            kept.file.remove()
