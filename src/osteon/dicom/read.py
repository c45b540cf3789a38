"""A DICOM file -> its frames as radiographs, seen as the modality meant, bone bright."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut

from osteon.dicom import codec
from osteon.dicom.dataset import DAMAGE, check_picture, code, parse, transfer_syntax, whole
from osteon.dicom.grayscale import Look, look
from osteon.dicom.layout import Layout, fit_length, layout
from osteon.errors import InvalidImage, UnsupportedDicom
from osteon.grey import luma
from osteon.limits import Limits
from osteon.radiograph import Pixels, Radiograph

_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
_FIRST_ITEM = b"\xfe\xff\x00\xe0"

Samples = NDArray[Any]
"""(rows, columns) or (rows, columns, 3) as stored."""


def pages(data: bytes, *, source: str, sha256: str, limits: Limits) -> Iterator[Radiograph]:
    """Each frame of a DICOM file.

    Raises:
        InvalidImage: truncated or damaged, or attributes that contradict the pixel data beyond repair.
        UnsupportedDicom: an object without a picture, or a transfer syntax Osteon does not decode.
        ImageTooLarge: over a limit, told by the attributes and the codestreams' headers.
    """
    dataset = parse(data, limits)
    check_picture(dataset)
    try:
        frames = _frames(dataset, limits)
        for page, (samples, found) in enumerate(frames):
            pixels = _grey(dataset, samples, found, page)
            yield _radiograph(dataset, pixels, source=source, sha256=sha256, page=page)
    except DAMAGE as error:
        raise InvalidImage(
            f"a DICOM file whose pixels cannot be read ({type(error).__name__})",
            hint="the file is damaged; send the original export again",
        ) from error


def _radiograph(dataset: Dataset, pixels: Pixels, *, source: str, sha256: str, page: int) -> Radiograph:
    side = code(dataset, "ImageLaterality") or code(dataset, "Laterality")
    return Radiograph(
        pixels,
        f"{source}#{page + 1}" if page else source,
        sha256,
        spacing_mm=_spacing(dataset),
        page=page,
        modality=code(dataset, "Modality"),
        body_part=code(dataset, "BodyPartExamined"),
        view=code(dataset, "ViewPosition"),
        laterality=side if side in ("L", "R") else "",
    )


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Pixel spacing: calibrated to the patient where the file says so, else as on the detector."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = dataset.get(keyword)
        try:
            row, column = (float(distance) for distance in value or ())
        except (TypeError, ValueError):
            continue
        if 0 < row < float("inf") and 0 < column < float("inf"):
            return row, column
    return None


def _frames(dataset: Dataset, limits: Limits) -> Iterator[tuple[Samples, Layout]]:
    syntax = transfer_syntax(dataset)
    pixel_data: bytes = dataset.PixelData or b""
    known = codec.family(syntax)
    if known or (syntax not in _UNCOMPRESSED and pixel_data.startswith(_FIRST_ITEM)):
        if syntax and not known:
            raise UnsupportedDicom(
                f"transfer syntax {syntax} is not decoded", hint="export it uncompressed, as JPEG-LS or as JPEG 2000"
            )
        return _compressed(dataset, pixel_data, known, limits)
    return _native(dataset, pixel_data, limits)


def _compressed(
    dataset: Dataset, pixel_data: bytes, known: codec.Family | None, limits: Limits
) -> Iterator[tuple[Samples, Layout]]:
    count = max(1, whole(dataset, "NumberOfFrames") or 1)
    limits.check_pages(count)
    table = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    offsets = (table[0], table[1]) if table[0] and table[1] else None
    read = 0
    for frame in generate_frames(pixel_data, number_of_frames=count, extended_offsets=offsets):
        if read == count:
            return
        yield _decoded(dataset, frame, known or codec.guess_family(frame), limits)
        read += 1
    if read < count:
        raise InvalidImage(
            f"{read} frame(s) of pixel data, expected {count} (NumberOfFrames)",
            hint="the file is truncated; send it again",
        )


def _decoded(dataset: Dataset, frame: bytes, family: codec.Family, limits: Limits) -> tuple[Samples, Layout]:
    stream = codec.codestream(frame) if family != "RLE" else None
    found = layout(dataset, stream)
    limits.check_size(found.rows, found.columns)
    samples = codec.decode(
        frame,
        stream.family if stream else family,
        rows=found.rows,
        columns=found.columns,
        samples=found.samples,
        bytes_per_sample=found.bits_allocated // 8,
        ycbcr=found.photometric.startswith("YBR"),
    )
    if found.colour and (family == "JPEG 2000" or (stream and family == "JPEG" and not stream.lossless_jpeg)):
        found = replace(found, photometric="RGB")
    return samples, found


def _native(dataset: Dataset, pixel_data: bytes, limits: Limits) -> Iterator[tuple[Samples, Layout]]:
    found = layout(dataset, None)
    limits.check_pages(found.frames)
    limits.check_size(found.rows, found.columns)
    found = fit_length(found, len(pixel_data), stored=whole(dataset, "BitsStored"))
    order = ">" if not dataset.original_encoding[1] else "<"
    if order == ">" and found.bits_allocated == 8 and dataset["PixelData"].VR == "OW":
        pixel_data = np.frombuffer(pixel_data[: len(pixel_data) // 2 * 2], "<u2").byteswap().tobytes()
    for frame in range(found.frames):
        yield _native_frame(pixel_data, found, frame, order), found


def _native_frame(pixel_data: bytes, found: Layout, frame: int, order: str) -> Samples:
    """The samples of one uncompressed frame; a view of the file's bytes where these lie as they are needed."""
    if found.bits_allocated == 1:
        start, size = frame * found.frame_bits, found.rows * found.columns
        part = np.frombuffer(pixel_data, np.uint8)[start // 8 : (start + size + 7) // 8]
        bits = np.unpackbits(part, bitorder="little")[start % 8 :][:size]
        return bits.reshape(found.rows, found.columns)
    width = found.bits_allocated // 8
    count = found.frame_bits // found.bits_allocated
    flat = np.frombuffer(pixel_data, f"{order}u{width}", count, frame * count * width)
    if not found.colour:
        return flat.reshape(found.rows, found.columns)
    if found.photometric.endswith("422"):  # Y0 Y1 Cb Cr: the luma of two pixels, then their common colour
        luma_only = flat.reshape(-1, 4)[:, :2].reshape(found.rows, found.columns)
        return np.repeat(luma_only[..., None], 3, axis=2)
    if found.planar:
        return flat.reshape(3, found.rows, found.columns).transpose(1, 2, 0)
    return flat.reshape(found.rows, found.columns, 3)


def _grey(dataset: Dataset, samples: Samples, found: Layout, frame: int) -> Pixels:
    if found.colour:
        return _colour(samples, found)
    if found.photometric == "PALETTE COLOR":
        return _palette(dataset, samples)
    if found.bits_allocated == 32:
        return _wide(dataset, samples, found, frame)
    codes, found = _codes(samples, found)
    low = -(1 << found.bits_stored - 1) if found.signed else 0
    seen_as = look(
        dataset,
        frame,
        photometric=found.photometric,
        signed=found.signed,
        range_of_stored=(low, low + (1 << found.bits_stored) - 1),
    )
    return np.take(_display_table(codes, found, seen_as), codes)


def _display_table(codes: Samples, found: Layout, seen_as: Look) -> Pixels:
    """The grey value of each stored code, computed once for all pixels."""
    size = 1 << found.bits_stored
    stored = np.arange(size, dtype=np.float64)
    if found.bits_stored <= 8 and seen_as.plain and not found.signed:
        shares = stored / max(size - 1, 1)
        return np.asarray(np.rint((1 - shares if seen_as.inverted else shares) * 255), np.uint8)
    if found.signed:
        stored[size // 2 :] -= size
    seen = cv2.calcHist([np.ascontiguousarray(codes)], [0], None, [size], [0, size]).ravel() > 0
    return _sixteen(seen_as.grey(stored, seen))


def _codes(samples: Samples, found: Layout) -> tuple[Samples, Layout]:
    """Stored values as unsigned codes of `bits_stored` bits; what else the sample's room holds is dropped.

    Where the file says unsigned, but each code beyond the stored bits is a negative number's sign carried up, the
    values are signed.
    """
    codes = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    codes = codes.view(f"u{codes.dtype.itemsize}")
    if found.low_bit and not (codes & ((1 << found.low_bit) - 1)).any():
        codes = codes >> found.low_bit
    size = 1 << found.bits_stored
    if int(codes.max()) < size:
        return codes, found
    if not found.signed and _sign_extended(codes, found.bits_stored):
        found = replace(found, signed=True)
    return codes & (size - 1), found


def _sign_extended(codes: Samples, bits: int) -> bool:
    top = codes >> (bits - 1)
    negative = np.iinfo(codes.dtype).max >> (bits - 1)
    return bool(((top == 0) | (top == negative)).all())


def _wide(dataset: Dataset, samples: Samples, found: Layout, frame: int) -> Pixels:
    """Grey of 32-bit values, which are too many for a table."""
    values = samples.astype(samples.dtype.newbyteorder("="))
    stored = (values.view(np.int32) if found.signed else values).astype(np.float64)
    ends = (int(stored.min()), int(stored.max()))
    seen_as = look(dataset, frame, photometric=found.photometric, signed=found.signed, range_of_stored=ends)
    grey = seen_as.grey(stored, np.ones(stored.shape, np.bool_))
    return _sixteen(grey)


def _colour(samples: Samples, found: Layout) -> Pixels:
    """Grey of colour samples: their luma, which the YBR forms hold as it is."""
    if found.photometric == "RGB" or found.photometric in ("YBR_ICT", "YBR_RCT"):
        grey = luma(_eight_or_sixteen(samples, found))
    else:
        grey = _eight_or_sixteen(samples[..., 0], found)
    if found.photometric.startswith("YBR_PARTIAL"):  # black is 16, white 235
        grey = np.asarray(np.clip((grey.astype(np.float64) - 16) * (255 / 219), 0, 255).round(), np.uint8)
    return np.ascontiguousarray(grey)


def _eight_or_sixteen(samples: Samples, found: Layout) -> Samples:
    """Unsigned samples over the full range of uint8 or uint16."""
    if found.bits_stored == 8:
        return samples.astype(np.uint8)
    if found.bits_stored == 16:
        return samples.astype(np.uint16)
    white = (1 << found.bits_stored) - 1
    shares = np.minimum(samples.astype(np.float64), white) / white
    return np.asarray(np.rint(shares * 255), np.uint8) if found.bits_stored < 8 else _sixteen(shares)


def _sixteen(shares: NDArray[np.float64]) -> NDArray[np.uint16]:
    return np.asarray(np.rint(shares * 65535), np.uint16)


def _palette(dataset: Dataset, samples: Samples) -> Pixels:
    colours: Samples = apply_color_lut(samples.astype(samples.dtype.newbyteorder("=")), dataset)
    if colours.dtype == np.uint16 and not (colours & 0xFF).any():  # an 8-bit palette in the upper half of 16 bits
        colours = (colours >> 8).astype(np.uint8)
    elif colours.dtype == np.uint16 and int(colours.max()) <= 255:  # or in the lower
        colours = colours.astype(np.uint8)
    return luma(colours)
