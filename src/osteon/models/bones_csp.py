"""The default finder of single bones: CSP backbone, anchor-free boxes with classes, and a mask head on each box.

The second stage is that of Mask R-CNN (He et al. 2017): regions aligned under boxes, a small convolutional network, a
mask for each. Its proposals are those of the detector `nanocsp` (path aggregation, distributions of edge distances),
which start from NanoDet-g's COCO weights, so that no second classification is needed. Masks are looked up in maps of
stride 4, into which the pyramid is mixed, and of stride 2, for their edges; auxiliary outputs learn the union of all
bones there, and of each class.

A mask is its class's own, so that a plate and the bone beneath, or radius and ulna, which share a box, are kept apart.
It reaches beyond its box by `MARGIN`, so that an end that the box cut off is found.

Metal has, beside its boxes, a map of its own at stride 2: screws and wires are thin, and brighter than anything else.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from osteon.models.bone_criteria import (
    BoneTargets,
    PointPredictions,
    class_scores,
    kinds,
    metal_loss,
    points_loss,
    region_loss,
    semantic_loss,
)
from osteon.models.csp import CHANNELS, STRIDES, ConvBlock, CspBackbone
from osteon.models.instances import Instances, best_class, chosen
from osteon.models.nanocsp import BINS, WIDTH, NanoCsp
from osteon.models.points import decode, grid
from osteon.models.regions import aligned, cropped

FINE_STRIDE = 4
FINE_CHANNELS = 64
MASK_CHANNELS = 96
EDGE_CHANNELS = 32
METAL_STRIDE = 2
METAL_CHANNELS = (48, 32)
METAL_REACHES = (2, 4, 8)
"""Dilations, in cells of stride 4: a plate is told by its whole length."""
COARSE_CELLS = 14
MASK_CELLS = 28
MARGIN = 0.1
"""How far a mask reaches beyond its box on each side, as a share of the box."""
STEPS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.5, 8.5, 11.5, 15.5, 21.0)
"""Edge distances of the bins in strides: bones are long, and far from a point none has to be exact."""


class Trunk(NamedTuple):
    """The first stage.

    Attributes:
        points: what the points say.
        fine: (b, FINE_CHANNELS, h / 4, w / 4) map for masks.
        edges: (b, EDGE_CHANNELS, h / 2, w / 2) map for their edges.
        semantic_logits: (b, 1 + classes, h / 4, w / 4), see `semantic_loss`; None where nobody asked.
    """

    points: PointPredictions
    fine: Tensor
    edges: Tensor
    semantic_logits: Tensor | None


class MaskHead(nn.Module):
    """Regions of both maps -> mask logits of a class; looks at the whole region coarsely, then at its edges."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.enter = ConvBlock(FINE_CHANNELS, MASK_CHANNELS)
        self.middle = nn.Sequential(*(ConvBlock(MASK_CHANNELS, MASK_CHANNELS) for _ in range(3)))
        self.edges = ConvBlock(EDGE_CHANNELS, MASK_CHANNELS, active=False)
        self.leave = ConvBlock(MASK_CHANNELS, MASK_CHANNELS)
        self.shared = nn.Conv2d(MASK_CHANNELS, 1, 1)
        self.by_class = nn.Conv2d(MASK_CHANNELS, classes, 1)
        nn.init.zeros_(self.by_class.weight)
        nn.init.zeros_(cast(Tensor, self.by_class.bias))

    def forward(self, fine: Tensor, edges: Tensor, labels: Tensor) -> Tensor:
        """Mask logits.

        Args:
            fine: (n, FINE_CHANNELS, COARSE_CELLS, COARSE_CELLS) regions.
            edges: (n, EDGE_CHANNELS, MASK_CELLS, MASK_CELLS) regions.
            labels: (n,) class of each.

        Returns:
            (n, MASK_CELLS, MASK_CELLS): what all classes have in common, and what is the class's own.
        """
        x = self.middle(self.enter(fine))
        x = nn.functional.interpolate(x, scale_factor=float(MASK_CELLS // COARSE_CELLS), mode="bilinear")
        x = self.leave(nn.functional.leaky_relu(x + self.edges(edges), 0.1))
        index = labels[:, None, None, None].expand(-1, 1, MASK_CELLS, MASK_CELLS)
        return cast(Tensor, self.shared(x) + self.by_class(x).gather(1, index))[:, 0]


class MetalHead(nn.Module):
    """Both maps and the picture itself -> logits of metal at stride 2; what is around is looked at in stride 4."""

    def __init__(self) -> None:
        super().__init__()
        wide, narrow = METAL_CHANNELS
        self.enter = ConvBlock(FINE_CHANNELS, wide)
        self.around = nn.ModuleList([ConvBlock(wide, wide, dilation=reach) for reach in METAL_REACHES])
        self.edges = ConvBlock(EDGE_CHANNELS + 1, wide, active=False)
        self.middle = ConvBlock(wide, narrow)
        self.leave = nn.Conv2d(narrow, 1, 1)
        nn.init.constant_(cast(Tensor, self.leave.bias), -4.0)

    def forward(self, fine: Tensor, edges: Tensor, pixels: Tensor) -> Tensor:
        """(b, FINE_CHANNELS, h / 4, w / 4), (b, EDGE_CHANNELS, h / 2, w / 2), (b, 1, h, w) -> (b, 1, h / 2, w / 2)."""
        around = self.enter(fine)
        for layer in self.around:
            around = around + layer(around)
        small = nn.functional.avg_pool2d(pixels, METAL_STRIDE)
        near = self.edges(torch.cat([edges, small.to(edges.dtype)], 1))
        return cast(Tensor, self.leave(self.middle(nn.functional.leaky_relu(near + _resized(around, near), 0.1))))


def with_margin(boxes_xyxy: Tensor) -> Tensor:
    """(n, 4) boxes, larger by `MARGIN` on each side."""
    more = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) * MARGIN
    return torch.cat([boxes_xyxy[:, :2] - more, boxes_xyxy[:, 2:] + more], 1)


def regions_of(fine: Tensor, edges: Tensor, places_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """What the mask head looks at: both maps of one picture under (n, 4) places in model pixels."""
    side_px = (fine.shape[2] * FINE_STRIDE, fine.shape[3] * FINE_STRIDE)
    return (
        aligned(fine, places_xyxy, COARSE_CELLS, side_px=side_px),
        aligned(edges, places_xyxy, MASK_CELLS, side_px=side_px),
    )


class BonesCsp(nn.Module):
    """(b, 1, h, w) in [0, 1], sides multiples of 32 -> `Trunk`; see `losses` and `instances`.

    The last of several classes is metal. Its map learns from what the rest sees, and changes nothing there.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = CspBackbone()
        self.laterals = nn.ModuleList([ConvBlock(c, WIDTH, 1, active=False) for c in CHANNELS])
        self.class_convs = nn.ModuleList([ConvBlock(WIDTH, WIDTH) for _ in STRIDES])
        self.box_convs = nn.ModuleList([ConvBlock(WIDTH, WIDTH) for _ in STRIDES])
        count, bones = kinds(classes)
        self.class_heads = nn.ModuleList([nn.Conv2d(WIDTH, count, 1) for _ in STRIDES])
        self.name_heads = nn.ModuleList([nn.Conv2d(WIDTH, bones, 1) for _ in STRIDES])
        self.box_heads = nn.ModuleList([nn.Conv2d(WIDTH, 4 * BINS, 1) for _ in STRIDES])
        self.fine_lateral = ConvBlock(CHANNELS[0] // 2, FINE_CHANNELS, 1, active=False)
        self.fine_top = ConvBlock(WIDTH, FINE_CHANNELS, 1, active=False)
        self.fine_mix = ConvBlock(FINE_CHANNELS, FINE_CHANNELS)
        self.fine_finer = ConvBlock(FINE_CHANNELS, EDGE_CHANNELS, 1, active=False)
        self.fine_stem = ConvBlock(EDGE_CHANNELS, EDGE_CHANNELS, active=False)
        self.fine_edges = ConvBlock(EDGE_CHANNELS, EDGE_CHANNELS)
        self.semantic_head = nn.Conv2d(FINE_CHANNELS, 1 + classes, 1)
        nn.init.constant_(cast(Tensor, self.semantic_head.bias), -3.0)
        self.mask_head = MaskHead(classes)
        self.metal_label = classes - 1
        self.metal_head = MetalHead() if classes > 1 else None
        for head in self.class_heads:
            nn.init.constant_(cast(Tensor, head.bias), -4.6)  # prior probability 0.01
            nn.init.normal_(cast(Tensor, head.weight), std=0.01)

    def forward(self, x: Tensor, *, semantic: bool = False) -> Trunk:
        """The first stage of a batch."""
        features = self.backbone(x)
        levels = self._pyramid(features[2:])
        logits, names, bins, points, strides = [], [], [], [], []
        for level, stride in enumerate(STRIDES):
            seen = self.class_convs[level](levels[level])
            score, name = self.class_heads[level](seen), self.name_heads[level](seen)
            edges = self.box_heads[level](self.box_convs[level](levels[level]))
            logits.append(score.flatten(2).transpose(1, 2))
            names.append(name.flatten(2).transpose(1, 2))
            bins.append(edges.flatten(2).transpose(1, 2).unflatten(2, (4, BINS)))
            middles = grid(score.shape[-2], score.shape[-1], stride, x.device)
            points.append(middles)
            strides.append(torch.full((len(middles),), float(stride), device=x.device))
        fine = self.fine_lateral(features[1]) + _resized(self.fine_top(levels[0]), features[1])
        fine = self.fine_mix(nn.functional.leaky_relu(fine, 0.1))
        edges = self.fine_stem(features[0]) + _resized(self.fine_finer(fine), features[0])
        edges = self.fine_edges(nn.functional.leaky_relu(edges, 0.1))
        said = PointPredictions(
            logits=torch.cat(logits, 1),
            names=torch.cat(names, 1),
            bins=torch.cat(bins, 1),
            points_xy=torch.cat(points),
            strides_px=torch.cat(strides),
            steps=STEPS,
        )
        return Trunk(said, fine, edges, self.semantic_head(fine) if semantic else None)

    def _pyramid(self, features: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True))
        middle = middle + _resized(coarse, middle)
        fine = fine + _resized(middle, fine)
        middle = middle + _resized(fine, middle)
        return [fine, middle, coarse + _resized(middle, coarse)]

    def losses(self, pixels: Tensor, targets: BoneTargets) -> dict[str, Tensor]:
        """Named parts of the loss: `score`, `name`, `box`, `edge`, `semantic`, `mask`; `metal` where it is a class."""
        trunk = self(pixels, semantic=True)
        parts = points_loss(trunk.points, targets)
        parts["semantic"] = semantic_loss(trunk.semantic_logits.float(), targets, FINE_STRIDE)
        fine, edges, shares, unknown, labels = [], [], [], [], []
        for i in range(len(targets.boxes_xyxy)):
            moved, objects = targets.regions(i)
            if not len(moved):
                continue
            places = with_margin(moved)
            coarse, sharp = regions_of(trunk.fine[i : i + 1], trunk.edges[i : i + 1], places)
            fine.append(coarse)
            edges.append(sharp)
            shares.append(cropped(targets.masks[i][objects], places, MASK_CELLS))
            side = (targets.ignored.shape[1], targets.ignored.shape[2])
            unknown.append(aligned(targets.ignored[i][None, None], places, MASK_CELLS, side_px=side)[:, 0])
            labels.append(targets.labels[i][objects])
        if labels:
            logits = self.mask_head(torch.cat(fine), torch.cat(edges), torch.cat(labels)).float()
            parts["mask"] = region_loss(logits, torch.cat(shares), torch.cat(unknown))
        else:
            parts["mask"] = trunk.edges.sum() * 0
        if self.metal_head is not None:
            parts["metal"] = metal_loss(
                self.metal(trunk, pixels).float(), targets, METAL_STRIDE, label=self.metal_label
            )
        return parts

    def metal(self, trunk: Trunk, pixels: Tensor) -> Tensor:
        """(b, 1, h / 2, w / 2) logits of metal.

        Raises:
            ValueError: metal is no class of this model.
        """
        if self.metal_head is None:
            raise ValueError("metal is no class of this model")
        return cast(Tensor, self.metal_head(trunk.fine.detach(), trunk.edges.detach(), pixels))

    def bone(self, trunk: Trunk) -> Tensor:
        """(b, 1, h / 4, w / 4) logits of the union of all objects, of a trunk that was asked for it."""
        return cast(Tensor, trunk.semantic_logits)[:, :1]

    def boxes(self, trunk: Trunk) -> tuple[Tensor, Tensor]:
        """(b, n, 4) boxes in model pixels and (b, n, c) class scores in [0, 1], before suppression."""
        said = trunk.points
        boxes = decode(said.bins.float(), said.points_xy, said.strides_px, steps=STEPS)
        return boxes, class_scores(said.logits.float(), said.names.float())

    def instances(self, pixels: Tensor) -> list[Instances]:
        """The objects on each picture of a batch; a box is what its mask covers, `MARGIN` included."""
        trunk = self(pixels, semantic=True)
        bone = self.bone(trunk).float().sigmoid()[:, 0]
        metal = self.metal(trunk, pixels).float().sigmoid()[:, 0] if self.metal_head else [None] * len(pixels)
        found = []
        for i, (boxes, by_class) in enumerate(zip(*self.boxes(trunk), strict=True)):
            scores, labels = best_class(by_class)
            kept = chosen(boxes, scores, labels)
            places = with_margin(boxes[kept])
            masks = boxes.new_zeros(0, MASK_CELLS, MASK_CELLS)
            if len(kept):
                regions = regions_of(trunk.fine[i : i + 1], trunk.edges[i : i + 1], places)
                masks = self.mask_head(*regions, labels[kept]).float().sigmoid()
            odds = trunk.points.names[i][kept].float().softmax(-1)
            found.append(Instances(places, scores[kept], labels[kept], masks, odds, metal[i], bone[i]))
        return found

    def load_nanodet(self, weights: dict[str, Tensor]) -> None:
        """Start from a NanoDet-g detector trained on COCO: backbone, laterals, head convolutions and box outputs.

        A trained `nanocsp` fracture detector serves as well.
        """
        detector = NanoCsp()
        if weights.keys() == detector.state_dict().keys():
            detector.load_state_dict(weights)
        else:
            detector.load_nanodet(weights)
        mine = self.state_dict()
        shared = {
            name: value
            for name, value in detector.state_dict().items()
            if not name.startswith(("class_heads", "mask_head"))
        }
        self.load_state_dict({**mine, **shared})


def _resized(source: Tensor, target: Tensor) -> Tensor:
    return nn.functional.interpolate(source, target.shape[2:], mode="bilinear")
