"""Exact and near duplicates among the pictures of a data set.

Two stages. First each picture becomes a 64x64 thumbnail without its coarse shading, and all pairs are correlated in
blocks of matrix products, also mirrored and turned. Then each likely pair is compared at 128x128 with local contrast
normalised, shifted by up to 6 pixels: only that tells one film apart from two films of different people in the same
pose on the same plate. Both cuts were chosen by looking at pairs of FracAtlas; docs/data.md has the figures.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from osteon.datasets.case import Case

Grey = NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""Called with how many of how many are done."""

Kind = Literal["bytes", "pixels", "near"]

LIKELY = 0.70
"""Correlation of coarse thumbnails from which a pair is looked at closely."""
LIKELY_TURNED = 0.85
"""Likewise for mirrored and turned copies, of which there are seven times as many candidates."""
SAME = 0.83
"""Local correlation from which two pictures count as one film."""

_COARSE_SIDE_PX = 64
_FINE_SIDE_PX = 128
_SHIFT_PX = 6
_BLOCK_ROWS = 512
_LEAST_COMPARED = 0.4
_BLOCK_PX = 8

_TURNS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "": lambda picture: picture,
    "mirrored": lambda picture: picture[:, ::-1],
    "turned 90": lambda picture: np.rot90(picture, 1),
    "turned 180": lambda picture: np.rot90(picture, 2),
    "turned 270": lambda picture: np.rot90(picture, 3),
    "mirrored, turned 90": lambda picture: np.rot90(picture[:, ::-1], 1),
    "mirrored, turned 180": lambda picture: np.rot90(picture[:, ::-1], 2),
    "mirrored, turned 270": lambda picture: np.rot90(picture[:, ::-1], 3),
}


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a picture to compare it.

    Attributes:
        name: of the case.
        file_sha256: of the bytes; "" where the file cannot be opened.
        pixels_sha256: of size and grey pixels, EXIF orientation applied; "" where nothing can be decoded.
        thumbnail: (128, 128) uint8, the picture squeezed to a square; None where nothing can be decoded.
        problem: "" for a sound file, else "absent", "truncated" or "not a picture".
        decoded: share of the rows that could be decoded: 1 unless truncated.
        size_px: (height, width) of the decoded picture, EXIF orientation applied.
    """

    name: str
    file_sha256: str
    pixels_sha256: str = ""
    thumbnail: Grey | None = field(default=None, repr=False)
    problem: str = ""
    decoded: float = 1.0
    size_px: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Pair:
    """Two cases that show one film, `similarity` in [0, 1]; `turned` says how the second must be moved."""

    first: str
    second: str
    kind: Kind
    similarity: float
    turned: str = ""

    def to_json(self) -> dict[str, Any]:
        """The pair as a JSON object."""
        value = {"first": self.first, "second": self.second, "kind": self.kind, "similarity": round(self.similarity, 3)}
        return value | ({"turned": self.turned} if self.turned else {})


def fingerprint(name: str, path: Path) -> Fingerprint:
    """The fingerprint of one picture; of a truncated one, of the part that can be decoded."""
    try:
        data = path.read_bytes()
    except OSError:
        return Fingerprint(name, "", problem="absent")
    digest = hashlib.sha256(data).hexdigest()
    grey, problem = _decode(data)
    if grey is None:
        return Fingerprint(name, digest, problem=problem)
    made = fingerprint_of_pixels(name, grey, digest)
    return replace(made, problem=problem, decoded=_decoded_share(grey)) if problem else made


def fingerprint_of_pixels(name: str, grey: Grey, file_sha256: str) -> Fingerprint:
    """The fingerprint of a picture that is decoded: (height, width) uint8 as a person sees it."""
    pixels = hashlib.sha256(repr(grey.shape).encode() + grey.tobytes()).hexdigest()
    thumbnail = cv2.resize(grey, (_FINE_SIDE_PX, _FINE_SIDE_PX), interpolation=cv2.INTER_AREA)
    height, width = grey.shape
    return Fingerprint(name, file_sha256, pixels, np.asarray(thumbnail, np.uint8), size_px=(height, width))


def fingerprints(cases: Iterable[Case], progress: Progress | None = None) -> list[Fingerprint]:
    """A fingerprint for each case, in their order; about 1 ms for a film of 373x454 px."""
    listed = list(cases)
    prints: list[Fingerprint] = []
    for done, case in enumerate(listed, start=1):
        prints.append(fingerprint(case.name, case.path))
        if progress:
            progress(done, len(listed))
    return prints


def _decode(data: bytes) -> tuple[Grey | None, str]:
    """Grey pixels in the EXIF orientation, and the problem with them."""
    if not data:
        return None, "not a picture"
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        grey = None
    if grey is not None:
        return np.ascontiguousarray(grey, np.uint8), ""
    return _decode_damaged(data)


def _decode_damaged(data: bytes) -> tuple[Grey | None, str]:
    """What Pillow makes of a file that OpenCV refuses; the rows behind a truncation stay black."""
    try:
        picture = Image.open(io.BytesIO(data))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None, "not a picture"
    problem = ""
    try:
        picture.load()
    except (OSError, ValueError, SyntaxError):
        problem = "truncated"
        picture.tile = []
    try:
        upright = ImageOps.exif_transpose(picture)
        return np.array(upright.convert("L"), np.uint8), problem
    except (OSError, ValueError, SyntaxError, AttributeError, AssertionError):
        return None, "truncated"


def _decoded_share(grey: Grey) -> float:
    """The share of the rows above a truncation, behind which Pillow leaves black; less a block row filled in part."""
    rows = np.flatnonzero(grey.any(axis=1))
    return max(_LEAST_COMPARED, (int(rows[-1]) + 1 - _BLOCK_PX) / len(grey)) if rows.size else _LEAST_COMPARED


def find_duplicates(prints: Sequence[Fingerprint], *, turned: bool = True) -> list[Pair]:
    """All pairs which show one film, ordered as `prints`; with `turned`, mirrored and turned copies as well."""
    pairs = {(pair.first, pair.second): pair for pair in _exact(prints)}
    usable = [item for item in prints if item.thumbnail is not None]
    coarse, local = _coarse(usable), _LocalContrasts(usable)
    for first, second, turn in _likely(usable, coarse, turned=turned):
        names = (usable[first].name, usable[second].name)
        known = pairs.get(names)
        if known and (known.kind != "near" or not turn):
            continue
        similarity = local.similarity(first, second, turn)
        if similarity >= SAME and similarity > (known.similarity if known else 0):
            pairs[names] = Pair(*names, "near", similarity, turn)
    order = {item.name: index for index, item in enumerate(prints)}
    return sorted(pairs.values(), key=lambda pair: (order[pair.first], order[pair.second]))


def _exact(prints: Sequence[Fingerprint]) -> Iterator[Pair]:
    seen: dict[str, list[Fingerprint]] = {}
    for item in prints:
        key = item.pixels_sha256 or item.file_sha256
        if not key:
            continue
        for before in seen.setdefault(key, []):
            kind: Kind = "bytes" if before.file_sha256 == item.file_sha256 else "pixels"
            yield Pair(before.name, item.name, kind, 1.0)
        seen[key].append(item)


def _coarse(prints: Sequence[Fingerprint]) -> NDArray[np.float32]:
    """(n, 64, 64) thumbnails without their coarse shading."""
    coarse = np.zeros((len(prints), _COARSE_SIDE_PX, _COARSE_SIDE_PX), np.float32)
    for index, item in enumerate(prints):
        assert item.thumbnail is not None
        small = cv2.resize(item.thumbnail, coarse.shape[1:], interpolation=cv2.INTER_AREA).astype(np.float32)
        coarse[index] = small - cv2.GaussianBlur(small, (0, 0), _COARSE_SIDE_PX / 16)
    return coarse


def _unit_rows(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each picture as a row of mean 0 and length 1; a flat one as zeros."""
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-3), np.float32)


