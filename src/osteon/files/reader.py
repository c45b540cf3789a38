"""One file of any kind -> its radiographs."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from osteon.errors import InvalidImage
from osteon.files import raster
from osteon.files.sniff import sniff
from osteon.limits import Limits
from osteon.radiograph import Radiograph

DEFAULT_LIMITS = Limits()
UNNAMED = "image"


def read(source: Path | bytes, *, name: str | None = None, limits: Limits = DEFAULT_LIMITS) -> list[Radiograph]:
    """All radiographs of a file; most files hold one. See `read_pages`."""
    return list(read_pages(source, name=name, limits=limits))


def read_pages(
    source: Path | bytes, *, name: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Radiograph]:
    """The radiographs of a file one after another, each decoded only when it is asked for.

    Args:
        source: a path, or the file's bytes. JPEG, PNG, TIFF, BMP, WebP, GIF (first frame) or DICOM, told by content.
        name: what to call it; the path as given where this is None.
        limits: sizes above which the file is refused before decoding.

    Raises:
        InvalidImage: missing, empty, truncated, encrypted, or no picture. Like all errors, raised when the first (or
            the damaged) page is asked for.
        UnsupportedDicom: a DICOM object without a picture Osteon can show.
        ImageTooLarge: over a limit.
    """
    data = _load(source, limits)
    label = name or (UNNAMED if isinstance(source, bytes) else str(source))
    kind = sniff(data)
    sha256 = hashlib.sha256(data).hexdigest()
    if kind == "DICOM":
        from osteon.dicom.read import pages  # a raster picture needs no pydicom, which takes 0.2 s to import

        yield from pages(data, source=label, sha256=sha256, limits=limits)
    else:
        yield from raster.pages(data, kind, source=label, sha256=sha256, limits=limits)


def _load(source: Path | bytes, limits: Limits) -> bytes:
    if isinstance(source, bytes):
        limits.check_bytes(len(source))
        return source
    try:
        if not source.exists():
            raise InvalidImage(f"no such file: {source}", hint="check the path and its spelling")
        if not source.is_file():
            raise InvalidImage(f"not a regular file: {source}", hint="give a file, or a folder to search through")
        limits.check_bytes(source.stat().st_size)
        with source.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise InvalidImage(f"cannot open {source}: {reason}", hint="check the path and its permissions") from error
    limits.check_bytes(len(data))
    return data
