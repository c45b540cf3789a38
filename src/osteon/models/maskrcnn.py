"""Mask R-CNN (He et al. 2017), torchvision's, for single bones: rows of reference for the study.

`resnet50` has the network of `maskrcnn_resnet50_fpn`, with normalisation that learns; `csp` has its stages, narrower,
on the detector's backbone. Criterion and suppression are torchvision's too, with ignored regions and without chance
(see `proposals`). Anchors have its shapes, scaled to the input (it takes pictures of 800 px), but stand in the middle
of cells, and regions are aligned without its shift by half a cell, so that a mask's cells cover its box; torchvision's
own compiled RoIAlign is not needed.
"""

import importlib
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from osteon.models import anchors
from osteon.models.anchors import AnchoredPredictions
from osteon.models.bone_criteria import BoneTargets
from osteon.models.csp import CHANNELS, CspBackbone
from osteon.models.instances import Instances, chosen
from osteon.models.proposals import LEAST_SIDE_PX, inside, proposal_loss, proposals, regions_to_learn
from osteon.models.regions import aligned, cropped
from osteon.models.retinanet import COLOUR_MEAN, COLOUR_STD, PUBLISHED_SIDE_PX
from osteon.models.vision import torchvision

STRIDES = (4, 8, 16, 32, 64)
SIZES_PX = (32, 64, 128, 256, 512)
RATIOS = (0.5, 1.0, 2.0)
USUAL_PX, USUAL_LEVEL = 224, 2
"""A region of this side is looked up in this level (Lin et al. 2017, equation 1), counted from the finest."""
REGION_LEVELS = 4
BOX_CELLS, MASK_CELLS = 7, 28
WEIGHTS = (10.0, 5.0)
NARROW, NARROW_HIDDEN = 96, 512


class Proposed(NamedTuple):
    """The first stage of a batch.

    Attributes:
        maps: (b, c, h / s, w / s) for each of `STRIDES`.
        anchored: one logit, an object or none, and box offsets for each anchor.
        counts: anchors of each level.
    """

    maps: list[Tensor]
    anchored: AnchoredPredictions
    counts: list[int]


class ResNetBody(nn.Module):
    """A grey picture in [0, 1] -> torchvision's ResNet-50 features at strides 4, 8, 16, 32."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        for name, value in (("mean", COLOUR_MEAN), ("std", COLOUR_STD)):
            self.register_buffer(name, torch.tensor(value).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(b, 1, h, w) -> four maps, finest first."""
        return list(self.layers((x - cast(Tensor, self.mean)) / cast(Tensor, self.std)).values())


