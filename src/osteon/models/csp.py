"""The cross-stage-partial backbone of NanoDet-g: dense 3x3 convolutions, fast to train and to run on a CPU.

Architecture: RangiLyu, NanoDet-g (Apache-2.0), here with batch normalisation put back. The published weights have it
folded into the convolutions; `calibrate` unfolds it, so that training can normalise, and leaves the function unchanged.
"""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
CHANNELS = (128, 256, 512)
IMAGE_MEAN = 112.8
IMAGE_STD = 57.5
EPSILON = 1e-3


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, leaky ReLU (or none)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, dilation: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=EPSILON, momentum=0.03)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, h / stride, w / stride)."""
        x = self.norm(self.conv(x))
        return nn.functional.leaky_relu(x, 0.1) if self.active else x

    def load_folded(self, weight: Tensor, bias: Tensor) -> None:
        """Take a convolution with its normalisation folded in; the normalisation becomes a plain shift."""
        self.conv.weight.data.copy_(weight)
        self.norm.running_mean.zero_()  # type: ignore[union-attr]
        self.norm.running_var.fill_(1 - EPSILON)  # type: ignore[union-attr]
        self.norm.weight.data.fill_(1)
        self.norm.bias.data.copy_(bias)


class TinyResidual(nn.Module):
    """Two convolutions whose outputs are concatenated: `inputs` -> 2 * `width` channels."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = ConvBlock(inputs, width)
        self.second = ConvBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, 2 * width, h, w)."""
        x = self.first(x)
        return torch.cat([self.second(x), x], 1)


class Stage(nn.Module):
    """A cross-stage-partial stage: `inputs` -> 2 * `width` channels at 1 / `stride` of the size."""

    def __init__(self, inputs: int, width: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.down = ConvBlock(inputs, width, stride=stride)
        self.blocks = nn.Sequential(*(TinyResidual(width, width // 2) for _ in range(blocks)))
        self.last = ConvBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, 2 * width, h / stride, w / stride)."""
        x = self.down(x)
        return torch.cat([self.last(self.blocks(x)), x], 1)


class CspBackbone(nn.Module):
    """A grey picture in [0, 1] -> features at strides 2, 4, 8, 16, 32 with 32, 64, 128, 256, 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBlock(1, 32, stride=2)
        self.stages = nn.ModuleList(
            [Stage(32, 32, 1, 1), Stage(64, 64, 2, 2), Stage(128, 128, 2, 2), Stage(256, 256, 3, 2)]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(b, 1, h, w) in [0, 1] -> five feature maps, finest first; h and w multiples of 32."""
        features = [self.stem(x * (255 / IMAGE_STD) - IMAGE_MEAN / IMAGE_STD)]
        x = nn.functional.max_pool2d(features[0], 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def load_nanodet(self, weights: dict[str, Tensor]) -> None:
        """Take the backbone of a NanoDet-g state dict (batch normalisation folded, three input colours)."""

        def load(block: nn.Module, name: str) -> None:
            cast(ConvBlock, block).load_folded(weights[f"{name}.weight"], weights[f"{name}.bias"])

        grey = weights["stem.weight"].sum(1, keepdim=True)
        self.stem.load_folded(grey, weights["stem.bias"])
        for number, module in enumerate(self.stages, start=1):
            stage = cast(Stage, module)
            load(stage.down, f"s{number}.down")
            load(stage.last, f"s{number}.last")
            for index, block in enumerate(stage.blocks):
                load(cast(TinyResidual, block).first, f"s{number}.res.{index}.c1")
                load(cast(TinyResidual, block).second, f"s{number}.res.{index}.c2")


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Unfold batch normalisation: running statistics from `batches`, scale and shift so that nothing else changes.

    For convolutions loaded by `ConvBlock.load_folded` the model computes the same as before, but training can now
    normalise. Source: the inverse of batch normalisation folding (Jacob et al. 2018, section 3.2).
    """
    sums: dict[ConvBlock, tuple[Tensor, Tensor, int]] = {}

    def record(block: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = output.float().transpose(0, 1).flatten(1)
        total, squares, count = sums.get(owners[block], (torch.zeros(len(values)), torch.zeros(len(values)), 0))
        sums[owners[block]] = (total + values.sum(1), squares + (values**2).sum(1), count + values.shape[1])

    owners: dict[nn.Module, ConvBlock] = {m.conv: m for m in model.modules() if isinstance(m, ConvBlock)}
    handles = [conv.register_forward_hook(record) for conv in owners]
    model.eval()
    for batch in batches:
        model(batch)
    for handle in handles:
        handle.remove()
    for block, (total, squares, count) in sums.items():
        mean = total / count
        variance = (squares / count - mean**2).clamp(min=1e-6)
        _renormalise(block.norm, mean, variance)


def _renormalise(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    running_mean, running_var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight.data / (running_var + norm.eps).sqrt()
    shift = norm.bias.data - running_mean * gain
    running_mean.copy_(mean)
    running_var.copy_(variance)
    norm.weight.data.copy_(gain * (variance + norm.eps).sqrt())
    norm.bias.data.copy_(shift + gain * mean)
