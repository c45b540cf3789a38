"""One compressed frame -> samples, by its transfer syntax (imagecodecs).

imagecodecs (BSD-3-Clause) decodes all of them under permissive licences: libjpeg-turbo for JPEG with 8, 12 and 16 bits,
lossy and lossless (20 ms for 1760x1760), OpenJPEG, CharLS, PackBits. It loads in 10 ms and only for compressed files.
pylibjpeg-libjpeg is GPL; GDCM costs 140 ms at each import of pydicom's decoders and carries an OpenSSL past its end.
"""

import re
import struct
from dataclasses import dataclass
from typing import Any, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from osteon.errors import InvalidImage, UnsupportedDicom

Family = Literal["JPEG", "JPEG-LS", "JPEG 2000", "RLE"]

_JPEG = "1.2.840.10008.1.2.4."
_FAMILIES: dict[str, Family] = {
    "1.2.840.10008.1.2.5": "RLE",
    **dict.fromkeys((_JPEG + "50", _JPEG + "51", _JPEG + "53", _JPEG + "55", _JPEG + "57", _JPEG + "70"), "JPEG"),
    **dict.fromkeys((_JPEG + "80", _JPEG + "81"), "JPEG-LS"),
    **dict.fromkeys((_JPEG + "90", _JPEG + "91", _JPEG + "201", _JPEG + "202", _JPEG + "203"), "JPEG 2000"),
}

_END_OF_IMAGE = b"\xff\xd9"
_SOF_LOSSLESS, _SOF_JPEG_LS = 0xC3, 0xF7
_SOF = {0xC0, 0xC1, 0xC2, _SOF_LOSSLESS, _SOF_JPEG_LS}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}


@dataclass(frozen=True)
class Codestream:
    """What a compressed frame says of itself; bits are of one sample."""

    family: Family
    rows: int
    columns: int
    samples: int
    bits: int
    lossless_jpeg: bool = False
    says_colour: bool = False


def family(transfer_syntax: str) -> Family | None:
    """The codec of a transfer syntax; None where it is not a compressed one that Osteon decodes."""
    return _FAMILIES.get(transfer_syntax)


def guess_family(frame: bytes) -> Family:
    """The codec told by the first bytes of a frame, where no transfer syntax is known."""
    if frame.startswith(b"\xff\x4f\xff\x51") or frame[4:8] == b"jP  ":
        return "JPEG 2000"
    if frame.startswith(b"\xff\xd8"):
        return "JPEG-LS" if b"\xff\xf7" in frame[:64] else "JPEG"
    return "RLE"


def codestream(frame: bytes) -> Codestream | None:
    """Size and depth from a frame's header; None for RLE, which carries none.

    Raises:
        InvalidImage: it begins as a JPEG or JPEG 2000 but has no readable header.
    """
    if frame.startswith(b"\xff\xd8"):
        return _jpeg_header(frame)
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    return _jpeg2000_header(frame, start) if start >= 0 else None


def _jpeg_header(frame: bytes) -> Codestream:
    position, says_colour = 2, False
    while position + 9 < len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF or marker in _STANDALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _SOF:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, position + 4)
            codec: Family = "JPEG-LS" if marker == _SOF_JPEG_LS else "JPEG"
            return Codestream(codec, rows, columns, samples, bits, marker == _SOF_LOSSLESS, says_colour)
        says_colour |= frame[position + 4 : position + 9] in (b"JFIF\x00", b"Adobe")
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    raise InvalidImage("a JPEG frame without a readable header", hint="the file is damaged; export it again")


def _jpeg2000_header(frame: bytes, start: int) -> Codestream:
    try:
        right, lower, left, upper = struct.unpack_from(">4I", frame, start + 8)
        (samples,) = struct.unpack_from(">H", frame, start + 40)
        bits = (frame[start + 42] & 0x7F) + 1
    except (struct.error, IndexError) as error:
        raise InvalidImage(
            "a JPEG 2000 frame without a readable header", hint="the file is damaged; export it again"
        ) from error
    return Codestream("JPEG 2000", lower - upper, right - left, samples, bits)


