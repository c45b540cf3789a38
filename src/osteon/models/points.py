"""What anchor-free detectors say, and how it becomes boxes: a score and four edge distributions for each point.

Distances are those of generalised focal loss (Li et al. 2020): each edge is the mean of a distribution over
0..k - 1 strides, or over other distances where a model says so.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Predictions(NamedTuple):
    """What a detector says of a batch, over all n points of all strides.

    Attributes:
        logits: (b, n) fracture logits.
        bins: (b, n, 4, k) logits of the distances left, top, right, bottom in strides.
        points_xy: (n, 2) point of each prediction in model pixels.
        strides_px: (n,).
        mask_logits: (b, 1, h / 8, w / 8) fracture mask; None where the architecture draws none.
    """

    logits: Tensor
    bins: Tensor
    points_xy: Tensor
    strides_px: Tensor
    mask_logits: Tensor | None = None


def decode(bins: Tensor, points_xy: Tensor, strides_px: Tensor, *, steps: Sequence[float] | None = None) -> Tensor:
    """(b, n, 4) boxes `[x0, y0, x1, y1]` in model pixels.

    Args:
        steps: distance of each bin in strides; 0, 1, ... k - 1 where not given.
    """
    places = torch.tensor(range(bins.shape[-1]) if steps is None else steps, dtype=bins.dtype, device=bins.device)
    distances = (bins.softmax(-1) * places).sum(-1) * strides_px[:, None]
    return torch.cat([points_xy - distances[..., :2], points_xy + distances[..., 2:]], -1)


def boxes_and_scores(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """(b, n, 4) boxes in model pixels and (b, n) scores in [0, 1], before non-maximum suppression."""
    boxes = decode(predictions.bins.float(), predictions.points_xy, predictions.strides_px)
    return boxes, predictions.logits.float().sigmoid()


def grid(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """(height * width, 2) middles of a level's cells in model pixels, row by row."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return (torch.stack([x, y], -1).reshape(-1, 2).float() + 0.5) * stride
