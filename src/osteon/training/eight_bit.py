"""A detector that rehearses 8 bits: it learns to say, with rounded numbers, what it says without rounding.

Quantisation-aware training (Jacob et al. 2018) with the detector itself as the teacher (Hinton et al. 2015), so that it
stays what it is. Normalisation is folded into the convolutions, as it is in the file; weights are rounded to 8 bits by
output channel, what goes in and out of activations to 8 bits over its range, and gradients pass as if nothing had been
rounded. What stays in float in the file (`quantise`) is not rounded here; the file takes the ranges from here.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from osteon.errors import ConfigurationError
from osteon.models.csp import ConvBlock
from osteon.models.points import Predictions
from osteon.training.config import DetectorSettings, LoopSettings
from osteon.training.detector import Batch, DetectorTask
from osteon.training.loop import device
from osteon.training.pictures import Picture
from osteon.training.quantise import FINE_WEIGHTS, Ranges

MOMENTUM = 0.05
"""How fast a range follows what is seen."""
EDGE_SHARE = 1.0


class RoundedWeights(nn.Module):
    """(outputs, ...) weights -> the same, rounded to 8 bits, symmetric, with a scale for each output."""

    def forward(self, weights: Tensor) -> Tensor:
        """The rounded weights; in the backward pass the identity."""
        scale = (weights.detach().abs().flatten(1).amax(1) / 127).clamp(min=1e-9)
        none = torch.zeros(len(scale), dtype=torch.int32, device=weights.device)
        return torch.fake_quantize_per_channel_affine(weights.float(), scale.float(), none, 0, -127, 127)


class Rounded(nn.Module):
    """Values -> the same, rounded to 8 bits over their range, which follows what is seen in training."""

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, values: Tensor) -> Tensor:
        """The rounded values; in the backward pass the identity within the range."""
        plain = values.float()
        if self.training:
            self._follow(plain.detach())
        scale = ((self.high - self.low) / 255).clamp(min=1e-9)
        zero = (-self.low / scale).round().clamp(0, 255).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(plain, scale, zero, 0, 255).to(values.dtype)

    @torch.no_grad()
    def _follow(self, values: Tensor) -> None:
        step = MOMENTUM if int(self.seen) else 1.0
        self.low.lerp_(values.amin().clamp(max=0), step)
        self.high.lerp_(values.amax().clamp(min=0), step)
        self.seen += 1


class Rehearsal(nn.Module):
    """A detector of `ConvBlock`s whose numbers are rounded, but for the stages that the 8-bit file keeps in float."""

    def __init__(self, detector: nn.Module) -> None:
        """Fold the detector's normalisation, in place, and round from now on.

        Raises:
            ConfigurationError: it has no such blocks.
        """
        super().__init__()
        self.detector = detector
        if not any(isinstance(module, ConvBlock) for module in detector.modules()):
            raise ConfigurationError("this architecture cannot rehearse 8 bits", hint="nanocsp can")
        for name, block in detector.named_modules():
            if not isinstance(block, ConvBlock):
                continue
            fold(block)
            if not f"{name}.".startswith(FINE_WEIGHTS):
                parametrize.register_parametrization(block.conv, "weight", RoundedWeights())
                for part in (block.norm, block) if block.active else (block.norm,):
                    part.rounded = Rounded()
                    part.register_forward_hook(_rounding)

    def forward(self, x: Tensor) -> Any:
        """What the detector says."""
        return self.detector(x)

    def ranges(self) -> Ranges:
        """The ranges that were seen, of all blocks that are rounded."""
        found: Ranges = {}
        for name, block in self.detector.named_modules():
            if isinstance(block, ConvBlock) and parametrize.is_parametrized(block.conv):
                parts = (block.norm, block) if block.active else (block.norm,)
                found[name] = [[float(part.rounded.low), float(part.rounded.high)] for part in parts]
        return found

    def train(self, mode: bool = True) -> "Rehearsal":
        """Train or not; the folded normalisation never counts anew."""
        super().train(mode)
        for module in self.detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = False
        return self


class RehearsalTask(DetectorTask):
    """Trains a rehearsal to say what its detector said before; validates on whole pictures, rounded."""

    def __init__(
        self,
        train: Sequence[Picture],
        valid: Sequence[Picture],
        *,
        teacher: nn.Module,
        settings: DetectorSettings,
        loop: LoopSettings,
        split_hash: str,
    ) -> None:
        super().__init__(train, valid, settings=settings, loop=loop, split_hash=split_hash, pretrained=True)
        self._teacher = teacher.eval().to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """How far scores and edges are from the teacher's."""
        pixels = batch.pixels.to(device(), memory_format=torch.channels_last)
        with torch.no_grad():
            wanted: Predictions = self._teacher(pixels)
        return likeness_loss(model(pixels), wanted)


def likeness_loss(said: Predictions, wanted: Predictions) -> dict[str, Tensor]:
    """Cross-entropy of scores, and of edge distributions where the teacher sees something; least where they agree."""
    target = wanted.logits.float().sigmoid()
    total = target.sum().clamp(min=1)
    entropy = functional.binary_cross_entropy_with_logits(said.logits.float(), target, reduction="sum")
    edges = -(wanted.bins.float().softmax(-1) * said.bins.float().log_softmax(-1)).sum(-1).mean(-1)
    return {"score": entropy / total, "edge": EDGE_SHARE * (edges * target).sum() / total}


def _rounding(part: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return cast(Tensor, cast(Rounded, part.rounded)(output))


@torch.no_grad()
def fold(block: ConvBlock) -> None:
    """Fold a block's normalisation into its convolution; it computes the same."""
    norm = block.norm
    gain = norm.weight / (cast(Tensor, norm.running_var) + norm.eps).sqrt()
    shift = norm.bias - cast(Tensor, norm.running_mean) * gain
    block.load_folded(block.conv.weight * gain[:, None, None, None], shift)


def plain_weights(rehearsed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a `Rehearsal` as that of its detector, unrounded: a checkpoint like any other."""
    mark = "conv.parametrizations.weight.original"
    kept = {name.removeprefix("detector."): v for name, v in rehearsed.items() if name.startswith("detector.")}
    return {name.replace(mark, "conv.weight"): v for name, v in kept.items() if ".rounded." not in name}
