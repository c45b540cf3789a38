"""RetinaNet (Lin et al. 2017) on ResNet-50, torchvision's, for one class: a row of reference for the study.

Network and heads are torchvision's `retinanet_resnet50_fpn`, with normalisation that learns. Anchors have its shapes,
scaled to the input (it takes pictures of 800 px, the smallest anchor is 32 px there), but stand in the middle of cells.
"""

import importlib
import math
from typing import cast

import torch
from torch import Tensor, nn

from osteon.models import anchors
from osteon.models.anchors import AnchoredPredictions
from osteon.models.criteria import DetectionTargets
from osteon.models.vision import torchvision

STRIDES = (8, 16, 32, 64, 128)
SIZES_PX = (32, 64, 128, 256, 512)
RATIOS = (0.5, 1.0, 2.0)
PUBLISHED_SIDE_PX = 800
WEIGHTS = (1.0, 1.0)
HIGH, LOW = 0.5, 0.4
ALPHA, GAMMA = 0.25, 2
COLOUR_MEAN, COLOUR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRESH = ("backbone.fpn", "head")
"""Beginnings of the parameters that ImageNet's ResNet-50 does not have."""


def anchor_shapes(side_px: int) -> list[Tensor]:
    """(9, 2) widths and heights of each level's anchors in pixels: three sizes in each of three ratios."""
    shapes = []
    for size in SIZES_PX:
        scales = [size * 2 ** (third / 3) * side_px / PUBLISHED_SIDE_PX for third in range(3)]
        pairs = [(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for ratio in RATIOS for scale in scales]
        shapes.append(torch.tensor(pairs))
    return shapes


class RetinaNet(nn.Module):
    """(b, 1, h, w) in [0, 1], sides multiples of 32 -> `AnchoredPredictions` of one class."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        torchvision()
        detection = importlib.import_module("torchvision.models.detection")
        model = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=1)
        self.backbone, self.head = model.backbone, model.head
        self.shapes_px = anchor_shapes(side_px)
        for name, value in (("mean", COLOUR_MEAN), ("std", COLOUR_STD)):
            self.register_buffer(name, torch.tensor(value).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> AnchoredPredictions:
        """Predictions of a batch; see the class."""
        maps = list(self.backbone((x - cast(Tensor, self.mean)) / cast(Tensor, self.std)).values())
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
        spread = anchors.spread_over(self.shapes_px, sizes, STRIDES, x.device)
        said = self.head(maps)
        return AnchoredPredictions(said["cls_logits"], said["bbox_regression"], spread)

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Take ResNet-50 from torchvision's state dict; its classifier is left out."""
        body = {name: value for name, value in weights.items() if not name.startswith("fc.")}
        self.backbone.body.load_state_dict(body)


def boxes_and_scores(predictions: AnchoredPredictions) -> tuple[Tensor, Tensor]:
    """(b, n, 4) boxes in model pixels and (b, n) scores in [0, 1], before non-maximum suppression."""
    boxes = anchors.decode(predictions.offsets.float(), predictions.anchors_xyxy, WEIGHTS)
    return boxes, predictions.logits.float().sigmoid()[..., 0]


def retinanet_loss(predictions: AnchoredPredictions, targets: DetectionTargets) -> dict[str, Tensor]:
    """Focal loss of the scores and L1 of the boxes, by picture over its hits, as torchvision has them."""
    logits, offsets = predictions.logits.float()[..., 0], predictions.offsets.float()
    spread = predictions.anchors_xyxy
    score, box = logits.sum() * 0, offsets.sum() * 0
    for i, truth in enumerate(targets.boxes_xyxy):
        matched = anchors.match(spread, truth, high=HIGH, low=LOW)
        hit, counted = matched >= 0, matched >= -1
        count = hit.sum().clamp(min=1)
        score = score + focal_loss(logits[i][counted], hit[counted].float()).sum() / count
        goal = anchors.encode(truth[matched[hit]], spread[hit], WEIGHTS)
        box = box + (offsets[i][hit] - goal).abs().sum() / count
    pictures = len(targets.boxes_xyxy)
    return {"score": score / pictures, "box": box / pictures}


def focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """(n,) binary cross-entropy, little where the answer is right already (Lin et al. 2017)."""
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    missed = probability * (1 - wanted) + (1 - probability) * wanted
    return entropy * missed**GAMMA * (ALPHA * wanted + (1 - ALPHA) * (1 - wanted))
