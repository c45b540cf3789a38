"""UNet (Ronneberger et al. 2015) with an encoder from scratch or a pre-trained one: encoder, decoder, head."""

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from osteon.models.csp import CspBackbone
from osteon.models.vision import torchvision

GREY_MEAN, GREY_STD = 0.449, 0.226
"""ImageNet's mean and deviation, averaged over the colours."""


class Encoder(Protocol):
    """Features at strides 2, 4, 8, 16, 32, and how many channels each has."""

    channels: tuple[int, ...]

    def __call__(self, x: Tensor) -> list[Tensor]:
        """(b, 1, h, w) in [0, 1] -> five maps, finest first."""


class PlainEncoder(nn.Module):
    """Two convolutions and a pooling for each stride, from scratch."""

    channels = (24, 48, 96, 128, 160)

    def __init__(self) -> None:
        super().__init__()
        inputs = (1, *self.channels[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(before, width, stride=2), _conv(width, width))
            for before, width in zip(inputs, self.channels, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Five maps, finest first."""
        x = x - 0.5
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class MobileNetEncoder(nn.Module):
    """torchvision's MobileNetV2 features (Sandler et al. 2018) on one grey channel."""

    channels = (16, 24, 32, 96, 320)
    ends = (1, 3, 6, 13, 17)

    def __init__(self) -> None:
        super().__init__()
        torchvision()
        from torchvision.models import mobilenet_v2

        self.features = mobilenet_v2(weights=None).features[:18]
        stem = self.features[0][0]
        self.features[0][0] = nn.Conv2d(1, stem.out_channels, 3, 2, 1, bias=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Five maps, finest first."""
        x = (x - GREY_MEAN) / GREY_STD
        features = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in self.ends:
                features.append(x)
        return features

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Take torchvision's state dict (`features.N...`); the stem's three colours are added up.

        Colour weights see (x - mean) / std of each colour; grey sees the colours' mean of both, a close stand-in.
        """
        mine = {name.removeprefix("features."): value for name, value in weights.items() if "classifier" not in name}
        mine = {name: value for name, value in mine.items() if int(name.split(".")[0]) < len(self.features)}
        mine["0.0.weight"] = mine["0.0.weight"].sum(1, keepdim=True)
        self.features.load_state_dict(mine)


class CspEncoder(CspBackbone):
    """NanoDet-g's backbone as encoder."""

    channels = (32, 64, 128, 256, 512)


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class UNet(nn.Module):
    """(b, 1, h, w) in [0, 1], sides multiples of 32 -> (b, 1, h, w) logits, four for each cell of half the size."""

    def __init__(self, encoder: nn.Module, widths: tuple[int, ...] = (24, 32, 48, 64)) -> None:
        super().__init__()
        self.encoder = encoder
        channels = cast(Encoder, encoder).channels
        coarse = (*widths[1:], channels[-1])
        self.up = nn.ModuleList(
            nn.Sequential(_conv(below + skip, width), _conv(width, width))
            for below, skip, width in zip(coarse, channels[:-1], widths, strict=True)
        )
        self.head = nn.Conv2d(widths[0], 4, 1)  # the four pixels of each cell of half size: fingers are thin

    def forward(self, x: Tensor) -> Tensor:
        """Bone logits at the size of the input."""
        *finer, y = self.encoder(x)
        for stage, skip in zip(reversed(self.up), reversed(finer), strict=True):
            y = stage(torch.cat([nn.functional.interpolate(y, scale_factor=2.0, mode="nearest"), skip], 1))
        return nn.functional.pixel_shuffle(self.head(y), 2)
