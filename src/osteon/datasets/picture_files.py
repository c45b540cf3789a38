"""Picture files on disk: which there are, where a named one lies, how large one is as a person sees it."""

import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from osteon.datasets.case import Case
from osteon.errors import InvalidDataset

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
_SPLIT_NAMES = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
_ORIENTATION_TAG = 274
_TURNED_BY_A_QUARTER = frozenset({5, 6, 7, 8})


def pictures_below(folder: Path) -> list[Path]:
    """All picture files in `folder` and the folders below it, hidden ones left out, in the order of their paths."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file() and not _is_hidden(path, folder))


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


class PictureIndex:
    """Finds pictures below a folder by the relative path or, failing that, by its end that a source gives.

    Letters are compared in one Unicode form: a disk or a tool may take "é" apart.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path | None:
        """Where the picture called `name` lies, or None; the folders are searched through at the first need.

        Of several pictures with the file's bare name, the one whose path agrees furthest from its end on; the first
        of those that agree equally far.
        """
        direct = self._folder / name
        if direct.is_file():
            return direct
        if self._by_name is None:
            self._by_name = {}
            for path in pictures_below(self._folder):
                self._by_name.setdefault(_composed(path.name), []).append(path)
        wanted = Path(_composed(name.replace("\\", "/")))
        return max(self._by_name.get(wanted.name, ()), key=lambda path: _common_end(path, wanted), default=None)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _common_end(path: Path, wanted: Path) -> int:
    """How many of the last parts two paths share."""
    pairs = zip(reversed(Path(_composed(str(path))).parts), reversed(wanted.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def orientation(path: Path) -> int:
    """The EXIF orientation, 1 to 8; 1 where the file has none or cannot be read."""
    try:
        with Image.open(path) as picture:
            return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError):
        return 1


def size_px(path: Path) -> tuple[int, int] | None:
    """(height, width) with the EXIF orientation applied, from the header alone; None where it cannot be read."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = int(picture.getexif().get(_ORIENTATION_TAG, 1)) in _TURNED_BY_A_QUARTER
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError):
        return None
    return (width, height) if turned else (height, width)


def known_size(case: Case) -> tuple[int, int]:
    """(height, width) of a case's picture, from the source or from the file.

    Raises:
        InvalidDataset: neither tells.
    """
    size = (case.height_px, case.width_px) if case.height_px and case.width_px else size_px(case.path)
    if size is None or size[0] is None or size[1] is None:
        raise InvalidDataset(f"the size of {case.name} is not known", hint="put the picture where the manifest says")
    return int(size[0]), int(size[1])


def short_names(paths: Sequence[Path], folder: Path) -> list[str]:
    """A name for each path: the bare file names where they are unique, else the paths relative to `folder`."""
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    return [path.relative_to(folder).as_posix() for path in paths]


def split_in_path(path: Path, folder: Path) -> str:
    """The part (train, valid, test) that a folder between `folder` and `path` names, or ""."""
    for part in reversed(path.relative_to(folder).parts[:-1]):
        found = _SPLIT_NAMES.get(part.lower())
        if found:
            return found
    return ""
