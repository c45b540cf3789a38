"""Losses: task-aligned assignment with distribution boxes for detectors, cross-entropy with Dice for masks."""

from collections.abc import Sequence
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


def distribution_loss(bins: Tensor, distances: Tensor, *, steps: Sequence[float] | None = None) -> Tensor:
    """(n,) cross-entropy of (n, 4, k) edge distributions with true distances (n, 4) in strides.

    Args:
        steps: distance of each bin, as in `points.decode`.
    """
    places = torch.tensor(range(bins.shape[-1]) if steps is None else steps, dtype=torch.float32, device=bins.device)
    distances = distances.clamp(0, float(places[-1]) - 0.01)
    lower = torch.searchsorted(places, distances, right=True) - 1
    part = (distances - places[lower]) / (places[lower + 1] - places[lower])
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
    wanted = torch.zeros_like(logits)
    overlaps, edges, weights = [], [], []
    for i, truth in enumerate(targets.boxes_xyxy):
        assigned = assign(logits[i].detach().sigmoid(), boxes[i].detach(), points, truth)
        wanted[i] = assigned.score
        positive = assigned.truth >= 0
        if not positive.any():
            continue
        goal = truth[assigned.truth[positive]]
        place, stride = points[positive], strides[positive, None]
        distances = torch.cat([place - goal[:, :2], goal[:, 2:] - place], -1) / stride
        overlaps.append(1 - complete_iou(boxes[i][positive], goal))
        edges.append(distribution_loss(bins[i][positive], distances))
        weights.append(assigned.score[positive])
    total = wanted.sum().clamp(min=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
    loss = {"score": shares.score * entropy / total}
    weight = torch.cat(weights) if weights else logits.new_zeros(0)
    zero = logits.sum() * 0
    loss["box"] = shares.box * (torch.cat(overlaps) * weight).sum() / total if weights else zero
    loss["edge"] = shares.edge * (torch.cat(edges) * weight).sum() / total if weights else zero
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
