"""Proposals of a two-stage model: what its first stage says, what of it the second looks at, and what each learns.

As in Faster R-CNN (Ren et al. 2015) with torchvision's thresholds, but nothing is left to chance, so that a training
that was interrupted ends where it would have ended: the first stage takes the mean over all ways to draw its anchors,
the second takes evenly spaced proposals of the list that is ordered by score. Boxes that are no object and lie mostly
where nobody could draw count neither way.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from osteon.models import anchors
from osteon.models.anchors import AnchoredPredictions
from osteon.models.bone_criteria import BoneTargets
from osteon.models.vision import torchvision

HIGH, LOW = 0.7, 0.3
ANCHORS_LEARNT = 256
"""Anchors of a picture that are drawn; at most half of them with an object."""
WEIGHTS = (1.0, 1.0)
BETA = 1 / 9
BEFORE_SUPPRESSION = 500
"""Proposals of a level and picture; torchvision takes more, of larger pictures with more objects."""
PROPOSALS = 300
PROPOSAL_IOU = 0.7
LEAST_SIDE_PX = 1.0
REGION_IOU = 0.5
REGIONS_LEARNT = 128
"""Proposals of a picture that the second stage learns from; at most a quarter of them with an object."""
MOSTLY = 0.5
NOTHING, LEFT_OUT = -1, -2


def ignored_share(boxes_xyxy: Tensor, ignored: Tensor) -> Tensor:
    """(n,) share of the visible part of (n, 4) boxes that lies in an (h, w) region of 0 and 1, to whole pixels."""
    height, width = ignored.shape
    sums = functional.pad(ignored.float().cumsum(0).cumsum(1), (1, 0, 1, 0))
    x0, y0 = boxes_xyxy[:, 0].floor().clamp(0, width - 1).long(), boxes_xyxy[:, 1].floor().clamp(0, height - 1).long()
    x1, y1 = boxes_xyxy[:, 2].ceil().clamp(1, width).long(), boxes_xyxy[:, 3].ceil().clamp(1, height).long()
    x1, y1 = torch.maximum(x1, x0 + 1), torch.maximum(y1, y0 + 1)
    inside = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return inside / ((x1 - x0) * (y1 - y0))


@torch.no_grad()
def answered(boxes_xyxy: Tensor, truth_xyxy: Tensor, ignored: Tensor, *, high: float, low: float) -> Tensor:
    """(n,) index of the true box that each box answers for, else NOTHING or LEFT_OUT; see `anchors.match`."""
    matched = anchors.match(boxes_xyxy, truth_xyxy, high=high, low=low)
    unknown = (matched == NOTHING) & (ignored_share(boxes_xyxy, ignored) > MOSTLY)
    return torch.where(unknown, LEFT_OUT, matched)


def chance(matched: Tensor) -> Tensor:
    """(n,) how likely each anchor is drawn: ANCHORS_LEARNT of a picture, half of them with an object where possible."""
    hit, miss = matched >= 0, matched == NOTHING
    hits = hit.sum().clamp(max=ANCHORS_LEARNT // 2)
    misses = torch.minimum(miss.sum(), ANCHORS_LEARNT - hits)
    return hit * (hits / hit.sum().clamp(min=1)) + miss * (misses / miss.sum().clamp(min=1))


def proposal_loss(predictions: AnchoredPredictions, targets: BoneTargets) -> dict[str, Tensor]:
    """Cross-entropy of `objectness`, and smooth L1 of the boxes, `proposal`: torchvision's, the mean over all draws."""
    logits, offsets = predictions.logits.float()[..., 0], predictions.offsets.float()
    spread = predictions.anchors_xyxy
    entropy, distance, drawn = logits.sum() * 0, offsets.sum() * 0, logits.new_zeros(())
    for i, truth in enumerate(targets.boxes_xyxy):
        matched = answered(spread, truth, targets.ignored[i], high=HIGH, low=LOW)
        hit, weight = matched >= 0, chance(matched)
        each = functional.binary_cross_entropy_with_logits(logits[i], hit.float(), reduction="none")
        goal = anchors.encode(truth[matched[hit]], spread[hit], WEIGHTS)
        far = functional.smooth_l1_loss(offsets[i][hit], goal, beta=BETA, reduction="none").sum(1)
        entropy, distance = entropy + (each * weight).sum(), distance + (far * weight[hit]).sum()
        drawn = drawn + weight.sum()
    return {"objectness": entropy / drawn.clamp(min=1), "proposal": distance / drawn.clamp(min=1)}


@torch.no_grad()
def proposals(
    predictions: AnchoredPredictions, counts: Sequence[int], *, side_px: tuple[int, int], most: int = PROPOSALS
) -> list[Tensor]:
    """(n, 4) boxes of each picture, best first, after suppression within each level.

    Args:
        predictions: of a batch.
        counts: anchors of each level.
        side_px: (height, width) of the pictures.
        most: proposals of a picture.
    """
    nms = torchvision().ops.nms
    scores = predictions.logits.float()[..., 0]
    boxes = inside(anchors.decode(predictions.offsets.float(), predictions.anchors_xyxy, WEIGHTS), side_px)
    found = []
    for mine, place in zip(scores, boxes, strict=True):
        kept, start = [], 0
        for count in counts:
            level = start + mine[start : start + count].topk(min(BEFORE_SUPPRESSION, count)).indices
            start += count
            level = level[(place[level, 2:] - place[level, :2]).amin(1) >= LEAST_SIDE_PX]
            kept.append(level[nms(place[level], mine[level], PROPOSAL_IOU)])
        survivors = torch.cat(kept)
        found.append(place[survivors[mine[survivors].argsort(descending=True, stable=True)[:most]]])
    return found


def inside(boxes_xyxy: Tensor, side_px: tuple[int, int]) -> Tensor:
    """(..., 4) boxes cut at the borders of a (height, width) picture."""
    height, width = side_px
    x, y = boxes_xyxy[..., 0::2].clamp(0, width), boxes_xyxy[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


@torch.no_grad()
def regions_to_learn(boxes_xyxy: Tensor, truth_xyxy: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
    """What the second stage learns from: proposals and the true boxes themselves, REGIONS_LEARNT of them.

    Args:
        boxes_xyxy: (n, 4) proposals, best first.
        truth_xyxy: (k, 4).
        ignored: (h, w), 1 where nobody could draw.

    Returns:
        (r, 4) boxes, those with an object first, and (r,) which true box each answers for, or NOTHING.
    """
    candidates = torch.cat([boxes_xyxy, truth_xyxy])
    matched = answered(candidates, truth_xyxy, ignored, high=REGION_IOU, low=REGION_IOU)
    hits = spaced(torch.nonzero(matched >= 0)[:, 0], REGIONS_LEARNT // 4)
    misses = spaced(torch.nonzero(matched == NOTHING)[:, 0], REGIONS_LEARNT - len(hits))
    chosen = torch.cat([hits, misses])
    return candidates[chosen], matched[chosen]


def spaced(values: Tensor, count: int) -> Tensor:
    """At most `count` of (n,) values, evenly spaced.

    >>> spaced(torch.arange(10), 4).tolist()
    [0, 2, 5, 7]
    """
    count = min(count, len(values))
    return values[torch.arange(count, device=values.device) * len(values) // max(count, 1)]
