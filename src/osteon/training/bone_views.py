"""Random views of films with outlined bones: every bone's own mask, box and class, and what nobody could draw."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import BONE, BONES, IMPLANT
from osteon.datasets.case import Instance
from osteon.datasets.labels import bone_class
from osteon.datasets.masks import filled
from osteon.errors import ConfigurationError
from osteon.training.augment import Affine, Motion, erase, move, random_affine, shade, warp
from osteon.training.config import BonesSettings
from osteon.training.drawn_metal import with_metal
from osteon.training.pictures import Picture

ANATOMY = tuple(label for label in BONES if label != "rib")
"""No film's ribs are outlined; a rib is a bone without a name."""
CLASSES = {"bone": (BONE,), "bone,implant": (BONE, IMPLANT), "anatomy": ANATOMY}
LEAST_AREA_PX = 24
JITTER = 0.08
"""How far a box's edges are moved for its mask, as a share of its size."""
MASK_REGIONS = 16
Truth = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]
"""Boxes, labels, masks and ignored region; see `BoneView`."""


def class_names(classes: str) -> tuple[str, ...]:
    """The names of a way to class bones.

    Raises:
        ConfigurationError: an unknown way.
    """
    if classes not in CLASSES:
        raise ConfigurationError(f"unknown classes '{classes}'", hint=f"known: {'; '.join(CLASSES)}")
    return CLASSES[classes]


def class_of(label: str, names: tuple[str, ...]) -> int | None:
    """The index of a label's class; None for what has none."""
    name = bone_class(label, names)
    return None if name is None else names.index(name)


@dataclass(frozen=True, eq=False)
class BoneView:
    """A changed picture and its objects.

    Attributes:
        pixels: (canvas, canvas) float32 in [0, 1].
        boxes_xyxy: (k, 4) float32 around what is visible.
        labels: (k,) int64.
        masks: (k, canvas, canvas) uint8, 0 or 1.
        ignored: (canvas, canvas) uint8, 0 or 1.
        regions_xyxy: (r, 4) float32 boxes moved a little, of at most MASK_REGIONS objects drawn at random.
        regions_of: (r,) int64 the object of each.
    """

    pixels: NDArray[np.float32]
    boxes_xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.uint8]
    ignored: NDArray[np.uint8]
    regions_xyxy: NDArray[np.float32]
    regions_of: NDArray[np.int64]


def view(
    picture: Picture, names: tuple[str, ...], rng: np.random.Generator, settings: BonesSettings, *, gentle: bool
) -> BoneView:
    """A random view of a picture; `gentle` shows the whole square, little changed."""
    height, width = picture.pixels.shape
    if gentle:
        canvas, motion = settings.side_px, Motion(8.0, 0.9, 1.1)
        middle = (width / 2, height / 2)
    else:
        canvas = settings.canvas_px
        motion = Motion(settings.rotation_degrees, settings.scale_low, settings.scale_high, settings.quarter_turn)
        slack = np.maximum(np.array([width, height]) - canvas * 0.6, 0) / 2
        middle = (width / 2 + rng.uniform(-slack[0], slack[0]), height / 2 + rng.uniform(-slack[1], slack[1]))
    affine = random_affine(rng, motion, centre_xy=middle, canvas_px=canvas)
    grey = shade(rng, warp(picture.pixels, affine, canvas), strength=0.4 if gentle else 1.0)
    seen = truth(picture, names, affine, canvas)
    if not gentle and rng.random() < settings.drawn_metal:
        grey, seen = _with_metal(grey, seen, names, rng)
    if not gentle and rng.random() < 0.3:
        erase(rng, grey)
    return BoneView(grey, *seen, *_regions(seen[0], rng))


def _with_metal(
    grey: NDArray[np.float32], seen: Truth, names: tuple[str, ...], rng: np.random.Generator
) -> tuple[NDArray[np.float32], Truth]:
    """A picture and its truth with a piece of drawn metal, where metal is a class and none is on it."""
    boxes, labels, masks, ignored = seen
    metal = class_of(IMPLANT, names)
    if metal is None or (labels == metal).any():
        return grey, seen
    grey, piece = with_metal(grey, masks, rng)
    if not piece.any():
        return grey, seen
    x, y, width, height = cv2.boundingRect(piece)
    box = np.array([[x, y, x + width, y + height]], np.float32)
    return grey, (np.vstack([boxes, box]), np.append(labels, metal), np.concatenate([masks, piece[None]]), ignored)


def _regions(
    boxes_xyxy: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    chosen = rng.permutation(len(boxes_xyxy))[:MASK_REGIONS]
    boxes = boxes_xyxy[chosen]
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + rng.uniform(-JITTER, JITTER, boxes.shape) * sizes
    return moved.astype(np.float32), chosen.astype(np.int64)


def truth(picture: Picture, names: tuple[str, ...], affine: Affine, canvas_px: int) -> Truth:
    """Boxes, labels, masks and ignored region of a picture moved into a canvas; see `BoneView`.

    Metal is ignored where it has no class, as in the figures.
    """
    placement = picture.placement
    scale = np.diag([placement.placed_width_px / placement.width_px, placement.placed_height_px / placement.height_px])
    moved = np.hstack([affine[:, :2] @ scale, affine[:, 2:]])
    ignored = np.zeros((canvas_px, canvas_px), np.uint8)
    boxes, labels, masks = [], [], []
    for instance in picture.case.instances or ():
        mask = _mask(instance, moved, canvas_px)
        label = class_of(instance.label, names)
        if instance.ignore or (label is None and instance.label == IMPLANT):
            ignored |= mask
            continue
        if label is None or np.count_nonzero(mask) < LEAST_AREA_PX:
            continue
        x, y, width, height = cv2.boundingRect(mask)
        boxes.append((x, y, x + width, y + height))
        labels.append(label)
        masks.append(mask)
    stack = np.stack(masks) if masks else np.zeros((0, canvas_px, canvas_px), np.uint8)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), stack, ignored


def _mask(instance: Instance, affine: Affine, canvas_px: int) -> NDArray[np.uint8]:
    """(canvas, canvas) uint8, 0 or 1, of an object in image pixels."""
    mask = np.zeros((canvas_px, canvas_px), np.uint8)
    if instance.mask is not None:
        mask |= (warp(instance.mask.astype(np.uint8) * 255, affine, canvas_px) > 127).astype(np.uint8)
    for polygon in instance.polygons:
        mask |= filled(move(polygon, affine), mask.shape)
    return mask
