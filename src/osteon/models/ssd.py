"""SSD (Liu et al. 2016) on VGG16, torchvision's, at any input side; one class and the background.

The network and its heads are torchvision's `ssd300_vgg16`. What had to change for other sides than 300: the last two
levels halve their map like the two before (the published ones, without padding, would leave 8 and 6 cells at 640 and
nothing at 96), and beyond 300 the smallest anchors are those of the paper's SSD512 on COCO (0.04 and 0.10 of the
side, where 300 has 0.07 and 0.15). Anchors keep their size in pixels when a part of a picture is shown.
"""

import importlib
import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from osteon.models import anchors
from osteon.models.anchors import AnchoredPredictions
from osteon.models.criteria import DetectionTargets
from osteon.models.vision import torchvision

RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
LEVELS = len(RATIOS)
PUBLISHED_SIDE_PX = 300
PUBLISHED_STRIDES = (8, 16, 32, 64, 100, 300)
STRIDES = (8, 16, 32, 64, 128, 256)
SMALLEST = {True: (0.07, 0.15), False: (0.04, 0.10)}
"""Sizes of the first two levels' anchors, as shares of the side: up to 300 pixels, and beyond."""
LARGEST = 1.05
WEIGHTS = (10.0, 5.0)
COLOUR_MEAN = (0.48235, 0.45882, 0.40784)
COLOUR_STD = 1 / 255
MATCH_IOU = 0.5
NEGATIVES = 3
CONV5 = 23
"""Index of VGG16's layer from which torchvision keeps the convolutions with SSD's further ones."""
FRESH = ("backbone.scale_weight", "backbone.extra.0.7", *(f"backbone.extra.{i}" for i in range(1, 5)), "head")
"""Beginnings of the parameters that ImageNet's VGG16 does not have."""


def published(**options: Any) -> Any:
    """SSD300-VGG16 as torchvision has it, for one class, with random weights."""
    torchvision()
    detection = importlib.import_module("torchvision.models.detection")
    return detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=2, **options)


def anchor_shapes(side_px: int) -> list[Tensor]:
    """(k, 2) widths and heights of each level's anchors in pixels, in torchvision's order."""
    first, second = SMALLEST[side_px <= PUBLISHED_SIDE_PX]
    scales = [first, *torch.linspace(second, LARGEST, LEVELS, dtype=torch.float64).tolist()]
    shapes = []
    for level, ratios in enumerate(RATIOS):
        scale, between = scales[level], math.sqrt(scales[level] * scales[level + 1])
        pairs = [(scale, scale), (between, between)]
        for ratio in ratios:
            wide, narrow = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            pairs += [(wide, narrow), (narrow, wide)]
        shapes.append(torch.tensor(pairs).clamp(max=1) * side_px)
    return shapes


class SsdVgg16(nn.Module):
    """(b, 1, h, w) in [0, 1] -> `AnchoredPredictions` of background and fracture."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        model = published()
        self.backbone, self.head = model.backbone, model.head
        self.strides = PUBLISHED_STRIDES if side_px == PUBLISHED_SIDE_PX else STRIDES
        if side_px != PUBLISHED_SIDE_PX:
            for level in (3, 4):
                last = self.backbone.extra[level][2]
                last.stride, last.padding = (2, 2), (1, 1)
        self.shapes_px = anchor_shapes(side_px)
        self.register_buffer("mean", torch.tensor(COLOUR_MEAN).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> AnchoredPredictions:
        """Predictions of a batch; see the class."""
        maps = list(self.backbone((x - cast(Tensor, self.mean)) / COLOUR_STD).values())
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
        spread = anchors.spread_over(self.shapes_px, sizes, self.strides, x.device)
        said = self.head(maps)
        return AnchoredPredictions(said["cls_logits"], said["bbox_regression"], spread)

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Take VGG16's convolutions from torchvision's state dict (`features.N...`)."""
        mine = self.backbone.state_dict()
        taken = {}
        for name, value in weights.items():
            if name.startswith("features."):
                number, kind = name.split(".")[1:]
                place = "features" if int(number) < CONV5 else "extra.0"
                taken[f"{place}.{int(number) % CONV5 if int(number) >= CONV5 else number}.{kind}"] = value
        wanted = {name for name in mine if not f"backbone.{name}".startswith(FRESH)}
        if taken.keys() != wanted:
            raise KeyError(f"no VGG16: {sorted(wanted ^ taken.keys())[:3]}")
        self.backbone.load_state_dict(mine | taken)


def boxes_and_scores(predictions: AnchoredPredictions) -> tuple[Tensor, Tensor]:
    """(b, n, 4) boxes in model pixels and (b, n) scores in [0, 1], before non-maximum suppression."""
    boxes = anchors.decode(predictions.offsets.float(), predictions.anchors_xyxy, WEIGHTS)
    return boxes, predictions.logits.float().softmax(-1)[..., 1]


def ssd_loss(predictions: AnchoredPredictions, targets: DetectionTargets) -> dict[str, Tensor]:
    """Smooth L1 of the boxes, and cross-entropy over hits and the three times as many worst misses of each picture.

    As torchvision computes it: a picture without fractures has no share in it.
    """
    logits, offsets = predictions.logits.float(), predictions.offsets.float()
    spread = predictions.anchors_xyxy
    matched = torch.stack([anchors.match(spread, t, high=MATCH_IOU, low=MATCH_IOU) for t in targets.boxes_xyxy])
    hit = matched >= 0
    count = hit.sum().clamp(min=1)
    box = offsets.sum() * 0
    for i, truth in enumerate(targets.boxes_xyxy):
        goal = anchors.encode(truth[matched[i][hit[i]]], spread[hit[i]], WEIGHTS)
        box = box + nn.functional.smooth_l1_loss(offsets[i][hit[i]], goal, reduction="sum")
    entropy = nn.functional.cross_entropy(logits.flatten(0, 1), hit.long().flatten(), reduction="none")
    entropy = entropy.reshape(hit.shape)
    order = entropy.detach().masked_fill(hit, -math.inf).argsort(1, descending=True)
    chosen = order.argsort(1) < NEGATIVES * hit.sum(1, keepdim=True)
    return {"score": entropy[hit | chosen].sum() / count, "box": box / count}
