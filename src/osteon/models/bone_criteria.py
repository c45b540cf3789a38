"""Truth of single bones and the losses of models that find them; regions nobody could draw count neither way."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from osteon.models.criteria import assign, complete_iou, distribution_loss
from osteon.models.points import decode

MASK_SHARE = 2.0
OWN_SHARE = 0.7
"""A cell is an object's own where so much of what is drawn in it is this object."""
LEAST_OWN = 10


class BoneTargets(NamedTuple):
    """Truth of a batch; k objects on a picture, boxes in model pixels.

    Attributes:
        boxes_xyxy: one (k, 4) tensor a picture.
        labels: one (k,) tensor a picture, indices of classes.
        masks: one (k, h, w) uint8 tensor of 0 and 1 a picture.
        ignored: (b, h, w) uint8, 1 where nobody could draw: neither object nor background.
        regions_xyxy: one (r, 4) tensor a picture, boxes under which masks are learnt, moved a little as a detector's
            are; none: the true boxes serve.
        regions_of: one (r,) tensor a picture, the object of each region.
    """

    boxes_xyxy: list[Tensor]
    labels: list[Tensor]
    masks: list[Tensor]
    ignored: Tensor
    regions_xyxy: list[Tensor] | None = None
    regions_of: list[Tensor] | None = None

    def regions(self, index: int) -> tuple[Tensor, Tensor]:
        """(r, 4) regions of a picture, and (r,) which object each is of."""
        if self.regions_xyxy is None or self.regions_of is None:
            boxes = self.boxes_xyxy[index]
            return boxes, torch.arange(len(boxes), device=boxes.device)
        return self.regions_xyxy[index], self.regions_of[index]

    def to(self, where: torch.device) -> "BoneTargets":
        """The same on a device."""

        def moved(values: list[Tensor]) -> list[Tensor]:
            return [value.to(where) for value in values]

        return BoneTargets(
            moved(self.boxes_xyxy),
            moved(self.labels),
            moved(self.masks),
            self.ignored.to(where),
            None if self.regions_xyxy is None else moved(self.regions_xyxy),
            None if self.regions_of is None else moved(self.regions_of),
        )


class PointPredictions(NamedTuple):
    """What the points of all strides say of a batch.

    Attributes:
        logits: (b, n, kinds) whether there is a bone and, where metal is a class, metal; see `kinds`.
        names: (b, n, bone classes) logits of which bone it is, if one.
        bins: (b, n, 4, k) logits of the distances left, top, right, bottom in strides.
        points_xy: (n, 2) model pixels.
        strides_px: (n,).
        steps: distance of each of the k bins in strides.
    """

    logits: Tensor
    names: Tensor
    bins: Tensor
    points_xy: Tensor
    strides_px: Tensor
    steps: tuple[float, ...]


def kinds(classes: int) -> tuple[int, int]:
    """How many kinds of objects, and of bones, a number of classes is: the last of several classes is metal."""
    return (2, classes - 1) if classes > 1 else (1, 1)


def class_scores(logits: Tensor, names: Tensor) -> Tensor:
    """(..., classes) scores in [0, 1]: the best name of a bone has the bone's score, others in proportion; metal last.

    Args:
        logits: (..., kinds).
        names: (..., bone classes).
    """
    sure = logits.sigmoid()
    bones = sure[..., :1] * (names - names.amax(-1, keepdim=True)).exp()
    return torch.cat([bones, sure[..., 1:]], -1)


