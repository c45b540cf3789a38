"""The default finder of single bones: CSP backbone, anchor-free boxes with classes, and a mask head on each box.

The second stage is that of Mask R-CNN (He et al. 2017): regions aligned under boxes, a small convolutional network, a
mask for each. Its proposals are those of the detector `nanocsp` (path aggregation, distributions of edge distances),
which start from NanoDet-g's COCO weights, so that no second classification is needed. Masks are looked up in a map of
stride 4 into which the pyramid is mixed; an auxiliary head learns the union of all bones there.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from osteon.models.bone_criteria import BoneTargets, PointPredictions, points_loss, region_loss
from osteon.models.criteria import mask_loss
from osteon.models.csp import CHANNELS, STRIDES, ConvBlock, CspBackbone
from osteon.models.instances import Instances, best_class, chosen
from osteon.models.nanocsp import BINS, WIDTH, NanoCsp
from osteon.models.points import decode, grid
from osteon.models.regions import aligned, cropped

FINE_STRIDE = 4
FINE_CHANNELS = 64
MASK_CHANNELS = 96
COARSE_CELLS = 14
MASK_CELLS = 28


class Trunk(NamedTuple):
    """The first stage: what the points say, and the (b, FINE_CHANNELS, h / 4, w / 4) map for masks."""

    points: PointPredictions
    fine: Tensor
    union_logits: Tensor


class MaskHead(nn.Module):
    """Regions of the fine map -> mask logits; looks at the whole region coarsely, then at its edges."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = ConvBlock(FINE_CHANNELS, MASK_CHANNELS)
        self.middle = nn.Sequential(*(ConvBlock(MASK_CHANNELS, MASK_CHANNELS) for _ in range(3)))
        self.edges = ConvBlock(FINE_CHANNELS, MASK_CHANNELS, active=False)
        self.leave = ConvBlock(MASK_CHANNELS, MASK_CHANNELS)
        self.logits = nn.Conv2d(MASK_CHANNELS, 1, 1)

    def forward(self, regions: Tensor) -> Tensor:
        """(n, FINE_CHANNELS, MASK_CELLS, MASK_CELLS) regions -> (n, MASK_CELLS, MASK_CELLS) logits."""
        x = self.middle(self.enter(nn.functional.avg_pool2d(regions, MASK_CELLS // COARSE_CELLS)))
        x = nn.functional.interpolate(x, scale_factor=float(MASK_CELLS // COARSE_CELLS), mode="bilinear")
        x = self.leave(nn.functional.leaky_relu(x + self.edges(regions), 0.1))
        return cast(Tensor, self.logits(x))[:, 0]


def regions_of(fine: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """What the mask head looks at: the (1, FINE_CHANNELS, h, w) map under (n, 4) boxes in model pixels."""
    return aligned(fine, boxes_xyxy, MASK_CELLS, side_px=(fine.shape[2] * FINE_STRIDE, fine.shape[3] * FINE_STRIDE))


class BonesCsp(nn.Module):
    """(b, 1, h, w) in [0, 1], sides multiples of 32 -> `Trunk`; see `losses` and `instances`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = CspBackbone()
        self.laterals = nn.ModuleList([ConvBlock(c, WIDTH, 1, active=False) for c in CHANNELS])
        self.class_convs = nn.ModuleList([ConvBlock(WIDTH, WIDTH) for _ in STRIDES])
        self.box_convs = nn.ModuleList([ConvBlock(WIDTH, WIDTH) for _ in STRIDES])
        self.class_heads = nn.ModuleList([nn.Conv2d(WIDTH, classes, 1) for _ in STRIDES])
        self.box_heads = nn.ModuleList([nn.Conv2d(WIDTH, 4 * BINS, 1) for _ in STRIDES])
        self.fine_lateral = ConvBlock(CHANNELS[0] // 2, FINE_CHANNELS, 1, active=False)
        self.fine_top = ConvBlock(WIDTH, FINE_CHANNELS, 1, active=False)
        self.fine_mix = ConvBlock(FINE_CHANNELS, FINE_CHANNELS)
        self.union_head = nn.Conv2d(FINE_CHANNELS, 1, 1)
        self.mask_head = MaskHead()
        for head in self.class_heads:
            nn.init.constant_(cast(Tensor, head.bias), -4.6)  # prior probability 0.01
            nn.init.normal_(cast(Tensor, head.weight), std=0.01)

    def forward(self, x: Tensor) -> Trunk:
        """The first stage of a batch."""
        features = self.backbone(x)
        levels = self._pyramid(features[2:])
        logits, bins, points, strides = [], [], [], []
        for level, stride in enumerate(STRIDES):
            score = self.class_heads[level](self.class_convs[level](levels[level]))
            edges = self.box_heads[level](self.box_convs[level](levels[level]))
            logits.append(score.flatten(2).transpose(1, 2))
            bins.append(edges.flatten(2).transpose(1, 2).unflatten(2, (4, BINS)))
            middles = grid(score.shape[-2], score.shape[-1], stride, x.device)
            points.append(middles)
            strides.append(torch.full((len(middles),), float(stride), device=x.device))
        fine = self.fine_lateral(features[1]) + _resized(self.fine_top(levels[0]), features[1])
        fine = self.fine_mix(nn.functional.leaky_relu(fine, 0.1))
        said = PointPredictions(torch.cat(logits, 1), torch.cat(bins, 1), torch.cat(points), torch.cat(strides))
        return Trunk(said, fine, self.union_head(fine))

    def _pyramid(self, features: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True))
        middle = middle + _resized(coarse, middle)
        fine = fine + _resized(middle, fine)
        middle = middle + _resized(fine, middle)
        return [fine, middle, coarse + _resized(middle, coarse)]

    def losses(self, pixels: Tensor, targets: BoneTargets) -> dict[str, Tensor]:
        """Named parts of the loss: `score`, `box`, `edge`, `union` and `mask`."""
        trunk = self(pixels)
        parts = points_loss(trunk.points, targets)
        parts["union"] = mask_loss(trunk.union_logits.float(), _union(targets))
        regions, shares, unknown = [], [], []
        for i in range(len(targets.boxes_xyxy)):
            moved, objects = targets.regions(i)
            if not len(moved):
                continue
            regions.append(regions_of(trunk.fine[i : i + 1], moved))
            shares.append(cropped(targets.masks[i][objects], moved, MASK_CELLS))
            side = (targets.ignored.shape[1], targets.ignored.shape[2])
            unknown.append(aligned(targets.ignored[i][None, None], moved, MASK_CELLS, side_px=side)[:, 0])
        if regions:
            logits = self.mask_head(torch.cat(regions)).float()
            parts["mask"] = region_loss(logits, torch.cat(shares), torch.cat(unknown))
        else:
            parts["mask"] = trunk.fine.sum() * 0
        return parts

    def boxes(self, trunk: Trunk) -> tuple[Tensor, Tensor]:
        """(b, n, 4) boxes in model pixels and (b, n, c) class scores in [0, 1], before suppression."""
        said = trunk.points
        return decode(said.bins.float(), said.points_xy, said.strides_px), said.logits.float().sigmoid()

    def instances(self, pixels: Tensor) -> list[Instances]:
        """The objects on each picture of a batch."""
        trunk = self(pixels)
        found = []
        for i, (boxes, by_class) in enumerate(zip(*self.boxes(trunk), strict=True)):
            scores, labels = best_class(by_class)
            kept = chosen(boxes, scores, labels)
            masks = boxes.new_zeros(0, MASK_CELLS, MASK_CELLS)
            if len(kept):
                masks = self.mask_head(regions_of(trunk.fine[i : i + 1], boxes[kept])).float().sigmoid()
            found.append(Instances(boxes[kept], scores[kept], labels[kept], masks))
        return found

    def load_nanodet(self, weights: dict[str, Tensor]) -> None:
        """Start from a NanoDet-g detector trained on COCO: backbone, laterals, head convolutions and box outputs."""
        detector = NanoCsp()
        detector.load_nanodet(weights)
        mine = self.state_dict()
        shared = {
            name: value
            for name, value in detector.state_dict().items()
            if not name.startswith(("class_heads", "mask_head"))
        }
        self.load_state_dict({**mine, **shared})


def _union(targets: BoneTargets) -> Tensor:
    """(b, 1, h / 4, w / 4) share of each cell that is any object, -1 where nobody could draw and nothing is drawn."""
    height, width = targets.ignored.shape[1:]
    drawn = [masks.amax(0) if len(masks) else targets.ignored.new_zeros(height, width) for masks in targets.masks]
    share = nn.functional.avg_pool2d(torch.stack(drawn)[:, None].float(), FINE_STRIDE)
    unknown = nn.functional.avg_pool2d(targets.ignored[:, None].float(), FINE_STRIDE)
    return torch.where((unknown >= 0.5) & (share <= 0.5), torch.full_like(share, -1.0), share)


def _resized(source: Tensor, target: Tensor) -> Tensor:
    return nn.functional.interpolate(source, target.shape[2:], mode="bilinear")
