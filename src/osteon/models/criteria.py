"""Losses: task-aligned assignment with distribution boxes for detectors, cross-entropy with Dice for masks."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from osteon.models.points import Predictions, decode

TOP = 10
SCORE_POWER = 0.5
IOU_POWER = 6.0


class Shares(NamedTuple):
    """How much each part of `detection_loss` weighs."""

    score: float = 1.0
    box: float = 5.0
    edge: float = 1.0
    mask: float = 1.0


DEFAULT_SHARES = Shares()


class DetectionTargets(NamedTuple):
    """Truth of a batch.

    Attributes:
        boxes_xyxy: one (k, 4) tensor an image, model pixels.
        masks: (b, 1, h / 8, w / 8) share of each cell that is fracture, -1 where unknown.
    """

    boxes_xyxy: list[Tensor]
    masks: Tensor


def pair_iou(first: Tensor, second: Tensor) -> Tensor:
    """(n, m) intersection over union of (n, 4) and (m, 4) boxes."""
    upper_left = torch.maximum(first[:, None, :2], second[None, :, :2])
    lower_right = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (lower_right - upper_left).clamp(min=0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared).clamp(min=1e-6)


def complete_iou(first: Tensor, second: Tensor) -> Tensor:
    """(n,) complete IoU of paired (n, 4) boxes (Zheng et al. 2020)."""
    shared = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    size_a, size_b = first[:, 2:] - first[:, :2], second[:, 2:] - second[:, :2]
    overlap = shared.prod(-1)
    iou = overlap / (size_a.prod(-1) + size_b.prod(-1) - overlap).clamp(min=1e-6)
    hull = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    offset = (first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]) / 2
    distance = (offset**2).sum(-1) / (hull**2).sum(-1).clamp(min=1e-6)
    angles = [torch.atan2(size[:, 0], size[:, 1].clamp(min=1e-6)) for size in (size_a, size_b)]
    aspect = 4 / torch.pi**2 * (angles[0] - angles[1]) ** 2
    weight = (aspect / (1 - iou + aspect).clamp(min=1e-6)).detach()
    return iou - distance - weight * aspect


class Assignment(NamedTuple):
    """Which truth each point of one image answers for: index (n,) or -1, and its target score (n,)."""

    truth: Tensor
    score: Tensor


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, points_xy: Tensor, truth_xyxy: Tensor, *, on: Tensor | None = None
) -> Assignment:
    """Task-aligned assignment of one image (Feng et al. 2021): the `TOP` best points inside each truth box.

    A point is as good as score^0.5 * IoU^6; one claimed by two boxes goes to the one that it overlaps most. The target
    score is that goodness, scaled so that the best point of a box aims at its IoU.

    Args:
        scores: (n,), or (k, n) where each truth has a class of its own.
        on: (k, n) points that lie on each truth itself, not merely in its box: only those are taken, and a point on
            several goes to the truth that has the fewest. Else the shorter of two bones side by side, whose boxes are
            nearly one, would be left with no point of its own.
    """
    count = len(points_xy)
    if len(truth_xyxy) == 0:
        return Assignment(points_xy.new_full((count,), -1, dtype=torch.long), scores.new_zeros(count))
    iou = pair_iou(truth_xyxy, boxes)
    margins = torch.cat([points_xy - truth_xyxy[:, None, :2], truth_xyxy[:, None, 2:] - points_xy], -1)
    inside = margins.amin(-1) > 0
    if on is not None:
        inside &= on
    goodness = scores.expand_as(iou) ** SCORE_POWER * iou**IOU_POWER * inside
    best, where = goodness.topk(min(TOP, count), dim=1)
    chosen = torch.zeros_like(inside).scatter_(1, where, best > 0)
    right = iou if on is None else (1 / (1 + on.sum(1, keepdim=True))).expand_as(iou)
    claimed = torch.where(chosen, right, -1.0)
    overlap, truth = claimed.max(0)
    truth = torch.where(overlap >= 0, truth, -1)
    chosen &= torch.arange(len(truth_xyxy), device=truth.device)[:, None] == truth[None]
    peak = (goodness * chosen).amax(1, keepdim=True).clamp(min=1e-9)
    reach = (iou * chosen).amax(1, keepdim=True)
    score = (goodness * chosen / peak * reach).amax(0)
    return Assignment(truth, score)


def assign_all(scores: Tensor, boxes: Tensor, points_xy: Tensor, truth_xyxy: Sequence[Tensor]) -> Assignment:
    """`assign` for (b, n) scores and (b, n, 4) boxes of a batch; truths are counted through all its pictures."""
    each = [assign(s, b, points_xy, truth) for s, b, truth in zip(scores, boxes, truth_xyxy, strict=True)]
    return counted_through(each, [len(truth) for truth in truth_xyxy])


def counted_through(assigned: Sequence[Assignment], counts: Sequence[int]) -> Assignment:
    """Assignments of pictures with so many truths each as one, (b, n): truths are counted through all pictures."""
    starts = [0, *accumulate(counts[:-1])]
    truth = [torch.where(a.truth >= 0, a.truth + start, -1) for a, start in zip(assigned, starts, strict=True)]
    return Assignment(torch.stack(truth), torch.stack([a.score for a in assigned]))


def distances(points_xy: Tensor, boxes_xyxy: Tensor, strides_px: Tensor) -> Tensor:
    """(n, 4) distances of points to the left, top, right and bottom edge of a box each, in strides."""
    return torch.cat([points_xy - boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - points_xy], -1) / strides_px[:, None]


def distribution_loss(bins: Tensor, wanted: Tensor, *, steps: Sequence[float] | None = None) -> Tensor:
    """(n,) cross-entropy of (n, 4, k) edge distributions with true distances, `wanted`, (n, 4) in strides.

    Args:
        steps: distance of each bin, as in `points.decode`.
    """
    places = torch.tensor(range(bins.shape[-1]) if steps is None else steps, dtype=torch.float32, device=bins.device)
    wanted = wanted.clamp(0, (range(bins.shape[-1]) if steps is None else steps)[-1] - 0.01)
    lower = torch.searchsorted(places, wanted, right=True) - 1
    part = (wanted - places[lower]) / (places[lower + 1] - places[lower])
    logs = functional.log_softmax(bins, -1)
    low = logs.gather(-1, lower[..., None])[..., 0]
    high = logs.gather(-1, lower[..., None] + 1)[..., 0]
    return -(low * (1 - part) + high * part).mean(-1)


def detection_loss(
    predictions: Predictions, targets: DetectionTargets, *, shares: Shares = DEFAULT_SHARES
) -> dict[str, Tensor]:
    """Named, weighted parts of the loss: `score`, `box`, `edge` and, where there is one, `mask`; to be minimised."""
    logits, bins = predictions.logits.float(), predictions.bins.float()
    points, strides = predictions.points_xy, predictions.strides_px
    boxes = decode(bins, points, strides)
    assigned = assign_all(logits.detach().sigmoid(), boxes.detach(), points, targets.boxes_xyxy)
    wanted, truth = assigned.score, torch.cat(targets.boxes_xyxy)
    picture, point = torch.nonzero(assigned.truth >= 0, as_tuple=True)
    goal = truth[assigned.truth[picture, point]]
    weight = wanted[picture, point]
    total = wanted.sum().clamp(min=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
    overlap = 1 - complete_iou(boxes[picture, point], goal)
    edge = distribution_loss(bins[picture, point], distances(points[point], goal, strides[point]))
    loss = {
        "score": shares.score * entropy / total,
        "box": shares.box * (overlap * weight).sum() / total,
        "edge": shares.edge * (edge * weight).sum() / total,
    }
    if predictions.mask_logits is not None:
        loss["mask"] = shares.mask * mask_loss(predictions.mask_logits.float(), targets.masks)
    return loss


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy plus Dice over pixels whose target is not negative; targets may be shares in [0, 1]."""
    known = (targets >= 0).float()
    wanted = targets.clamp(min=0)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    entropy = (entropy * known).sum() / known.sum().clamp(min=1)
    shown = logits.sigmoid() * known
    dice = 1 - (2 * (shown * wanted).sum() + 1) / (shown.sum() + (wanted * known).sum() + 1)
    return entropy + dice
