"""Which of a model's boxes are objects: the best class of each, suppression within a class, and across classes."""

from typing import NamedTuple

import torch
from torch import Tensor

from osteon.models.vision import torchvision

MOST_INSTANCES = 100
LEAST_SCORE = 0.05
SAME_CLASS_IOU = 0.75
ANY_CLASS_IOU = 0.95
"""Of boxes. The rest is left to the masks (`inference.bones`): boxes of radius and ulna may be nearly one."""


class Instances(NamedTuple):
    """Objects on one picture, best first, in model pixels.

    Attributes:
        boxes_xyxy: (n, 4) what the masks cover; may be larger than the object.
        scores: (n,) in [0, 1].
        labels: (n,) indices of classes.
        masks: (n, m, m) probabilities; cell (i, j) covers its share of the box.
        odds: (n, bone classes) probabilities of the names of bones, where the model tells them apart.
        metal: (h, w) probabilities of metal, the whole picture's, where the model has such a map.
        bone: (h, w) probabilities of bone or metal, likewise.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor
    odds: Tensor | None = None
    metal: Tensor | None = None
    bone: Tensor | None = None


def best_class(scores: Tensor) -> tuple[Tensor, Tensor]:
    """(n, c) class scores -> each box's best score, (n,), and its class, (n,)."""
    best, label = scores.max(-1)
    return best, label


def chosen(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Indices of the boxes that stay, best first, at most `MOST_INSTANCES`.

    Args:
        boxes_xyxy: (n, 4).
        scores: (n,); those under `LEAST_SCORE` go.
        labels: (n,).
    """
    nms = torchvision().ops.nms
    kept = [
        members[nms(boxes_xyxy[members], scores[members], SAME_CLASS_IOU)][:MOST_INSTANCES]
        for label in labels[scores > LEAST_SCORE].unique()
        if len(members := torch.nonzero((labels == label) & (scores > LEAST_SCORE))[:, 0])
    ]
    if not kept:
        return torch.zeros(0, dtype=torch.long, device=scores.device)
    survivors = torch.cat(kept)
    once = nms(boxes_xyxy[survivors], scores[survivors], ANY_CLASS_IOU)[:MOST_INSTANCES]
    return survivors[once]
