"""ZIP archives of pictures as a batch. Runs in a decoder process; names inside are labels, never paths."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from osteon.errors import ImageTooLarge, InvalidImage

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
UNNAMED = "image"
MOST_RATIO = 200
"""Times that an entry may grow when it is unpacked; radiographs grow 1 to 20 times."""

_RATIO_COUNTS_FROM = 2**20
_PIECE = 2**18
_ENCRYPTED = 0x1
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, KeyError)
_JUNK = re.compile(r"(^|/)(__MACOSX/|\.[^/]*$|Thumbs\.db$|desktop\.ini$|DICOMDIR$)", re.IGNORECASE)
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Entry:
    """A file of an archive: what the sender calls it, and where it lies now."""

    label: str
    path: Path


def shown_name(name: str | None) -> str:
    r"""What a sender calls a file, fit to be shown: no folders, no control characters, at most 255 characters.

    >>> shown_name("C:\\scans\\wrist\n.jpg")
    'wrist.jpg'
    """
    last = re.split(r"[/\\]", name or "")[-1]
    return _UNSHOWABLE.sub("", last).strip()[:255] or UNNAMED


def unpack(source: Path, folder: Path, *, most_entries: int, most_bytes: int) -> list[Entry]:
    """The files of an archive, written into `folder` under numbers; folders and systems' own files are left out.

    Raises:
        InvalidImage: damaged, encrypted, empty, or an archive in the archive.
        ImageTooLarge: more files, more bytes or a higher ratio than allowed, found while unpacking.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            wanted = list(_wanted(archive, most_entries))
            budget = most_bytes
            entries: list[Entry] = []
            for number, info in enumerate(wanted):
                path = folder / f"{number}"
                with archive.open(info) as packed, path.open("wb") as file:
                    budget -= _copied(packed, file, info=info, budget=budget, most_bytes=most_bytes)
                entries.append(Entry(shown_name(info.filename), path))
    except _DAMAGE as error:
        raise InvalidImage(
            f"a ZIP archive that cannot be unpacked ({type(error).__name__})",
            hint="pack the pictures again, or send them one by one",
        ) from error
    return entries


def _wanted(archive: zipfile.ZipFile, most_entries: int) -> Iterator[zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if not info.is_dir() and not _JUNK.search(info.filename)]
    if len(infos) > most_entries:
        raise ImageTooLarge(
            f"{len(infos)} files in the archive, at most {most_entries} are taken", hint="split it into several"
        )
    if not infos:
        raise InvalidImage("a ZIP archive without files", hint="pack pictures into it")
    for info in infos:
        if info.flag_bits & _ENCRYPTED:
            raise InvalidImage("an encrypted ZIP archive", hint="decrypt it and send the pictures")
        yield info


def _copied(packed: IO[bytes], file: IO[bytes], *, info: zipfile.ZipInfo, budget: int, most_bytes: int) -> int:
    """Copy an entry and count its bytes as they come, whatever the archive says of them."""
    count = 0
    while piece := packed.read(_PIECE):
        if not count and piece.startswith(MAGIC):
            raise InvalidImage("an archive within the archive", hint="pack the pictures themselves")
        count += len(piece)
        if count > budget:
            raise ImageTooLarge(
                f"the archive unpacks to more than {most_bytes / 2**20:.1f} MiB", hint="send fewer or smaller pictures"
            )
        if count > max(_RATIO_COUNTS_FROM, MOST_RATIO * info.compress_size):
            raise ImageTooLarge(
                f"a file of the archive unpacks to more than {MOST_RATIO} times its size", hint="send the picture alone"
            )
        file.write(piece)
    return count
