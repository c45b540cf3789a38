"""Geometric and photometric changes of training pictures, with boxes and polygons following exactly."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.geometry import box_of_points

Grey = NDArray[np.float32]
"""(height, width) float32 in [0, 1]."""
Affine = NDArray[np.float64]
"""(2, 3) matrix taking points of the source picture to points of the canvas."""


@dataclass(frozen=True)
class Motion:
    """How far a picture may be turned, scaled and mirrored."""

    rotation_degrees: float
    scale_low: float
    scale_high: float
    quarter_turn: float = 0.0
    flips: bool = True


def random_affine(
    rng: np.random.Generator, motion: Motion, *, centre_xy: tuple[float, float], canvas_px: int
) -> Affine:
    """A random turn, scale and mirroring that brings `centre_xy` of the source to the middle of the canvas."""
    angle = rng.uniform(-motion.rotation_degrees, motion.rotation_degrees)
    if rng.random() < motion.quarter_turn:
        angle += 90.0 * int(rng.integers(1, 4))
    scale = float(np.exp(rng.uniform(np.log(motion.scale_low), np.log(motion.scale_high))))
    cosine, sine = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    if motion.flips:
        matrix = matrix @ np.diag(rng.choice([-1.0, 1.0], 2))
    shift = canvas_px / 2 - matrix @ np.asarray(centre_xy)
    return np.hstack([matrix, shift[:, None]])


def warp(image: NDArray[np.uint8], affine: Affine, canvas_px: int) -> NDArray[np.uint8]:
    """The picture moved into a black square canvas, bilinear.

    Points are continuous (a pixel's centre at +0.5), OpenCV's grid has centres at whole numbers: the half is moved.
    """
    shifted = affine.copy()
    shifted[:, 2] += affine[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return np.asarray(cv2.warpAffine(image, shifted, (canvas_px, canvas_px), flags=cv2.INTER_LINEAR), np.uint8)


def move(points_xy: NDArray[np.float64], affine: Affine) -> NDArray[np.float64]:
    """(n, 2) points of the source -> points of the canvas."""
    return np.asarray(points_xy @ affine[:, :2].T + affine[:, 2], np.float64)


def visible_box(
    points_xy: NDArray[np.float64], canvas_px: int, *, least: float = 0.4
) -> tuple[float, float, float, float] | None:
    """The box around moved points, cut at the canvas; None where less than `least` of it is left."""
    x0, y0, x1, y1 = box_of_points(points_xy)
    cut = np.clip([x0, y0, x1, y1], 0, canvas_px)
    whole = max((x1 - x0) * (y1 - y0), 1e-6)
    left = (cut[2] - cut[0]) * (cut[3] - cut[1])
    if left / whole < least or min(cut[2] - cut[0], cut[3] - cut[1]) < 2:
        return None
    return float(cut[0]), float(cut[1]), float(cut[2]), float(cut[3])


def shade(rng: np.random.Generator, image: NDArray[np.uint8], *, strength: float = 1.0) -> Grey:
    """Gamma, contrast, brightness, blur, sharpening, local equalisation and noise; float32 in [0, 1]; black stays."""
    black = image == 0
    if rng.random() < 0.15 * strength:
        image = cv2.createCLAHE(float(rng.uniform(1, 4)), (8, 8)).apply(image)  # type: ignore[assignment]
    gamma = np.exp(rng.uniform(-0.5, 0.5) * strength)
    contrast = 1 + rng.uniform(-0.3, 0.3) * strength
    brightness = rng.uniform(-0.12, 0.12) * strength
    ramp = (np.linspace(0, 1, 256) ** gamma - 0.5) * contrast + 0.5 + brightness
    table = np.clip(ramp, 0, 1).astype(np.float32)
    table[0] = 0.0
    grey = table[image]
    if rng.random() < 0.25 * strength:
        sigma = float(rng.uniform(0.4, 1.6))
        soft = cv2.GaussianBlur(grey, (0, 0), sigma)
        grey = np.asarray(soft if rng.random() < 0.6 else np.clip(2 * grey - soft, 0, 1), np.float32)
    if rng.random() < 0.3 * strength:
        noise = rng.standard_normal(grey.shape, np.float32)
        grey = np.clip(grey + noise * np.float32(rng.uniform(0.005, 0.05)), 0, 1)
    grey[black] = 0  # as in the letterbox's padding
    return np.ascontiguousarray(grey, np.float32)


def erase(rng: np.random.Generator, image: Grey, *, most: int = 3) -> None:
    """Cover up to `most` small rectangles with a flat grey, in place (Zhong et al. 2020)."""
    height, width = image.shape
    for _ in range(int(rng.integers(0, most + 1))):
        h, w = (int(side * rng.uniform(0.03, 0.15)) for side in (height, width))
        y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        image[y : y + h, x : x + w] = rng.random()
