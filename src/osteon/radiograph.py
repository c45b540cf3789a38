"""A radiograph: one grey picture, bone bright, with what is known of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.errors import InvalidImage

Pixels = NDArray[Any]
"""(height, width) uint8 or uint16."""


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One picture as a person sees it: EXIF orientation applied, DICOM look-up tables applied, bone bright.

    Attributes:
        pixels: (height, width) uint8 or uint16; the full range of the type is black to white.
        source: what to call it: the path as given, with `#2` behind it for the second page or frame.
        sha256: of the file's bytes.
        spacing_mm: (row, column) distance of pixel centres in millimetres, where the file tells.
        page: index of the page or frame in its file.
        modality: DICOM modality (CR, DX, ...) or "" for a plain picture.
        body_part: DICOM BodyPartExamined, or "".
        view: DICOM ViewPosition, or "".
        laterality: L, R, or "".
        chroma: how colourful the picture was: mean of the largest less the smallest of red, green and blue, 0 to 1.
    """

    pixels: Pixels
    source: str
    sha256: str
    spacing_mm: tuple[float, float] | None = None
    page: int = 0
    modality: str = ""
    body_part: str = ""
    view: str = ""
    laterality: str = ""
    chroma: float = 0.0

    def __post_init__(self) -> None:
        if self.pixels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"pixels are {self.pixels.dtype}, expected uint8 or uint16")
        if self.pixels.ndim != 2 or min(self.pixels.shape) < 1:
            raise InvalidImage(
                f"picture of shape {self.pixels.shape}, expected (height, width)",
                hint="send a picture with at least one pixel",
            )

    @property
    def height_px(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def white(self) -> int:
        """The pixel value of white: 255 or 65535."""
        return 255 if self.pixels.dtype == np.uint8 else 65535

    def as_uint8(self) -> NDArray[np.uint8]:
        """(height, width) uint8 for display and model input; 16 bit is rounded, not windowed."""
        if self.pixels.dtype == np.uint8:
            return self.pixels
        return np.asarray((self.pixels.astype(np.uint32) + 128) // 257, np.uint8)
