"""Run-length codes of masks, both ways: COCO's (by columns), its compressed string, and CVAT's (by rows).

Runs alternate, background first. COCO's string packs each run, from the fourth on less the run two before, in
characters of five bits (least significant first; bit 6 says that more follow), offset by 48; see `rleToString` in the
COCO API's maskApi.c.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""(height, width) bool."""


def runs_of(values: NDArray[np.bool_]) -> list[int]:
    """Lengths of the alternating runs of a flat bool array, the first of them False (perhaps 0 long).

    >>> runs_of(np.array([True, True, False]))
    [0, 2, 1]
    """
    if not values.size:
        return []
    edges = np.flatnonzero(np.diff(values)) + 1
    bounds = np.concatenate(([0], edges, [values.size]))
    runs: list[int] = np.diff(bounds).tolist()
    return [0, *runs] if values[0] else runs


def values_of(runs: Sequence[int], size: int) -> NDArray[np.bool_]:
    """The flat bool array of `size` that `runs` describe.

    Raises:
        ValueError: negative runs, or runs which do not add up to `size`.

    >>> values_of([0, 2, 1], 3).tolist()
    [True, True, False]
    """
    if any(run < 0 for run in runs) or sum(runs) != size:
        raise ValueError(f"runs add up to {sum(runs)} pixels, expected {size}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, list(runs))


def coco_runs(mask: Mask) -> list[int]:
    """COCO's uncompressed counts."""
    return runs_of(np.asarray(mask, bool).ravel(order="F"))


def coco_mask(runs: Sequence[int], height_px: int, width_px: int) -> Mask:
    """The mask of COCO's uncompressed counts."""
    return values_of(runs, height_px * width_px).reshape((height_px, width_px), order="F")


def compress(runs: Sequence[int]) -> str:
    """COCO's compressed string of uncompressed counts.

    >>> compress([4, 2, 3])
    '423'
    """
    characters: list[str] = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            five, value = value & 31, value >> 5
            more = value != -1 if five & 16 else value != 0
            characters.append(chr(48 + (five | 32 if more else five)))
    return "".join(characters)


def decompress(text: str) -> list[int]:
    """Uncompressed counts of COCO's compressed string.

    Raises:
        ValueError: a character outside the code, or a string that ends within a run.

    >>> decompress("423")
    [4, 2, 3]
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        six = ord(character) - 48
        if not 0 <= six < 64:
            raise ValueError(f"character {character!r} is not of the run-length code")
        value |= (six & 31) << shift
        shift += 5
        if six & 32:
            continue
        if six & 16:
            value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("the run-length code ends within a run")
    return runs


def box_of_mask(mask: Mask) -> tuple[float, float, float, float] | None:
    """The smallest box around the mask's pixels, its far edges behind the last pixel; None where it is empty.

    >>> box_of_mask(np.eye(3, dtype=bool))
    (0.0, 0.0, 3.0, 3.0)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
