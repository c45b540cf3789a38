"""The default fracture detector: CSP backbone, path aggregation, anchor-free head; one class.

Parts: NanoDet-g (backbone, path aggregation by addition, distributions of edge distances), a decoupled head, and an
auxiliary fracture mask on the finest level that is used in training only. Distances are those of generalised focal
loss (Li et al. 2020): each edge is the mean of a distribution over 0..`BINS` - 1 strides.
"""

from typing import cast

import torch
from torch import Tensor, nn

from osteon.models.csp import CHANNELS, STRIDES, ConvBlock, CspBackbone
from osteon.models.points import Predictions, grid

BINS = 11
WIDTH = 128


class NanoCsp(nn.Module):
    """(b, 1, h, w) in [0, 1], sides multiples of 32 -> `Predictions`."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = CspBackbone()
        self.laterals = nn.ModuleList([ConvBlock(c, WIDTH, 1, active=False) for c in CHANNELS])
        self.class_convs = nn.ModuleList([ConvBlock(WIDTH, WIDTH) for _ in STRIDES])
        self.box_convs = nn.ModuleList([ConvBlock(WIDTH, WIDTH) for _ in STRIDES])
        self.class_heads = nn.ModuleList([nn.Conv2d(WIDTH, 1, 1) for _ in STRIDES])
        self.box_heads = nn.ModuleList([nn.Conv2d(WIDTH, 4 * BINS, 1) for _ in STRIDES])
        self.mask_head = nn.Conv2d(WIDTH, 1, 1)
        for head in self.class_heads:
            nn.init.constant_(cast(Tensor, head.bias), -4.6)  # prior probability 0.01
            nn.init.normal_(cast(Tensor, head.weight), std=0.01)
        nn.init.constant_(cast(Tensor, self.mask_head.bias), -4.6)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Three maps of WIDTH channels at strides 8, 16, 32, mixed top-down and bottom-up."""
        fine, middle, coarse = (
            lateral(feature) for lateral, feature in zip(self.laterals, self.backbone(x)[2:], strict=True)
        )
        middle = middle + _resized(coarse, middle)
        fine = fine + _resized(middle, fine)
        middle = middle + _resized(fine, middle)
        return [fine, middle, coarse + _resized(middle, coarse)]

    def forward(self, x: Tensor) -> Predictions:
        """Predictions of a batch; see the class."""
        logits, bins, points, strides = [], [], [], []
        levels = self.pyramid(x)
        for level, stride in enumerate(STRIDES):
            feature = levels[level]
            score = self.class_heads[level](self.class_convs[level](feature))
            edges = self.box_heads[level](self.box_convs[level](feature))
            logits.append(score.flatten(1))
            bins.append(edges.flatten(2).transpose(1, 2).unflatten(2, (4, BINS)))
            middles = grid(score.shape[-2], score.shape[-1], stride, x.device)
            points.append(middles)
            strides.append(torch.full((len(middles),), float(stride), device=x.device))
        mask = self.mask_head(levels[0])
        return Predictions(torch.cat(logits, 1), torch.cat(bins, 1), torch.cat(points), torch.cat(strides), mask)

    def load_nanodet(self, weights: dict[str, Tensor]) -> None:
        """Start from a NanoDet-g detector trained on COCO: backbone, laterals, head convolutions and box outputs."""
        self.backbone.load_nanodet(weights)
        for level in range(len(STRIDES)):
            lateral = cast(ConvBlock, self.laterals[level])
            lateral.load_folded(weights[f"lat.{level}.weight"], weights[f"lat.{level}.bias"])
            for convs in (self.class_convs, self.box_convs):
                cast(ConvBlock, convs[level]).load_folded(weights[f"hc.{level}.weight"], weights[f"hc.{level}.bias"])
            head = cast(nn.Conv2d, self.box_heads[level])
            head.weight.data.copy_(weights[f"ho.{level}.weight"][-4 * BINS :])
            cast(Tensor, head.bias).data.copy_(weights[f"ho.{level}.bias"][-4 * BINS :])


def _resized(source: Tensor, target: Tensor) -> Tensor:
    return nn.functional.interpolate(source, target.shape[2:], mode="bilinear")
