"""Metal drawn onto bones: plates, nails, wires, screws and joints, for films that show none. Few films show any."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST_BONE_PX = 150
LEAST_METAL_PX = 24
_SHIFT = 4
"""OpenCV draws at sixteenths of a pixel."""

Mask = NDArray[np.uint8]
Point = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shaft:
    """A bone as a bar: a point on it, (2,) unit vectors along and across, half its length and half its width in px."""

    at: Point
    along: Point
    across: Point
    reach_px: float
    girth_px: float


def with_metal(
    grey: NDArray[np.float32], bones: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], Mask]:
    """A picture with one or two pieces of metal on its bones, and where they are.

    Args:
        grey: (n, n) in [0, 1].
        bones: (k, n, n) masks of 0 and 1.

    Returns:
        The picture, and an (n, n) mask of 0 and 1: all 0, and the picture unchanged, where no bone is large enough.
    """
    metal = np.zeros(grey.shape, np.uint8)
    large = [bone for bone in bones if np.count_nonzero(bone) >= LEAST_BONE_PX]
    for _ in range(int(rng.integers(1, 3)) if large else 0):
        piece = np.zeros_like(metal)
        _PIECES[rng.integers(len(_PIECES))](piece, _shaft(large[rng.integers(len(large))], rng), rng)
        metal |= piece
    if np.count_nonzero(metal) < LEAST_METAL_PX:
        return grey, np.zeros_like(metal)
    under = float(np.quantile(grey[metal > 0], 0.9)) + rng.uniform(0.08, 0.35)
    level = min(1.0, max(under, float(np.quantile(grey, 0.98)) * rng.uniform(0.8, 1.1)))
    soft = cv2.GaussianBlur(metal.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2)) * rng.uniform(0.75, 1.0)
    bright = level + rng.normal(0, 0.015, grey.shape)
    return np.asarray(np.clip(grey * (1 - soft) + bright * soft, 0, 1), np.float32), metal


def _shaft(bone: Mask, rng: np.random.Generator) -> Shaft:
    """A bone's axes, at a pixel of it drawn at random, turned a little."""
    y, x = np.nonzero(bone)
    spread, axes = np.linalg.eigh(np.cov(np.stack([x, y])))
    angle = np.arctan2(axes[1, 1], axes[0, 1]) + rng.normal(0, 0.08)
    chosen = int(rng.integers(len(x)))
    return Shaft(
        np.array([x[chosen], y[chosen]], float),
        *_axes(angle),
        2 * float(max(spread[1], 1.0)) ** 0.5,
        max(4.0, 2 * float(max(spread[0], 1.0)) ** 0.5),
    )


def _axes(angle: float) -> tuple[Point, Point]:
    return np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])


def _bar(piece: Mask, middle: Point, along: Point, length_px: float, width_px: float) -> None:
    ends = [tuple(int(v) for v in np.round((middle + side * along * length_px / 2) * 2**_SHIFT)) for side in (-1, 1)]
    cv2.line(piece, ends[0], ends[1], 1, max(1, round(width_px)), cv2.LINE_8, _SHIFT)


def _turned(along: Point, radians: float) -> Point:
    return _axes(float(np.arctan2(along[1], along[0])) + radians)[0]


def _plate(piece: Mask, shaft: Shaft, rng: np.random.Generator) -> None:
    """With screws across, or holes."""
    length, width = rng.uniform(0.4, 1.4) * shaft.reach_px, np.clip(rng.uniform(0.25, 0.6) * shaft.girth_px, 3, 16)
    middle = shaft.at + shaft.across * rng.normal(0, 0.5) * shaft.girth_px
    _bar(piece, middle, shaft.along, length, width)
    for share in np.linspace(-0.45, 0.45, int(rng.integers(3, 9))):
        hole = middle + share * length * shaft.along
        if rng.random() < 0.5:
            depth = shaft.across * shaft.girth_px * rng.uniform(0.1, 0.5)
            across = _turned(shaft.across, rng.normal(0, 0.12))
            _bar(piece, hole + depth, across, shaft.girth_px * rng.uniform(0.6, 1.6), rng.uniform(1.5, 4))
        elif rng.random() < 0.3:
            cv2.circle(piece, (int(hole[0]), int(hole[1])), max(1, int(width / 4)), 0, -1)


def _nail(piece: Mask, shaft: Shaft, rng: np.random.Generator) -> None:
    """Down the shaft, perhaps with locking screws near its ends."""
    width = np.clip(rng.uniform(0.3, 0.6) * shaft.girth_px, 3, 16)
    _bar(piece, shaft.at, shaft.along, rng.uniform(1, 2.2) * shaft.reach_px, width)
    for _ in range(int(rng.integers(0, 3))):
        end = shaft.at + shaft.along * rng.choice([-0.8, 0.8]) * shaft.reach_px
        across = _turned(shaft.across, rng.normal(0, 0.2))
        _bar(piece, end, across, shaft.girth_px * rng.uniform(1, 2), rng.uniform(2, 5))


def _wires(piece: Mask, shaft: Shaft, rng: np.random.Generator) -> None:
    """Straight ones, perhaps with a tension band."""
    for _ in range(int(rng.integers(1, 5))):
        middle = shaft.at + rng.normal(0, 0.3 * shaft.girth_px, 2)
        along = _turned(shaft.along, rng.normal(0, 0.35))
        _bar(piece, middle, along, rng.uniform(0.4, 1.4) * shaft.reach_px, rng.uniform(1, 3))
    if rng.random() < 0.5:
        degrees = float(np.degrees(np.arctan2(shaft.along[1], shaft.along[0])))
        axes = max(2, int(shaft.reach_px * 0.4)), max(2, int(shaft.girth_px * 0.6))
        middle_px = int(shaft.at[0]), int(shaft.at[1])
        cv2.ellipse(piece, middle_px, axes, degrees, 0, 360, 1, int(rng.integers(1, 4)))


def _screws(piece: Mask, shaft: Shaft, rng: np.random.Generator) -> None:
    """Along the bone, across it, or askew."""
    for _ in range(int(rng.integers(1, 5))):
        middle = shaft.at + rng.normal(0, 0.6 * shaft.girth_px, 2)
        along = _turned(shaft.along, rng.normal(rng.choice([0, np.pi / 2, 0.8]), 0.15))
        _bar(piece, middle, along, rng.uniform(0.6, 2) * shaft.girth_px, rng.uniform(2, 6))


def _joint(piece: Mask, shaft: Shaft, rng: np.random.Generator) -> None:
    """A stem and a ball."""
    radius = int(np.clip(rng.uniform(0.6, 1.2) * shaft.girth_px, 5, 45))
    stem = np.clip(rng.uniform(0.4, 0.8) * shaft.girth_px, 4, 24)
    _bar(piece, shaft.at, shaft.along, rng.uniform(0.8, 1.5) * shaft.reach_px, stem)
    end = shaft.at + shaft.along * 0.6 * shaft.reach_px
    cv2.circle(piece, (int(end[0]), int(end[1])), radius, 1, -1)


_PIECES: tuple[Callable[[Mask, Shaft, np.random.Generator], None], ...] = (_plate, _nail, _wires, _screws, _joint)
