"""The pictures that a command's arguments mean: files, folders, glob patterns."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

ENDINGS = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".webp",
        ".gif",
        ".dcm",
        ".dicom",
        ".dic",
    )
)


def find(paths: Sequence[str | Path]) -> Iterator[Path]:
    """The files meant by paths, each once, in the order of the arguments, folders sorted.

    A folder is searched through for files with a picture's ending, and for DICOM files without one (their magic is
    looked at). A file named outright is given whatever its ending. What matches nothing is given too, so that reading
    it fails with InvalidImage for this one file and the rest goes on.
    """
    seen: set[Path] = set()
    for given in paths:
        for path in _expand(Path(given)):
            if path not in seen:
                seen.add(path)
                yield path


def _expand(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _folder(path)
    elif path.exists() or not glob.has_magic(str(path)):
        yield path
    else:
        yield from _pattern(path)


def _pattern(pattern: Path) -> Iterator[Path]:
    matches = sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207 - Path.glob refuses absolute patterns
    if not matches:
        yield pattern
    for match in map(Path, matches):
        if match.is_dir():
            yield from _folder(match)
        else:
            yield match


def _folder(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _folder(entry)
        elif entry.suffix.lower() in ENDINGS or (_plain_name(entry) and _has_dicom_magic(entry)):
            yield entry


def _plain_name(path: Path) -> bool:
    """No ending, or one that is a number as in `IM.0001` or a UID."""
    return not path.suffix or path.suffix[1:].isdigit()


def _has_dicom_magic(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(132)[128:] == b"DICM"
    except OSError:
        return False