def decode(
    frame: bytes, codec: Family, *, rows: int, columns: int, samples: int, bytes_per_sample: int, ycbcr: bool
) -> NDArray[Any]:
    """The samples of a frame: (rows, columns) or (rows, columns, samples), any integer type.

    Lossy JPEG and JPEG 2000 colours come as RGB; `ycbcr` tells what a JPEG holds which does not say so itself.

    Raises:
        InvalidImage: truncated or damaged, or of another size.
        UnsupportedDicom: a variant which the decoder does not know.
    """
    try:
        if codec == "RLE":
            pixels = _run_length(frame, rows, columns, samples, bytes_per_sample)
        else:
            pixels = _DECODERS[codec](_whole(frame, codec), ycbcr)
    except (RuntimeError, ValueError, struct.error, MemoryError) as error:
        if re.search("unsupported|not implemented|not supported", str(error), re.IGNORECASE):
            raise UnsupportedDicom(
                f"a {codec} frame of a rare kind", hint="export it uncompressed or as JPEG 2000"
            ) from error
        raise InvalidImage(
            f"a {codec} frame that cannot be decoded", hint="the file is damaged; export it again"
        ) from error
    expected = (rows, columns) if samples == 1 else (rows, columns, samples)
    if pixels.shape != expected:
        raise InvalidImage(
            f"a {codec} frame of shape {pixels.shape}, expected {expected}", hint="the file is damaged; export it again"
        )
    return pixels


def _whole(frame: bytes, codec: Family) -> bytes:
    """The frame, checked to reach its end marker: libjpeg fills a truncated picture with grey and says nothing."""
    if _END_OF_IMAGE not in frame[-32:]:
        raise InvalidImage(f"a {codec} frame that ends too early", hint="the file is truncated; send it again")
    return frame


def _jpeg(frame: bytes, ycbcr: bool) -> NDArray[Any]:
    header = _jpeg_header(frame)
    if header.samples != 3:
        return np.asarray(imagecodecs.jpeg8_decode(frame))
    if header.lossless_jpeg:
        return np.asarray(imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB"))
    colours = None if header.says_colour else "YCBCR" if ycbcr else "RGB"
    return np.asarray(imagecodecs.jpeg8_decode(frame, colorspace=colours, outcolorspace="RGB"))


def _jpeg_ls(frame: bytes, _: bool) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpegls_decode(frame))


def _jpeg2000(frame: bytes, _: bool) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpeg2k_decode(frame))


_DECODERS = {"JPEG": _jpeg, "JPEG-LS": _jpeg_ls, "JPEG 2000": _jpeg2000}


def _run_length(frame: bytes, rows: int, columns: int, samples: int, bytes_per_sample: int) -> NDArray[Any]:
    """Samples of a DICOM RLE frame (PS3.5 annex G): a PackBits segment for each byte plane, most significant first."""
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != samples * bytes_per_sample or count > 15:
        raise InvalidImage(
            f"an RLE frame of {count} segments, expected {samples * bytes_per_sample}",
            hint="the file is damaged; export it again",
        )
    ends = [*offsets[1:count], len(frame)]
    planes = np.empty((rows, columns, samples, bytes_per_sample), np.uint8)
    for segment, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        plane = _unpack(frame[start:end], rows * columns)
        planes[:, :, segment // bytes_per_sample, -1 - segment % bytes_per_sample] = plane.reshape(rows, columns)
    pixels = planes.view(f"<u{bytes_per_sample}")[..., 0]
    return pixels[..., 0] if samples == 1 else pixels


def _unpack(segment: bytes, size: int) -> NDArray[np.uint8]:
    # One byte of padding may follow the last run; room for a run more keeps it from being an error.
    unpacked = np.frombuffer(imagecodecs.packbits_decode(segment, out=size + 128), np.uint8)
    if unpacked.size < size:
        raise InvalidImage("an RLE segment that ends too early", hint="the file is truncated; send it again")
    return unpacked[:size]
