"""What a decoder process and who asks it agree on: names of files, sizes."""

from pathlib import Path

PREVIEW_SIDE_PX = 512
"""Longest side of a preview."""

THUMBNAIL_SIDE_PX = 160

MOST_PAGE_BYTES = 2**30
"""Of the pixels of all pages of a file: they lie on disk until they are analysed."""


def pixels_file(folder: Path, page: int) -> Path:
    """Where the pixels of a page are written, as `numpy.save` has it."""
    return folder / f"page-{page + 1}.npy"


def picture_file(folder: Path, page: int) -> Path:
    """Where the page as people see it is written, 8-bit grey PNG."""
    return folder / f"page-{page + 1}.png"


def thumbnail_file(folder: Path) -> Path:
    """Where the first page is written once more, at most 160 px a side, JPEG."""
    return folder / "thumbnail.jpg"
