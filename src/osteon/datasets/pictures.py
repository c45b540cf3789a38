"""A folder of pictures that are not radiographs, searched through: the gate must turn them away."""

from pathlib import Path

from osteon.datasets.case import Case, Manifest
from osteon.datasets.picture_files import pictures_below
from osteon.errors import InvalidDataset


def read(folder: Path) -> Manifest:
    """Each picture below `folder`, named by its path in it, with nothing to find on it.

    Raises:
        InvalidDataset: no pictures.
    """
    paths = pictures_below(folder)
    if not paths:
        raise InvalidDataset(f"no pictures below {folder.name}", hint="JPEG, PNG, BMP, TIFF, WebP and GIF count")
    named = ((path.relative_to(folder).as_posix(), path) for path in paths)
    cases = tuple(Case(name, path, radiograph=False, instances=()) for name, path in named)
    return Manifest(folder.name, cases)
