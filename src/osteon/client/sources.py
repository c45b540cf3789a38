"""What can be sent: bytes, a file, and the files of a folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osteon.errors import InvalidImage

Source = str | Path | bytes

_PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif")
_ENDINGS = frozenset((*_PICTURES, ".dcm", ".dicom", ".dic", ".zip"))
_MAGIC_AT, _MAGIC = 128, b"DICM"


@dataclass(frozen=True)
class Content:
    """Bytes to send, in memory or in a file, which is read part by part."""

    name: str
    size_bytes: int
    source: Path | bytes

    @classmethod
    def of(cls, source: Source, name: str | None = None) -> "Content":
        """Raises InvalidImage where there is no such file."""
        if isinstance(source, bytes):
            return cls(name or "image", len(source), source)
        path = Path(source)
        try:
            return cls(name or path.name, path.stat().st_size, path)
        except OSError as error:
            raise _unreadable(path, error) from error

    def part(self, start: int = 0, size_bytes: int | None = None) -> bytes:
        """So many bytes from `start`, all where no size is given; raises InvalidImage where they cannot be read."""
        if isinstance(self.source, bytes):
            return self.source[start : None if size_bytes is None else start + size_bytes]
        try:
            with self.source.open("rb") as file:
                file.seek(start)
                return file.read(-1 if size_bytes is None else size_bytes)
        except OSError as error:
            raise _unreadable(self.source, error) from error


def pictures_in(folder: str | Path) -> Iterator[Path]:
    """The files below a folder that may hold a radiograph, sorted: by their ending, or DICOM without one.

    What begins with a dot is left out, and no link to a folder is followed. Archives (.zip) count too.

    Raises:
        InvalidImage: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InvalidImage(f"no folder {root.name}", hint="give a folder that can be read")
    for here, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith(".") and (path.suffix.lower() in _ENDINGS or _is_plain_dicom(path)):
                yield path


def _is_plain_dicom(path: Path) -> bool:
    """No ending, or one that is a number as in `IM.0001`, and DICOM's magic in the file."""
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _unreadable(path: Path, error: OSError) -> InvalidImage:
    return InvalidImage(f"cannot read {path.name}: {error.strerror}", hint="give a file that can be read")
