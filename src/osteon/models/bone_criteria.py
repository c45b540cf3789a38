"""Truth of single bones and the losses of models that find them; regions nobody could draw count neither way."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from osteon.models.criteria import assign, complete_iou, counted_through, distances, distribution_loss
from osteon.models.points import decode

MASK_SHARE = 2.0
METAL_SHARE = 5.0
"""How much metal's cross-entropy counts beside its Dice: most cells are far from any."""
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
    levels = [int(stride) for stride in strides.unique(sorted=True).tolist()]
    each = []
    for i, (boxed, labels) in enumerate(zip(targets.boxes_xyxy, targets.labels, strict=True)):
        scores = logits[i].detach().sigmoid()
        scores = scores[:, (labels >= names.shape[2]).long()].T if len(labels) else scores[:, 0]
        on = own_points(targets.masks[i], levels) if len(labels) else None
        each.append(assign(scores, boxes[i].detach(), points, boxed, on=on))
    assigned = counted_through(each, [len(truth) for truth in targets.boxes_xyxy])
    picture, point = torch.nonzero(assigned.truth >= 0, as_tuple=True)
    chosen, weight = assigned.truth[picture, point], assigned.score[picture, point]
    truth, label = torch.cat(targets.boxes_xyxy)[chosen], torch.cat(targets.labels)[chosen]
    bone = label < names.shape[2]
    wanted = torch.zeros_like(logits).index_put((picture, point, (~bone).long()), weight)
    outside = torch.stack([~_inside(points, ignored) for ignored in targets.ignored])
    known = ((assigned.truth >= 0) | outside)[..., None].float()
    total = wanted.sum().clamp(min=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    label = label.clamp(max=names.shape[2] - 1)
    name = functional.cross_entropy(names[picture, point], label, reduction="none") * bone
    overlap = 1 - complete_iou(boxes[picture, point], truth)
    goal = distances(points[point], truth, strides[point])
    edge = distribution_loss(bins[picture, point], goal, steps=predictions.steps)
    return {
        "score": ((entropy * known).sum((0, 1)) / wanted.sum((0, 1)).clamp(min=1)).sum(),
        "name": (name * weight).sum() / total,
        "box": 5.0 * (overlap * weight).sum() / total,
        "edge": (edge * weight).sum() / total,
    }


def own_points(masks: Tensor, strides: Sequence[int]) -> Tensor:
    """(k, n) which points may answer for each of (k, h, w) masks; points of strides in pixels, as `grid` orders them.

    Where objects overlap, pixels are the smaller one's. Points answer whose cell holds hardly another object: a large
    cell between radius and ulna knows neither's edges. An object with fewer than `LEAST_OWN` such points has all whose
    cell it touches.
    """
    order = masks.flatten(1).sum(1).argsort()
    above = masks[order].cumsum(0, dtype=torch.int32) - masks[order]
    owned = torch.empty_like(masks)
    owned[order] = masks[order] * (above == 0).to(masks.dtype)
    touched, own = (_shares(m, strides) for m in (masks, owned))
    alone = (own > OWN_SHARE * own.sum(0)) & (own > 0)
    return torch.where(alone.sum(1, keepdim=True) >= LEAST_OWN, alone, touched > 0)


def _shares(masks: Tensor, strides: Sequence[int]) -> Tensor:
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
    drawn = logits.new_zeros(*logits.shape[:2], height, width)
    for i, (masks, labels) in enumerate(zip(targets.masks, targets.labels, strict=True)):
        if len(labels):
            drawn[i, 0] = masks.amax(0)
            drawn[i].index_add_(0, 1 + labels, masks.float())
    share = functional.avg_pool2d(drawn.clamp(max=1), stride)
    unknown = functional.avg_pool2d(targets.ignored[:, None].float(), stride)
    known = ((unknown < 0.5) | (share[:, :1] > 0.5)).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, share, reduction="none") * known
    shown = logits.sigmoid() * known
    both, either = (shown * share).sum((0, 2, 3)), (shown.sum((0, 2, 3)) + (share * known).sum((0, 2, 3)))
    dice = 1 - (2 * both + 1) / (either + 1)
    present = (share[:, 1:].sum((0, 2, 3)) > 0).float()
    by_class = (dice[1:] * present).sum() / present.sum().clamp(min=1)
    return entropy.sum() / known.sum().clamp(min=1) + dice[0] + by_class


def metal_loss(logits: Tensor, targets: BoneTargets, stride: int, *, label: int) -> Tensor:
    """Cross-entropy and Dice, over the whole batch, of (b, 1, h, w) logits with the share of each cell that is metal.

    Cells that nobody could draw, and where no metal is drawn, are left out.

    Args:
        stride: of the logits, in model pixels.
        label: metal's.
    """
    drawn = torch.zeros_like(targets.ignored, dtype=torch.float32)
    for i, (masks, labels) in enumerate(zip(targets.masks, targets.labels, strict=True)):
        if (labels == label).any():
            drawn[i] = masks[labels == label].amax(0)
    share = functional.avg_pool2d(drawn[:, None], stride)
    unknown = functional.avg_pool2d(targets.ignored[:, None].float(), stride)
    known = ((unknown < 0.5) | (share > 0.5)).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, share, reduction="none") * known
    shown = logits.sigmoid() * known
    dice = 1 - (2 * (shown * share).sum() + 1) / (shown.sum() + (share * known).sum() + 1)
    return METAL_SHARE * entropy.sum() / known.sum().clamp(min=1) + dice


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
