"""The bone judge: is the bone in this crop broken? A small network on the first stages of the NanoDet-g backbone.

The film's grey values go through the pre-trained encoder; the bone's mask joins them at stride 16 and decides where
features are pooled, so that the network knows which bone of the crop is meant. Where the fracture lies is learned
beside it (`places`), from the drawn fractures, in training only: with few broken bones this tells the network what to
look at.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from osteon.models.csp import ConvBlock, CspBackbone

STRIDE = 16
STAGES = 3
CHANNELS = 256
WIDTH = 128
PRIOR = -2.0
_LOWEST = -1e4


class Judgement(NamedTuple):
    """(b,) logits of "this bone is broken", and (b, 1, h / 16, w / 16) logits of "a fracture is here"."""

    logits: Tensor
    places: Tensor


class BoneJudge(nn.Module):
    """(b, 2, h, w) grey in [0, 1] and mask 0 or 1, sides multiples of 32 -> `Judgement`."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = CspBackbone()
        self.encoder.stages = self.encoder.stages[:STAGES]
        self.joined = ConvBlock(CHANNELS + 1, WIDTH)
        self.place_head = nn.Conv2d(WIDTH, 1, 1)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * WIDTH + 1, 1)
        nn.init.constant_(self.head.bias, PRIOR)
        nn.init.constant_(self.place_head.bias, 2 * PRIOR)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Judgement:
        """Judgement of a batch; see the class."""
        mask = functional.avg_pool2d(x[:, 1:], STRIDE)
        features = self.joined(torch.cat([self.encoder(x[:, :1])[-1], mask], 1))
        places = self.place_head(features)
        inside = within(mask)
        seen = torch.cat([features, places], 1)
        highest = (seen * inside + (1 - inside) * _LOWEST).amax((2, 3))
        mean = (features * inside).sum((2, 3)) / inside.sum((2, 3))
        return Judgement(self.head(self.drop(torch.cat([mean, highest], 1)))[:, 0], places)


def within(mask: Tensor) -> Tensor:
    """(b, 1, h, w) 1 at cells of the bone and next to it, else 0; all cells where the mask is empty.

    Args:
        mask: share of each cell that is bone.
    """
    near = (functional.max_pool2d(mask, 3, 1, 1) > 0.1).to(mask.dtype)
    return torch.maximum(near, 1 - near.amax((2, 3), keepdim=True))


def judge_loss(found: Judgement, damaged: Tensor, fracture: Tensor, *, place_weight: float) -> dict[str, Tensor]:
    """Cross-entropy of the bone, and of the places, where cells with a fracture weigh as much as all others.

    Args:
        found: what the model gave.
        damaged: (b,) 0 or 1.
        fracture: (b, 1, h, w) 1 where a fracture is drawn, at the size of the picture.
        place_weight: of the second part.
    """
    bone = functional.binary_cross_entropy_with_logits(found.logits.float(), damaged)
    wanted = functional.max_pool2d(fracture, STRIDE)
    each = functional.binary_cross_entropy_with_logits(found.places.float(), wanted, reduction="none")
    here, elsewhere = (each * wanted).sum(), (each * (1 - wanted)).sum()
    broken = wanted.sum().clamp(min=1)
    place = 0.5 * here / broken + 0.5 * elsewhere / (1 - wanted).sum().clamp(min=1)
    return {"bone": bone, "place": place_weight * place}