class RegionHeads(nn.Module):
    """The second stage: regions of the pyramid -> classes with boxes, and masks; class 0 is no object."""

    def __init__(
        self, box_head: nn.Module, box_predictor: nn.Module, mask_head: nn.Module, mask_predictor: nn.Module
    ) -> None:
        super().__init__()
        self.box_head, self.box_predictor = box_head, box_predictor
        self.mask_head, self.mask_predictor = mask_head, mask_predictor

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, BOX_CELLS, BOX_CELLS) -> (n, 1 + classes) logits, (n, 1 + classes, 4) offsets."""
        logits, offsets = self.box_predictor(self.box_head(regions))
        return logits.float(), offsets.float().unflatten(1, (-1, 4))

    def masks(self, regions: Tensor, labels: Tensor) -> Tensor:
        """(n, c, MASK_CELLS / 2, MASK_CELLS / 2), (n,) classes from 0 -> (n, MASK_CELLS, MASK_CELLS) logits."""
        logits: Tensor = self.mask_predictor(self.mask_head(regions))
        return logits[torch.arange(len(labels), device=labels.device), labels + 1].float()


class MaskRcnn(nn.Module):
    """(b, 1, h, w) in [0, 1], sides multiples of 32 -> `Proposed`; see `losses` and `instances`."""

    def __init__(self, backbone: nn.Module, fpn: nn.Module, rpn: nn.Module, heads: RegionHeads, side_px: int) -> None:
        super().__init__()
        self.backbone, self.fpn, self.rpn, self.roi_heads = backbone, fpn, rpn, heads
        self.scale = side_px / PUBLISHED_SIDE_PX
        self.shapes_px = anchor_shapes(side_px)

    def forward(self, x: Tensor) -> Proposed:
        """The first stage of a batch."""
        features = self.backbone(x)[-REGION_LEVELS:]
        maps = list(self.fpn(OrderedDict((str(i), feature) for i, feature in enumerate(features))).values())
        logits, offsets = self.rpn(maps)
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
        spread = anchors.spread_over(self.shapes_px, sizes, STRIDES, x.device)
        said = [
            torch.cat([_by_anchor(level, len(RATIOS)) for level in levels], 1).float() for levels in (logits, offsets)
        ]
        counts = [height * width * len(RATIOS) for height, width in sizes]
        return Proposed(maps, AnchoredPredictions(said[0], said[1], spread), counts)

    def losses(self, pixels: Tensor, targets: BoneTargets) -> dict[str, Tensor]:
        """Named parts of the loss: `objectness`, `proposal`, `score`, `box` and `mask`."""
        first, side_px = self(pixels), (pixels.shape[2], pixels.shape[3])
        parts = proposal_loss(first.anchored, targets)
        found = proposals(first.anchored, first.counts, side_px=side_px)
        learnt = [
            regions_to_learn(boxes, truth, ignored)
            for boxes, truth, ignored in zip(found, targets.boxes_xyxy, targets.ignored, strict=True)
        ]
        zero = first.maps[0].float().sum() * 0
        parts.update(score=zero, box=zero, mask=zero)
        if any(len(boxes) for boxes, _ in learnt):
            parts.update(self._box_loss(first.maps, learnt, targets, side_px))
        hits = [(boxes[matched >= 0], matched[matched >= 0]) for boxes, matched in learnt]
        if any(len(boxes) for boxes, _ in hits):
            parts["mask"] = self._mask_loss(first.maps, hits, targets, side_px)
        return parts

    def _box_loss(
        self,
        maps: list[Tensor],
        learnt: Sequence[tuple[Tensor, Tensor]],
        targets: BoneTargets,
        side_px: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Cross-entropy of classes and smooth L1 of boxes: torchvision's own."""
        labels, goals = [], []
        for (boxes, matched), truth, classes in zip(learnt, targets.boxes_xyxy, targets.labels, strict=True):
            hit = matched >= 0
            label, goal = torch.zeros_like(matched), torch.zeros_like(boxes)
            label[hit] = classes[matched[hit]] + 1
            goal[hit] = anchors.encode(truth[matched[hit]], boxes[hit], WEIGHTS)
            labels.append(label)
            goals.append(goal)
        logits, offsets = self.roi_heads(self._regions(maps, [boxes for boxes, _ in learnt], BOX_CELLS, side_px))
        criterion = importlib.import_module("torchvision.models.detection.roi_heads").fastrcnn_loss
        score, box = criterion(logits, offsets.flatten(1), labels, goals)
        return {"score": score, "box": box}

    def _mask_loss(
        self,
        maps: list[Tensor],
        hits: Sequence[tuple[Tensor, Tensor]],
        targets: BoneTargets,
        side_px: tuple[int, int],
    ) -> Tensor:
        """Cross-entropy of the true class's mask; ignored cells that are not the object are left out."""
        shares, labels, unknown = [], [], []
        for i, (boxes, matched) in enumerate(hits):
            shares.append(cropped(targets.masks[i][matched], boxes, MASK_CELLS))
            labels.append(targets.labels[i][matched])
            if len(boxes):
                unknown.append(aligned(targets.ignored[i][None, None], boxes, MASK_CELLS, side_px=side_px)[:, 0])
        regions = self._regions(maps, [boxes for boxes, _ in hits], MASK_CELLS // 2, side_px)
        logits = self.roi_heads.masks(regions, torch.cat(labels))
        return known_entropy(logits, torch.cat(shares), torch.cat(unknown))

    def _regions(self, maps: list[Tensor], boxes: Sequence[Tensor], size: int, side_px: tuple[int, int]) -> Tensor:
        """(n, c, size, size) what the heads look at, of all pictures; n is not 0."""
        regions = []
        for i, places in enumerate(boxes):
            if not len(places):
                continue
            level = level_of(places, self.scale)
            order = [torch.nonzero(level == number)[:, 0] for number in range(REGION_LEVELS)]
            parts = [
                aligned(maps[number][i : i + 1], places[members], size, side_px=side_px)
                for number, members in enumerate(order)
                if len(members)
            ]
            regions.append(torch.cat(parts)[torch.cat(order).argsort()])
        return torch.cat(regions)

    def instances(self, pixels: Tensor) -> list[Instances]:
        """The objects on each picture of a batch."""
        first, side_px = self(pixels), (pixels.shape[2], pixels.shape[3])
        found = []
        for i, places in enumerate(proposals(first.anchored, first.counts, side_px=side_px)):
            maps = [level[i : i + 1] for level in first.maps]
            boxes, scores, labels = self._classed(maps, places, side_px)
            kept = chosen(boxes, scores, labels)
            masks = boxes.new_zeros(0, MASK_CELLS, MASK_CELLS)
            if len(kept):
                regions = self._regions(maps, [boxes[kept]], MASK_CELLS // 2, side_px)
                masks = self.roi_heads.masks(regions, labels[kept]).sigmoid()
            found.append(Instances(boxes[kept], scores[kept], labels[kept], masks))
        return found

    def _classed(self, maps: list[Tensor], places: Tensor, side_px: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """(n, 4) boxes, (n,) scores and (n,) labels: every proposal as every class."""
        if not len(places):
            return places, places.new_zeros(0), torch.zeros(0, dtype=torch.long, device=places.device)
        logits, offsets = self.roi_heads(self._regions(maps, [places], BOX_CELLS, side_px))
        boxes = inside(anchors.decode(offsets[:, 1:].transpose(0, 1), places, WEIGHTS), side_px)
        scores = logits.softmax(1)[:, 1:].T
        large = (boxes[..., 2:] - boxes[..., :2]).amin(-1) >= LEAST_SIDE_PX
        labels = torch.arange(len(scores), device=scores.device)[:, None].expand_as(scores)
        return boxes[large], scores[large], labels[large]

    def load_published(self, weights: dict[str, Tensor]) -> None:
        """Start from what others trained: NanoDet-g (COCO) for `csp`; ResNet-50 (ImageNet) or Mask R-CNN (COCO) else.

        Of Mask R-CNN all is taken but the last layers, which tell COCO's classes.
        """
        if isinstance(self.backbone, CspBackbone):
            self.backbone.load_nanodet(weights)
        elif not any(name.startswith("backbone.body.") for name in weights):
            body = {name: value for name, value in weights.items() if not name.startswith("fc.")}
            cast(ResNetBody, self.backbone).layers.load_state_dict(body)
        else:
            heads = self.roi_heads
            for module, prefix in (
                (cast(ResNetBody, self.backbone).layers, "backbone.body."),
                (self.fpn, "backbone.fpn."),
                (self.rpn, "rpn.head."),
                (heads.box_head, "roi_heads.box_head."),
                (heads.mask_head, "roi_heads.mask_head."),
            ):
                part = {n.removeprefix(prefix): value for n, value in weights.items() if n.startswith(prefix)}
                module.load_state_dict(part)


def resnet50(side_px: int, classes: int) -> MaskRcnn:
    """The network of torchvision, all of it, with random weights.

    Args:
        side_px: of the whole input; anchors follow it.
        classes: of objects.
    """
    torchvision()
    detection = importlib.import_module("torchvision.models.detection")
    model = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=classes + 1)
    second = model.roi_heads
    heads = RegionHeads(second.box_head, second.box_predictor, second.mask_head, second.mask_predictor)
    return MaskRcnn(ResNetBody(model.backbone.body), model.backbone.fpn, model.rpn.head, heads, side_px)


def csp(side_px: int, classes: int) -> MaskRcnn:
    """Pyramid and heads of torchvision with `NARROW` channels on the detector's backbone; see `resnet50`."""
    torchvision()
    boxes, masks, rpn = (
        importlib.import_module(f"torchvision.models.detection.{name}") for name in ("faster_rcnn", "mask_rcnn", "rpn")
    )
    pyramid = importlib.import_module("torchvision.ops.feature_pyramid_network")
    fpn = pyramid.FeaturePyramidNetwork([CHANNELS[0] // 2, *CHANNELS], NARROW, pyramid.LastLevelMaxPool())
    heads = RegionHeads(
        boxes.TwoMLPHead(NARROW * BOX_CELLS**2, NARROW_HIDDEN),
        boxes.FastRCNNPredictor(NARROW_HIDDEN, classes + 1),
        masks.MaskRCNNHeads(NARROW, (NARROW,) * 4, 1),
        masks.MaskRCNNPredictor(NARROW, NARROW, classes + 1),
    )
    return MaskRcnn(CspBackbone(), fpn, rpn.RPNHead(NARROW, len(RATIOS)), heads, side_px)


def anchor_shapes(side_px: int) -> list[Tensor]:
    """(3, 2) widths and heights of each level's anchors in pixels: one size in each of three ratios."""
    sizes = [size * side_px / PUBLISHED_SIDE_PX for size in SIZES_PX]
    return [torch.tensor([(s / math.sqrt(ratio), s * math.sqrt(ratio)) for ratio in RATIOS]) for s in sizes]


def level_of(boxes_xyxy: Tensor, scale: float) -> Tensor:
    """(n,) level of the pyramid in which each region is looked up, 0 the finest.

    Args:
        boxes_xyxy: (n, 4) in model pixels.
        scale: side of the input, as a share of the published one.
    """
    side = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=1e-3).prod(1).sqrt() / scale
    level = USUAL_LEVEL + (side / USUAL_PX).log2() + 1e-6
    return level.floor().clamp(0, REGION_LEVELS - 1).long()


def known_entropy(logits: Tensor, shares: Tensor, unknown: Tensor) -> Tensor:
    """Mean cross-entropy of (n, m, m) mask logits with the true share of each cell.

    Args:
        unknown: (n, m, m) share of each cell that is ignored; cells that are not the object and mostly ignored are
            left out.
    """
    known = ((unknown < 0.5) | (shares > 0.5)).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    return (entropy * known).sum() / known.sum().clamp(min=1)


def _by_anchor(level: Tensor, shapes: int) -> Tensor:
    """(b, shapes * k, h, w) -> (b, h * w * shapes, k), in the order of `anchors.spread_over`."""
    by_shape: Tensor = level.unflatten(1, (shapes, -1))
    return by_shape.permute(0, 3, 4, 1, 2).flatten(1, 3)
