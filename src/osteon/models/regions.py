"""Regions of a feature map, one for each box, and the same of masks: what box and mask heads look at."""

import torch
from torch import Tensor
from torch.nn import functional

SAMPLES = 2
"""Points a cell and axis; a cell's value is their mean."""


def aligned(feature: Tensor, boxes_xyxy: Tensor, size: int, *, side_px: tuple[int, int]) -> Tensor:
    """The regions under boxes, without rounding: RoIAlign (He et al. 2017) with `SAMPLES` x `SAMPLES` points a cell.

    Args:
        feature: (1, c, h, w) map over a picture.
        boxes_xyxy: (n, 4) in pixels of that picture; parts outside read the nearest border.
        size: cells of a region on either side.
        side_px: (height, width) of the picture.

    Returns:
        (n, c, size, size); cell (i, j) covers the box's part (j / size .. (j + 1) / size, i / size .. (i + 1) / size).
    """
    rows = _places(boxes_xyxy, size, side_px).reshape(1, -1, size * SAMPLES, 2)
    values = functional.grid_sample(feature.float(), rows, padding_mode="border", align_corners=False)
    cells = functional.avg_pool2d(values, SAMPLES)
    return cells.reshape(feature.shape[1], -1, size, size).transpose(0, 1)


def cropped(masks: Tensor, boxes_xyxy: Tensor, size: int) -> Tensor:
    """(n, size, size) share of each cell under a mask: mask i, (h, w), seen through box i, (4,), in its pixels."""
    places = _places(boxes_xyxy, size, (masks.shape[1], masks.shape[2]))
    values = functional.grid_sample(masks[:, None].float(), places, padding_mode="border", align_corners=False)
    return functional.avg_pool2d(values, SAMPLES)[:, 0]


def _places(boxes_xyxy: Tensor, size: int, side_px: tuple[int, int]) -> Tensor:
    """(n, size * SAMPLES, size * SAMPLES, 2) points under boxes as `grid_sample` takes them: x, y from -1 to 1."""
    steps = (torch.arange(size * SAMPLES, device=boxes_xyxy.device, dtype=torch.float32) + 0.5) / (size * SAMPLES)
    x0, y0, x1, y1 = boxes_xyxy.float().unbind(1)
    x = (x0[:, None] + (x1 - x0)[:, None] * steps) * (2 / side_px[1]) - 1
    y = (y0[:, None] + (y1 - y0)[:, None] * steps) * (2 / side_px[0]) - 1
    across, down = x[:, None, :].expand(-1, size * SAMPLES, -1), y[:, :, None].expand(-1, -1, size * SAMPLES)
    return torch.stack([across, down], -1)
