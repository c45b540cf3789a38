"""Stored values -> grey as the modality meant it to be seen: modality LUT, VOI LUT or window, polarity (PS3.3 C.11)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from osteon.dicom.dataset import code, number, whole

Values = NDArray[np.float64]
Grey = NDArray[np.float64]
"""Shares of white, 0 to 1."""

_VISIBLE = 1 / 255


@dataclass(frozen=True)
class Window:
    """A window of the VOI LUT module; `function` is LINEAR, LINEAR_EXACT or SIGMOID."""

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def valid(self) -> bool:
        """The width is one the standard allows (C.11.2.1.2, C.11.2.1.3)."""
        return self.width >= 1 if self.function == "LINEAR" else self.width > 0

    def __call__(self, values: Values) -> Grey:
        """Shares of white."""
        if self.function == "SIGMOID":
            exponent = np.clip(-4 * (values - self.center) / self.width, -700, 700)
            return np.asarray(1 / (1 + np.exp(exponent)), np.float64)
        if self.function == "LINEAR_EXACT":
            return np.asarray(np.clip((values - self.center) / self.width + 0.5, 0, 1), np.float64)
        if self.width == 1:
            return np.asarray(values > self.center - 0.5, np.float64)
        return np.asarray(np.clip((values - (self.center - 0.5)) / (self.width - 1) + 0.5, 0, 1), np.float64)


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table: entry 0 is for value `first`; values beyond take the first or last entry."""

    first: int
    entries: Values
    white: float

    def __call__(self, values: Values) -> Values:
        """The entries of values."""
        index = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return np.asarray(self.entries[index])


@dataclass(frozen=True, eq=False)
class Look:
    """How one frame is to be seen."""

    modality: Table | None
    slope: float
    intercept: float
    voi: Table | Window | None
    inverted: bool
    padding: tuple[float, float] | None

    @property
    def plain(self) -> bool:
        """Stored values are grey values already, polarity apart."""
        return self.modality is None and self.voi is None and (self.slope, self.intercept) == (1, 0)

    def modality_values(self, stored: Values) -> Values:
        """Stored values -> values of the modality, such as Hounsfield units."""
        return self.modality(stored) if self.modality else stored * self.slope + self.intercept

    def grey(self, stored: Values, seen: NDArray[np.bool_]) -> Grey:
        """Shares of white of stored values, bone bright.

        A window that leaves all `seen` values alike to the eye says nothing of the picture: they are then spread
        over their range.
        """
        values = self.modality_values(stored)
        grey = self._voi(values)
        if grey is None or (np.ptp(grey[seen]) < _VISIBLE and np.ptp(values[seen]) > 0):
            grey = _spread(values, seen & ~self._padded(stored))
        return 1 - grey if self.inverted else grey

    def _voi(self, values: Values) -> Grey | None:
        if isinstance(self.voi, Table):
            return np.asarray(np.clip(self.voi(values) / self.voi.white, 0, 1))
        return self.voi(values) if self.voi is not None and self.voi.valid else None

    def _padded(self, stored: Values) -> NDArray[np.bool_]:
        low, high = self.padding or (1.0, 0.0)
        return np.asarray((stored >= low) & (stored <= high))


def _spread(values: Values, chosen: NDArray[np.bool_]) -> Grey:
    """The chosen values from black to white; all black where there is but one."""
    among = values[chosen] if chosen.any() else values
    low, high = float(among.min()), float(among.max())
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros(values.shape)


def look(dataset: Dataset, frame: int, *, photometric: str, signed: bool, range_of_stored: tuple[int, int]) -> Look:
    """The look of a frame, from the data set or, in enhanced objects, from its functional groups.

    MONOCHROME1 is inverted whatever the presentation LUT shape says: the standard wants INVERSE with it, and where a
    file has IDENTITY, viewers go by the photometric interpretation (dcmtk alone by the shape).
    """
    transform = _group(dataset, frame, "PixelValueTransformationSequence")
    slope, intercept = number(transform, "RescaleSlope") or 1.0, number(transform, "RescaleIntercept") or 0.0
    modality = _table(transform, "ModalityLUTSequence", signed=signed)
    reach = [value * slope + intercept for value in range_of_stored]
    return Look(
        modality=modality,
        slope=slope,
        intercept=intercept,
        voi=_voi(_group(dataset, frame, "FrameVOILUTSequence"), signed=modality is None and min(reach) < 0),
        inverted=photometric == "MONOCHROME1" or code(dataset, "PresentationLUTShape") == "INVERSE",
        padding=_padding(dataset, signed=signed),
    )


def _group(dataset: Dataset, frame: int, name: str) -> Dataset:
    """The item of a functional group for a frame (PS3.3 C.7.6.16), the data set itself where it has none."""
    for keyword, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        groups = dataset.get(keyword) or ()
        if index < len(groups) and groups[index].get(name):
            item: Dataset = groups[index].get(name)[0]
            return item
    return dataset


def _voi(dataset: Dataset, *, signed: bool) -> Table | Window | None:
    table = _table(dataset, "VOILUTSequence", signed=signed)
    if table:
        return table
    center, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    function = code(dataset, "VOILUTFunction")
    return Window(center, width, function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR")


def _padding(dataset: Dataset, *, signed: bool) -> tuple[float, float] | None:
    value = whole(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = whole(dataset, "PixelPaddingRangeLimit")
    ends = [_signed(end) if signed else end & 0xFFFF for end in (value, value if limit is None else limit)]
    return float(min(ends)), float(max(ends))


def _signed(value: int) -> int:
    return value - 0x10000 if value > 0x7FFF else value


def _table(dataset: Dataset, keyword: str, *, signed: bool) -> Table | None:
    """The first look-up table of a sequence (PS3.3 C.11.1.1); None where there is none that can be used."""
    sequence = dataset.get(keyword)
    descriptor = sequence[0].get("LUTDescriptor") if sequence else None
    if not descriptor or len(descriptor) != 3:
        return None
    count, first, bits = (int(value) for value in descriptor)
    entries = _entries(sequence[0].get("LUTData"), (count & 0xFFFF) or 0x10000)
    if entries is None:
        return None
    first = _signed(first & 0xFFFF) if signed else first & 0xFFFF
    top = float(entries.max())
    white = float((1 << bits) - 1) if 1 <= bits <= 16 and top < 1 << bits else top
    return Table(first, entries, max(white, 1.0))


def _entries(data: Any, count: int) -> Values | None:
    """The entries of a table; 8-bit ones may be packed two in a word."""
    if data is None:
        return None
    if isinstance(data, bytes):
        kind = "<u2" if len(data) >= 2 * count else "u1"
        words = np.frombuffer(data[: len(data) // 2 * 2], kind)
    else:
        words = np.asarray(data, np.int64).reshape(-1) & 0xFFFF
        if len(words) * 2 in (count, count + 1):
            words = words.astype("<u2").view(np.uint8)
    return words[:count].astype(np.float64) if len(words) else None
