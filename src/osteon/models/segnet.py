"""SegNet (Badrinarayanan et al. 2017), narrow enough for a gate: pooling places steer the way back up."""

from typing import cast

from torch import Tensor, nn

WIDTHS = (16, 32, 64, 96, 128)
DEPTHS = (1, 2, 2, 2, 2)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def unpool(x: Tensor, pooled: Tensor, before: Tensor) -> Tensor:
    """Max unpooling without indices: values go back to the places that won the 2x2 pooling, zero elsewhere.

    The same as unpooling by indices except where two places tie, and made of operators that ONNX has.
    """
    won = (nn.functional.interpolate(pooled, scale_factor=2.0, mode="nearest") == before).to(x.dtype)
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest") * won


class SegNet(nn.Module):
    """(b, 1, h, w) in [0, 1], sides multiples of 32 -> (b, 1, h, w) logits."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, depths: tuple[int, ...] = DEPTHS) -> None:
        super().__init__()
        inputs = (1, *widths[:-1])
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for before, width, depth in zip(inputs, widths, depths, strict=True):
            self.down.append(nn.Sequential(*(_block(before if i == 0 else width, width) for i in range(depth))))
            last = max(before, widths[0])
            self.up.append(nn.Sequential(*(_block(width, last if i == depth - 1 else width) for i in range(depth))))
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Bone logits at the size of the input."""
        passed: list[tuple[Tensor, Tensor]] = []
        x = x - 0.5
        for stage in self.down:
            before = stage(x)
            x = nn.functional.max_pool2d(before, 2)
            passed.append((x, before))
        for stage, (pooled, before) in zip(reversed(self.up), reversed(passed), strict=True):
            x = stage(unpool(x, pooled, before))
        return cast(Tensor, self.head(x))