def points_loss(predictions: PointPredictions, targets: BoneTargets) -> dict[str, Tensor]:
    """Task-aligned scores and distribution boxes as in `criteria.detection_loss`, for bone and metal; names of bones.

    That something is a bone is learnt from all bones, and apart from which one it is (cross-entropy over the bones, at
    the points that answer for one): few films show each. Bone and metal weigh alike, however rare metal is.
    An object is answered for by points whose cell it has to itself, or, where those are few, by all whose cell it
    touches; see `own_points`. Points without an object inside an ignored region are left out of the scores.
    """
    logits, names, bins = predictions.logits.float(), predictions.names.float(), predictions.bins.float()
    points, strides = predictions.points_xy, predictions.strides_px
    boxes = decode(bins, points, strides, steps=predictions.steps)
    wanted, known = torch.zeros_like(logits), torch.ones_like(logits)
    overlaps, edges, weights, entropies = [], [], [], [logits.sum() * 0]
    for i, (truth, labels) in enumerate(zip(targets.boxes_xyxy, targets.labels, strict=True)):
        kind = (labels >= names.shape[2]).long()
        scores = logits[i].detach().sigmoid()[:, kind].T if len(labels) else logits[i].detach().sigmoid()[:, 0]
        on = own_points(targets.masks[i], strides) if len(labels) else None
        assigned = assign(scores, boxes[i].detach(), points, truth, on=on)
        positive = assigned.truth >= 0
        known[i] = (positive | ~_inside(points, targets.ignored[i])).float()[:, None]
        if not positive.any():
            continue
        chosen = assigned.truth[positive]
        wanted[i, positive, kind[chosen]] = assigned.score[positive]
        bone = kind[chosen] == 0
        named = functional.cross_entropy(names[i, positive][bone], labels[chosen][bone], reduction="none")
        entropies.append((named * assigned.score[positive][bone]).sum())
        goal, place, stride = truth[chosen], points[positive], strides[positive, None]
        distances = torch.cat([place - goal[:, :2], goal[:, 2:] - place], -1) / stride
        overlaps.append(1 - complete_iou(boxes[i][positive], goal))
        edges.append(distribution_loss(bins[i][positive], distances, steps=predictions.steps))
        weights.append(assigned.score[positive])
    total = wanted.sum().clamp(min=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    zero = logits.sum() * 0
    weight = torch.cat(weights) if weights else logits.new_zeros(0)
    return {
        "score": ((entropy * known).sum((0, 1)) / wanted.sum((0, 1)).clamp(min=1)).sum(),
        "name": torch.stack(entropies).sum() / total,
        "box": 5.0 * (torch.cat(overlaps) * weight).sum() / total if weights else zero,
        "edge": (torch.cat(edges) * weight).sum() / total if weights else zero,
    }


def own_points(masks: Tensor, strides_px: Tensor) -> Tensor:
    """(k, n) which points may answer for each of (k, h, w) masks; points as `points.grid` orders them.

    Where objects overlap, pixels are the smaller one's. Points answer whose cell holds hardly another object: a large
    cell between radius and ulna knows neither's edges. An object with fewer than `LEAST_OWN` such points has all whose
    cell it touches.
    """
    strides = [int(stride) for stride in strides_px.unique(sorted=True)]
    order = masks.flatten(1).sum(1).argsort()
    above = masks[order].cumsum(0, dtype=torch.int32) - masks[order]
    owned = torch.empty_like(masks)
    owned[order] = masks[order] * (above == 0).to(masks.dtype)
    touched, own = (_shares(m, strides) for m in (masks, owned))
    alone = (own > OWN_SHARE * own.sum(0)) & (own > 0)
    return torch.where(alone.sum(1, keepdim=True) >= LEAST_OWN, alone, touched > 0)


def _shares(masks: Tensor, strides: list[int]) -> Tensor:
    """(k, n) share of the cell of each point under (k, h, w) masks; each stride a multiple of the one before."""
    cells, levels, finer = masks[:, None].float(), [], 1
    for stride in strides:
        cells, finer = functional.avg_pool2d(cells, stride // finer), stride
        levels.append(cells.flatten(1))
    return torch.cat(levels, 1)


def _inside(points_xy: Tensor, ignored: Tensor) -> Tensor:
    """(n,) whether points lie in an (h, w) region."""
    x = points_xy[:, 0].long().clamp(0, ignored.shape[1] - 1)
    y = points_xy[:, 1].long().clamp(0, ignored.shape[0] - 1)
    return ignored[y, x] > 0


def semantic_loss(logits: Tensor, targets: BoneTargets, stride: int) -> Tensor:
    """Cross-entropy and Dice of (b, 1 + c, h, w) logits: the union of all objects, then that of each class.

    Dice of a class is taken where the batch shows it. Cells that nobody could draw, and where nothing is drawn, are
    left out.
    """
    height, width = targets.ignored.shape[1:]
    drawn = logits.new_zeros(len(logits), logits.shape[1], height, width, dtype=torch.uint8)
    for i, (masks, labels) in enumerate(zip(targets.masks, targets.labels, strict=True)):
        for mask, label in zip(masks, labels, strict=True):
            drawn[i, 0] |= mask
            drawn[i, 1 + int(label)] |= mask
    share = functional.avg_pool2d(drawn.float(), stride)
    unknown = functional.avg_pool2d(targets.ignored[:, None].float(), stride)
    known = ((unknown < 0.5) | (share[:, :1] > 0.5)).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, share, reduction="none") * known
    shown = logits.sigmoid() * known
    both, either = (shown * share).sum((0, 2, 3)), (shown.sum((0, 2, 3)) + (share * known).sum((0, 2, 3)))
    dice = 1 - (2 * both + 1) / (either + 1)
    present = (share[:, 1:].sum((0, 2, 3)) > 0).float()
    by_class = (dice[1:] * present).sum() / present.sum().clamp(min=1)
    return entropy.sum() / known.sum().clamp(min=1) + dice[0] + by_class


def region_loss(logits: Tensor, shares: Tensor, unknown: Tensor) -> Tensor:
    """Cross-entropy and Dice of (n, m, m) mask logits with the true share of each cell; the mean over regions.

    Args:
        unknown: (n, m, m) share of each cell that is ignored; cells that are not the object and mostly ignored are
            left out.
    """
    if not len(logits):
        return logits.sum() * 0
    known = ((unknown < 0.5) | (shares > 0.5)).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    entropy = (entropy * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    shown = logits.sigmoid() * known
    dice = 1 - (2 * (shown * shares).sum((1, 2)) + 1) / (shown.sum((1, 2)) + (shares * known).sum((1, 2)) + 1)
    return (entropy + dice).mean() * MASK_SHARE
