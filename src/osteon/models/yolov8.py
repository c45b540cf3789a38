"""YOLOv8 in its small sizes, for one class or several: C2f stages, pooled pyramid, path aggregation, decoupled head.

Written from the published description of the architecture (Terven et al. 2023, "A comprehensive review of YOLO
architectures", and its block diagrams), under this project's licence. The criterion is `criteria.detection_loss`
with the published shares: task-aligned assignment (Feng et al. 2021), complete IoU, distribution focal loss.
"""

from typing import cast

import torch
from torch import Tensor, nn

from osteon.models.criteria import DetectionTargets, Shares, detection_loss
from osteon.models.points import Predictions, grid

STRIDES = (8, 16, 32)
BINS = 16
WIDTHS = (64, 128, 256, 512, 1024)
"""Channels at strides 2, 4, 8, 16 and 32 of the full width."""
DEPTHS = (3, 6, 6, 3)
NECK_DEPTH = 3
POOL = 5
SHARES = Shares(score=0.5, box=7.5, edge=1.5)


class Conv(nn.Module):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, h / stride, w / stride)."""
        return nn.functional.silu(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, with a way around them or without."""

    def __init__(self, width: int, *, shortcut: bool) -> None:
        super().__init__()
        self.first, self.second, self.shortcut = Conv(width, width, 3), Conv(width, width, 3), shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) -> the same shape."""
        y = cast(Tensor, self.second(self.first(x)))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """A cross-stage-partial stage that joins what every one of its bottlenecks gives."""

    def __init__(self, inputs: int, outputs: int, depth: int, *, shortcut: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = Conv(inputs, outputs)
        self.blocks = nn.ModuleList(Bottleneck(half, shortcut=shortcut) for _ in range(depth))
        self.leave = Conv((2 + depth) * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, h, w)."""
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return cast(Tensor, self.leave(torch.cat(parts, 1)))


class PooledPyramid(nn.Module):
    """Spatial pyramid pooling by three poolings in a row (SPPF)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = Conv(width, width // 2), Conv(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) -> the same shape."""
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(nn.functional.max_pool2d(parts[-1], POOL, 1, POOL // 2))
        return cast(Tensor, self.leave(torch.cat(parts, 1)))


class Backbone(nn.Module):
    """(b, 3, h, w) -> maps at strides 8, 16 and 32."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = Conv(3, widths[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(Conv(before, after, 3, 2), C2f(after, after, depth, shortcut=True))
            for before, after, depth in zip(widths[:-1], widths[1:], depths, strict=True)
        )
        self.pool = PooledPyramid(widths[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Three maps, finest first."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [maps[1], maps[2], self.pool(maps[3])]


class Aggregation(nn.Module):
    """Path aggregation (Liu et al. 2018) by concatenation: coarse maps into fine ones, then back down."""

    def __init__(self, widths: tuple[int, ...], depth: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.up_middle = C2f(coarse + middle, middle, depth, shortcut=False)
        self.up_fine = C2f(middle + fine, fine, depth, shortcut=False)
        self.to_middle, self.to_coarse = Conv(fine, fine, 3, 2), Conv(middle, middle, 3, 2)
        self.down_middle = C2f(fine + middle, middle, depth, shortcut=False)
        self.down_coarse = C2f(middle + coarse, coarse, depth, shortcut=False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Three maps of the same shapes."""
        fine, middle, coarse = maps
        middle = self.up_middle(torch.cat([_doubled(coarse), middle], 1))
        fine = self.up_fine(torch.cat([_doubled(middle), fine], 1))
        middle = self.down_middle(torch.cat([self.to_middle(fine), middle], 1))
        return [fine, middle, self.down_coarse(torch.cat([self.to_coarse(middle), coarse], 1))]


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


class YoloV8(nn.Module):
    """(b, 1, h, w) in [0, 1], sides multiples of 32 -> `Predictions`; the grey channel is repeated to three.

    Args:
        width, depth: multiples of the full architecture: 0.25 and 0.33 for "n", 0.5 and 0.33 for "s".
        classes: with more than one, `Predictions.logits` is (b, n, classes).
    """

    def __init__(self, *, width: float, depth: float, classes: int = 1) -> None:
        super().__init__()
        self.classes = classes
        widths = tuple(round(w * width) for w in WIDTHS)
        self.backbone = Backbone(widths, tuple(max(1, round(d * depth)) for d in DEPTHS))
        self.neck = Aggregation(widths[2:], max(1, round(NECK_DEPTH * depth)))
        box = max(16, widths[2] // 4, 4 * BINS)
        score = max(widths[2], min(classes, 100))
        self.box_convs = nn.ModuleList(nn.Sequential(Conv(w, box, 3), Conv(box, box, 3)) for w in widths[2:])
        self.class_convs = nn.ModuleList(nn.Sequential(Conv(w, score, 3), Conv(score, score, 3)) for w in widths[2:])
        self.box_heads = nn.ModuleList(nn.Conv2d(box, 4 * BINS, 1) for _ in STRIDES)
        self.class_heads = nn.ModuleList(nn.Conv2d(score, classes, 1) for _ in STRIDES)
        for head in self.box_heads:
            nn.init.constant_(cast(Tensor, head.bias), 1.0)
        for head in self.class_heads:
            nn.init.constant_(cast(Tensor, head.bias), -4.6)  # prior probability 0.01

    def forward(self, x: Tensor) -> Predictions:
        """Predictions of a batch; see the class."""
        levels = self.neck(self.backbone(x.expand(-1, 3, -1, -1)))
        logits, bins, points, strides = [], [], [], []
        for level, stride in enumerate(STRIDES):
            feature = levels[level]
            score = self.class_heads[level](self.class_convs[level](feature)).flatten(2).transpose(1, 2)
            edges = self.box_heads[level](self.box_convs[level](feature))
            logits.append(score[..., 0] if self.classes == 1 else score)
            bins.append(edges.flatten(2).transpose(1, 2).unflatten(2, (4, BINS)))
            middles = grid(feature.shape[-2], feature.shape[-1], stride, x.device)
            points.append(middles)
            strides.append(torch.full((len(middles),), float(stride), device=x.device))
        return Predictions(torch.cat(logits, 1), torch.cat(bins, 1), torch.cat(points), torch.cat(strides))


def nano() -> YoloV8:
    """YOLOv8n for fractures."""
    return YoloV8(width=0.25, depth=0.33)


def small() -> YoloV8:
    """YOLOv8s for fractures."""
    return YoloV8(width=0.5, depth=0.33)


def yolo_loss(predictions: Predictions, targets: DetectionTargets) -> dict[str, Tensor]:
    """Named parts of the loss, with the published shares."""
    return detection_loss(predictions, targets, shares=SHARES)