def _likely(
    prints: Sequence[Fingerprint], coarse: NDArray[np.float32], *, turned: bool
) -> Iterator[tuple[int, int, str]]:
    """Index pairs first < second, and the turn, that are worth a closer look."""
    if not len(coarse):
        return
    upright = _unit_rows(coarse)
    for turn, move in _TURNS.items() if turned else [("", _TURNS[""])]:
        others = _unit_rows(np.stack([move(picture) for picture in coarse])) if turn else upright
        cut = LIKELY_TURNED if turn else LIKELY
        for start in range(0, len(upright), _BLOCK_ROWS):
            correlations = upright[start : start + _BLOCK_ROWS] @ others[start:].T
            for row, column in np.argwhere(np.triu(correlations, 1) >= cut):
                yield start + int(row), start + int(column), turn
    yield from _likely_truncated(prints, coarse)


def _likely_truncated(prints: Sequence[Fingerprint], coarse: NDArray[np.float32]) -> Iterator[tuple[int, int, str]]:
    """Pairs of a truncated picture, compared in the rows which it has."""
    cut: dict[int, list[int]] = {}
    for index, item in enumerate(prints):
        if item.decoded < 1:
            cut.setdefault(int(item.decoded * _COARSE_SIDE_PX) - 1, []).append(index)
    for height, indices in cut.items():
        rows = _unit_rows(coarse[:, :height])
        for column, other in np.argwhere(rows[indices] @ rows.T >= LIKELY):
            index = indices[column]
            if index != other:
                yield min(index, int(other)), max(index, int(other)), ""


