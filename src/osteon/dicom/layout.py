"""How pixel data lie in a DICOM file, with missing and contradictory attributes put right where the truth shows."""

from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from osteon.dicom.codec import Codestream
from osteon.dicom.dataset import code, whole
from osteon.errors import InvalidImage, UnsupportedDicom

_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
_PHOTOMETRICS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *_COLOURS)


@dataclass(frozen=True)
class Layout:
    """The image pixel module (PS3.3 C.7.6.3), complete and free of contradictions.

    `bits_allocated` is the room of one sample, `bits_stored` what of it is used, `low_bit` where that begins.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    low_bit: int
    signed: bool
    planar: bool

    @property
    def frame_bits(self) -> int:
        """Bits of one uncompressed frame; two pixels share their colour in the 4:2:2 forms."""
        samples = 2 if self.samples == 3 and self.photometric.endswith("422") else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def colour(self) -> bool:
        """Three samples a pixel."""
        return self.samples == 3


def layout(dataset: Dataset, stream: Codestream | None) -> Layout:
    """The layout of a data set's pixels; a compressed frame's own header is believed before the attributes.

    Raises:
        InvalidImage: Rows or Columns are missing or zero.
        UnsupportedDicom: a photometric interpretation or depth that Osteon does not show.
    """
    photometric, samples = _photometric(dataset, stream)
    allocated = whole(dataset, "BitsAllocated") or (8 if stream and stream.bits <= 8 else 16)
    stored = whole(dataset, "BitsStored") or allocated
    if stream:
        allocated = 8 if stream.bits <= 8 else 16
        stored = stream.bits if stored > stream.bits or stored < 1 else stored
    if allocated not in (1, 8, 16, 32):
        raise UnsupportedDicom(f"BitsAllocated (0028,0100) is {allocated}, expected 1, 8, 16 or 32", hint=_EXPORT)
    rows = stream.rows if stream else _side(dataset, "Rows", "0028,0010")
    columns = stream.columns if stream else _side(dataset, "Columns", "0028,0011")
    found = Layout(
        rows=rows,
        columns=columns,
        samples=samples,
        frames=max(1, whole(dataset, "NumberOfFrames") or 1),
        photometric=photometric,
        bits_allocated=allocated,
        bits_stored=stored,
        low_bit=0,
        signed=whole(dataset, "PixelRepresentation") == 1,
        planar=whole(dataset, "PlanarConfiguration") == 1,
    )
    return found if stream else _depth(found, whole(dataset, "HighBit"))


_EXPORT = "export it as a grey or RGB picture of 8 or 16 bits"


def _photometric(dataset: Dataset, stream: Codestream | None) -> tuple[str, int]:
    """Photometric interpretation and samples per pixel, in agreement."""
    name = code(dataset, "PhotometricInterpretation").replace(" ", "_").replace("PALETTE_COLOR", "PALETTE COLOR")
    samples = stream.samples if stream else whole(dataset, "SamplesPerPixel")
    if not samples:
        samples = 3 if name in _COLOURS else 1
    if name and name not in _PHOTOMETRICS:
        found = name if name in ("ARGB", "HSV", "CMYK") else "unknown"
        raise UnsupportedDicom(f"PhotometricInterpretation (0028,0004) is {found}", hint=_EXPORT)
    if samples not in (1, 3):
        raise UnsupportedDicom(f"SamplesPerPixel (0028,0002) is {samples}, expected 1 or 3", hint=_EXPORT)
    if samples == 3 and name not in _COLOURS:
        name = "RGB"
    if samples == 1 and name not in ("MONOCHROME1", "PALETTE COLOR"):
        name = "MONOCHROME2"
    return name, samples


def _side(dataset: Dataset, keyword: str, tag: str) -> int:
    value = whole(dataset, keyword)
    if value is None or value < 1:
        found = "missing" if value is None else str(value)
        raise InvalidImage(f"{keyword} ({tag}) is {found}, expected at least 1", hint="export the picture again")
    return value


def _depth(found: Layout, high_bit: int | None) -> Layout:
    """Bits stored and their place within the bits allocated."""
    stored = found.bits_stored if 1 <= found.bits_stored <= found.bits_allocated else found.bits_allocated
    low = 0 if high_bit is None else high_bit + 1 - stored
    return replace(found, bits_stored=stored, low_bit=low if 0 < low <= found.bits_allocated - stored else 0)


def fit_length(found: Layout, length: int, *, stored: int | None) -> Layout:
    """The layout which fits `length` bytes of uncompressed pixel data.

    `stored` is BitsStored as the file gives it, to tell which of two contradictory depths is true.

    Raises:
        InvalidImage: the data are shorter than the attributes say, in every reading.
    """
    deeper = replace(found, bits_allocated=16, bits_stored=min(stored or 16, 16), low_bit=0)
    if found.bits_allocated == 8 and (stored or 0) > 8 and _bytes(deeper) <= length:
        return deeper
    if _bytes(found) <= length:
        return found
    shallower = replace(found, bits_allocated=8, bits_stored=8, low_bit=0)
    if found.bits_allocated == 16 and _bytes(shallower) in (length, length - 1):
        return shallower
    raise InvalidImage(
        f"pixel data (7FE0,0010) of {length} bytes, expected {_bytes(found)} for {found.frames} frame(s) of "
        f"{found.rows}x{found.columns} px",
        hint="the file is truncated, or its Rows, Columns or NumberOfFrames are wrong; export it again",
    )


def _bytes(found: Layout) -> int:
    return (found.frame_bits * found.frames + 7) // 8
