"""A DICOM file's bytes -> the attributes that a picture needs, and no others: the patient is never read."""

import logging
import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from osteon.errors import InvalidImage, UnsupportedDicom
from osteon.limits import Limits

# pydicom's warnings quote values, which may be a patient's; what matters of them is checked in `layout`.
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").setLevel(logging.ERROR)

DAMAGE = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on damaged files."""

KEYWORDS = [
    "SOPClassUID",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "ImageLaterality",
    "Laterality",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PresentationLUTShape",
    *[f"{c}PaletteColorLookupTable{part}" for c in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")],
    *[f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")],
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "EncapsulatedDocument",
    "ContentSequence",
    "WaveformSequence",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
]

_VIDEO = ("MPEG", "HEVC", "H.264", "H.265")


def parse(data: bytes, limits: Limits) -> Dataset:
    """The data set of a file, with its transfer syntax in `file_meta` where the file tells it.

    Raises:
        InvalidImage: no data set can be read.
        ImageTooLarge: deflated, and inflates beyond the limit on bytes.
    """
    try:
        inflated = _inflate(data, limits)
        dataset = pydicom.dcmread(BytesIO(inflated or data), force=True, specific_tags=list(KEYWORDS))
        if inflated:
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for keyword in KEYWORDS:
            dataset.get(keyword)  # values are converted here, so that a damaged one is found here
    except DAMAGE as error:
        raise InvalidImage(
            f"a DICOM file that cannot be read ({type(error).__name__})",
            hint="the file is damaged or truncated; send the original export again",
        ) from error
    return dataset


def _inflate(data: bytes, limits: Limits) -> bytes:
    """The data set of a deflated file, inflated no further than the limit; empty for any other file."""
    syntax, start = _file_meta(data)
    if syntax != DeflatedExplicitVRLittleEndian:
        return b""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[start:], limits.max_bytes + 1)
    limits.check_bytes(len(inflated))
    if not inflater.eof:
        raise InvalidImage("a deflated DICOM file that ends too early", hint="the file is truncated; send it again")
    return inflated


def _file_meta(data: bytes) -> tuple[str, int]:
    """The transfer syntax and where the data set begins: pydicom would inflate the data before it could be asked."""
    position, syntax = 132 if data[128:132] == b"DICM" else 0, ""
    while data[position : position + 2] == b"\x02\x00":
        tag, representation, size = struct.unpack_from("<H2sH", data, position + 2)
        position += 8
        if representation in (b"OB", b"OW", b"UN", b"UT", b"SQ"):
            (size,) = struct.unpack_from("<I", data, position)
            position += 4
        if tag == 0x0010:
            syntax = data[position : position + size].rstrip(b"\0 ").decode("ascii", "replace")
        position += size
    return syntax, position


def transfer_syntax(dataset: Dataset) -> str:
    """The transfer syntax, "" where the file does not tell."""
    return _uid(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")


def _uid(dataset: Dataset, keyword: str) -> UID:
    """A UID; "" where it is missing or damaged: a wrong length may have drawn the patient's data into it."""
    value = dataset.get(keyword)
    text = str(value) if isinstance(value, str) else ""
    return UID(text if len(text) <= 64 and text.replace(".", "").isdecimal() and text.isascii() else "")


def check_picture(dataset: Dataset) -> None:
    """Raises UnsupportedDicom where the object is valid but no picture, InvalidImage where its pixels are lost."""
    syntax = UID(transfer_syntax(dataset))
    if any(word in syntax.name for word in _VIDEO):
        raise UnsupportedDicom("a DICOM video", hint="export a still frame of it")
    if "PixelData" in dataset:
        return
    kind = _kind(dataset)
    if kind:
        raise UnsupportedDicom(f"a DICOM object without a picture: {kind}", hint="send the image object of the study")
    if "Rows" in dataset or "SOPClassUID" in dataset:
        raise InvalidImage(
            "a DICOM file without pixel data (7FE0,0010)",
            hint="the file is truncated, or holds a header only; send it again",
        )
    raise InvalidImage("no DICOM data set in the file", hint="the file is damaged; send the original export again")


def _kind(dataset: Dataset) -> str:
    """What an object without pixels is, in the standard's words; "" where it looks like a picture cut off."""
    if "EncapsulatedDocument" in dataset:
        return "an encapsulated document"
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        return "a parametric map"
    if "WaveformSequence" in dataset:
        return "a waveform"
    name = _uid(dataset, "SOPClassUID").name
    if "ContentSequence" in dataset or name.endswith(" SR") or "SR Storage" in name:
        return "a structured report"
    known = name and not name[0].isdigit() and "Rows" not in dataset and "Image Storage" not in name
    return name if known else ""


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value of a numeric attribute, None where it is missing, empty or no finite number."""
    value: Any = dataset.get(keyword)
    if value is None:
        return None
    try:
        first = value if isinstance(value, str | int | float) else value[0]
        found = float(first)
    except (TypeError, ValueError, IndexError):
        return None
    return found if abs(found) < float("inf") else None  # false for not-a-number too


def whole(dataset: Dataset, keyword: str) -> int | None:
    """The first value of a numeric attribute as a whole number, None where there is none."""
    value = number(dataset, keyword)
    return None if value is None else int(value)


def code(dataset: Dataset, keyword: str) -> str:
    """A code string; "" where it is missing or is no code: free text might name the patient."""
    value = dataset.get(keyword)
    text = str(value).strip().upper() if isinstance(value, str) else ""
    return text if len(text) <= 16 and text.replace("_", "").replace(" ", "").isalnum() else ""