class _LocalContrasts:
    """The pictures with local mean and deviation normalised, made when first needed and kept as bytes."""

    def __init__(self, prints: Sequence[Fingerprint]) -> None:
        self._prints = prints
        self._made: dict[int, Grey] = {}

    def similarity(self, first: int, second: int, turn: str) -> float:
        """The best local correlation over small shifts, of the rows that both have."""
        share = 1.0 if turn else min(self._prints[first].decoded, self._prints[second].decoded)
        rows = int(share * _FINE_SIDE_PX)
        one, two = self._of(first, "", rows), self._of(second, turn, rows)
        inner = two[_SHIFT_PX:-_SHIFT_PX, _SHIFT_PX:-_SHIFT_PX]
        return float(np.clip(cv2.matchTemplate(one, inner, cv2.TM_CCOEFF_NORMED).max(), 0, 1))

    def _of(self, index: int, turn: str, rows: int) -> Grey:
        whole = not turn and rows == _FINE_SIDE_PX
        if whole and index in self._made:
            return self._made[index]
        thumbnail = self._prints[index].thumbnail
        assert thumbnail is not None
        made = _local_contrast(np.ascontiguousarray(_TURNS[turn](thumbnail)[:rows]))
        if whole:
            self._made[index] = made
        return made


def _local_contrast(picture: Grey) -> Grey:
    """Deviations from the local mean in local standard deviations, 32 grey levels each, about 128."""
    values = picture.astype(np.float32)
    values -= cv2.GaussianBlur(values, (0, 0), 6)
    deviation = np.sqrt(np.maximum(cv2.GaussianBlur(values * values, (0, 0), 6), 0))
    return np.asarray(np.clip(values / (deviation + 2) * 32 + 128, 0, 255), np.uint8)


def groups_of(pairs: Iterable[Pair]) -> tuple[tuple[str, ...], ...]:
    """The groups of cases that pairs tie together, each sorted, in the order of their first names.

    >>> groups_of([Pair("a", "b", "near", 0.9), Pair("b", "c", "near", 0.9), Pair("x", "y", "bytes", 1.0)])
    (('a', 'b', 'c'), ('x', 'y'))
    """
    return joined((pair.first, pair.second) for pair in pairs)


def joined(sets: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """Sets of names that overlap, made one; each sorted, in the order of their first names.

    >>> joined([["c", "a"], ["b"], ["a", "d"]])
    (('a', 'c', 'd'), ('b',))
    """
    member_of: dict[str, set[str]] = {}
    for names in sets:
        together = set(names)
        for name in tuple(together):
            together |= member_of.get(name, set())
        for name in together:
            member_of[name] = together
    distinct = {id(group): group for group in member_of.values()}
    return tuple(sorted(tuple(sorted(group)) for group in distinct.values()))


def duplicate_groups(cases: Iterable[Case], progress: Progress | None = None) -> tuple[tuple[str, ...], ...]:
    """The groups of cases that show one film: fingerprints, pairs and groups in one call."""
    return groups_of(find_duplicates(fingerprints(cases, progress)))
