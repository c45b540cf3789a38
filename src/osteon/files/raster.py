"""JPEG, PNG, TIFF, BMP, WebP and GIF -> Radiograph, through Pillow (OpenCV for 16-bit colour, which Pillow halves)."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from osteon.errors import InvalidImage
from osteon.files.sniff import RasterFormat
from osteon.grey import luma, on_black, spread
from osteon.limits import Limits
from osteon.radiograph import Pixels, Radiograph

# Plugins are called by name: `Image.open` would try every format, and warn or refuse by a process-wide pixel limit.
_OPENERS: dict[RasterFormat, Any] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}

# What Pillow raises on damaged files; it has no class of its own for this.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION = 0x0112
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_CHROMA_SIDE_PX = 64
_PHOTOMETRIC, _BITS_PER_SAMPLE, _MIN_IS_WHITE = 262, 258, 0


def pages(data: bytes, kind: RasterFormat, *, source: str, sha256: str, limits: Limits) -> Iterator[Radiograph]:
    """Each page of a TIFF, the one picture of any other format; grey, as a person sees it.

    Raises:
        InvalidImage: the bytes are not what their first ones promise, or end too early.
        ImageTooLarge: a page over the limits, told by its header.
    """
    image = _open(data, kind)
    count = _page_count(image, kind, limits)
    for page in range(count):
        grey = image.mode in _GREY_MODES  # asked first: a JPEG is then told to decode its luma alone
        pixels = _page(image, data, kind, page, limits)
        chroma = 0.0 if grey and kind != "TIFF" else _chroma(_open(data, kind) if kind == "JPEG" else image)
        yield Radiograph(pixels, f"{source}#{page + 1}" if page else source, sha256, page=page, chroma=chroma)


def _open(data: bytes, kind: RasterFormat) -> Image.Image:
    try:
        image: Image.Image = _OPENERS[kind](BytesIO(data))
    except _DAMAGE as error:
        raise _damaged(kind, error) from error
    return image


def _damaged(kind: RasterFormat, error: BaseException) -> InvalidImage:
    truncated = "truncated" in str(error).lower() or isinstance(error, EOFError)
    what = "ends too early: it is truncated" if truncated else f"cannot be decoded ({type(error).__name__})"
    return InvalidImage(f"the {kind} picture {what}", hint="send the original file again; this copy is damaged")


def _page_count(image: Image.Image, kind: RasterFormat, limits: Limits) -> int:
    """Pages of a TIFF, looking no further than the limit."""
    if kind != "TIFF":
        return 1
    try:
        for page in range(1, limits.max_pages + 1):
            image.seek(page)
    except EOFError:
        return page
    except _DAMAGE as error:
        raise _damaged(kind, error) from error
    limits.check_pages(limits.max_pages + 1)
    raise AssertionError("unreachable")


def _page(image: Image.Image, data: bytes, kind: RasterFormat, page: int, limits: Limits) -> Pixels:
    try:
        if kind == "TIFF":
            image.seek(page)
        limits.check_size(image.height, image.width)
        if image.mode == "RGB":
            image.draft("L", None)  # a JPEG then decodes its luma alone
        image.load()
        pixels = _deep_colour(image, data, kind, page)
        if pixels is None:
            pixels = _grey(image)
        return pixels if kind == "TIFF" else _upright(pixels, _orientation(image))  # Pillow turns a TIFF itself
    except EOFError as error:
        raise _damaged(kind, error) from error
    except _DAMAGE as error:
        raise _damaged(kind, error) from error


def _chroma(image: Image.Image) -> float:
    """How colourful a picture is, by a small copy: 0 grey to 1; see `Radiograph.chroma`."""
    if image.mode in _GREY_MODES:
        return 0.0
    image.draft("RGB", (_CHROMA_SIDE_PX, _CHROMA_SIDE_PX))
    small = image.convert("RGB").resize((_CHROMA_SIDE_PX, _CHROMA_SIDE_PX), Image.Resampling.BOX)
    colours = np.asarray(small).astype(np.int16)
    return round(float((colours.max(axis=2) - colours.min(axis=2)).mean()) / 255, 4)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where it is missing or the EXIF block is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (*_DAMAGE, EOFError):
        return 1
    return value if value in range(1, 9) else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """The picture turned as a person sees it (EXIF 2.32, orientation)."""
    if orientation >= 5:
        pixels = pixels.T
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _grey(image: Image.Image) -> Pixels:
    """(height, width) uint8 or uint16 of a loaded picture in any of Pillow's modes."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _sixteen_bit(image)
    if mode in ("I", "F"):
        return spread(np.asarray(image))
    if mode in ("L", "1") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        colours = np.asarray(image.convert("RGBA"))
        return on_black(luma(colours[..., :3]), colours[..., 3])
    if mode == "YCbCr":
        return np.ascontiguousarray(np.asarray(image)[..., 0])
    return luma(np.asarray(image.convert("RGB")))


def _sixteen_bit(image: Image.Image) -> Pixels:
    """Values of a 16-bit page over the full range: 12 stored bits are scaled up, white-is-zero is inverted."""
    values = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    if bits < 16:
        values = np.asarray((values.astype(np.uint32) * 65535 + (1 << (bits - 1))) // ((1 << bits) - 1), np.uint16)
    return np.asarray(65535 - values, np.uint16) if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE else values


def _deep_colour(image: Image.Image, data: bytes, kind: RasterFormat, page: int) -> Pixels | None:
    """Grey of a 16-bit colour PNG or TIFF, of which Pillow keeps 8 bits only; None for every other picture."""
    if not _is_deep_colour(image, data, kind):
        return None
    found, images = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    if not found or images[0].dtype != np.uint16 or images[0].ndim != 3:
        return None
    colours: NDArray[Any] = images[0]
    grey = luma(np.ascontiguousarray(colours[..., 2::-1]))
    return on_black(grey, colours[..., 3]) if colours.shape[2] == 4 else grey


def _is_deep_colour(image: Image.Image, data: bytes, kind: RasterFormat) -> bool:
    if kind == "PNG":
        return data[24] == 16 and data[25] in (2, 4, 6)
    if kind == "TIFF":
        tags = getattr(image, "tag_v2", {})
        return image.mode in ("RGB", "RGBA") and tags.get(_BITS_PER_SAMPLE, (8,))[0] == 16
    return False
