"""Anchor boxes: how anchor-based detectors say where a box is, and which anchor answers for which truth."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from osteon.models.criteria import pair_iou

MOST_GROWTH = math.log(1000 / 16)
"""Largest logarithm of a box's size over its anchor's, as in torchvision."""


class AnchoredPredictions(NamedTuple):
    """What an anchor-based detector says of a batch, over all n anchors of all levels.

    Attributes:
        logits: (b, n, k) class logits.
        offsets: (b, n, 4) shift of the middle and logarithm of the size, relative to the anchor, times `weights`.
        anchors_xyxy: (n, 4) in model pixels.
    """

    logits: Tensor
    offsets: Tensor
    anchors_xyxy: Tensor


def spread_over(
    shapes_px: Sequence[Tensor], sizes: Sequence[tuple[int, int]], strides_px: Sequence[float], device: torch.device
) -> Tensor:
    """(n, 4) anchors over all levels, row by row, all shapes of a cell together.

    Args:
        shapes_px: (k, 2) widths and heights of a level's anchors, one tensor a level.
        sizes: cells of each level, (height, width).
        strides_px: distance of neighbouring cells of each level.
        device: where to put them.
    """
    levels = []
    for shapes, (height, width), stride in zip(shapes_px, sizes, strides_px, strict=True):
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        middles = (torch.stack([x, y], -1).reshape(-1, 1, 2).float() + 0.5) * stride
        half = shapes.to(device)[None] / 2
        levels.append(torch.cat([middles - half, middles + half], -1).reshape(-1, 4))
    return torch.cat(levels)


def encode(boxes_xyxy: Tensor, anchors_xyxy: Tensor, weights: tuple[float, float]) -> Tensor:
    """(n, 4) offsets of boxes from their anchors; `weights` of the shift and of the size."""
    size, goal = anchors_xyxy[:, 2:] - anchors_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    shift = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:] - anchors_xyxy[:, :2] - anchors_xyxy[:, 2:]) / 2 / size
    return torch.cat([shift * weights[0], (goal / size).log() * weights[1]], -1)


def decode(offsets: Tensor, anchors_xyxy: Tensor, weights: tuple[float, float]) -> Tensor:
    """(b, n, 4) boxes in model pixels: the inverse of `encode`."""
    size, middle = anchors_xyxy[:, 2:] - anchors_xyxy[:, :2], (anchors_xyxy[:, :2] + anchors_xyxy[:, 2:]) / 2
    moved = middle + offsets[..., :2] / weights[0] * size
    half = size * (offsets[..., 2:] / weights[1]).clamp(max=MOST_GROWTH).exp() / 2
    return torch.cat([moved - half, moved + half], -1)


@torch.no_grad()
def match(anchors_xyxy: Tensor, truth_xyxy: Tensor, *, high: float, low: float) -> Tensor:
    """(n,) index of the truth each anchor answers for, -1 for none, -2 where it is to be left out of the loss.

    An anchor answers for the truth it overlaps most, if by at least `high`; between `low` and `high` it is left out.
    The best anchor of every truth answers for it in any case (the later truth's, where two share one).
    """
    if len(truth_xyxy) == 0:
        return torch.full((len(anchors_xyxy),), -1, device=anchors_xyxy.device)
    overlap = pair_iou(truth_xyxy, anchors_xyxy)
    best, truth = overlap.max(0)
    matched = torch.where(best >= high, truth, torch.where(best >= low, -2, -1))
    for index, anchor in enumerate(overlap.argmax(1).tolist()):
        matched[anchor] = index
    return matched
