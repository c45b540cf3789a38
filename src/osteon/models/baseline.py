"""The pipeline that Osteon builds on, plainly in torch: a full SegNet at 224 and torchvision's SSD300-VGG16 at 640.

For the benchmark only. Weights are random: they change no time, except where boxes are sifted, which is cared for.
"""

import importlib
from itertools import pairwise
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osteon.models.ssd import published

SEGMENT_SIDE_PX = 224
DETECT_SIDE_PX = 640
WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)
LIKELY_BOXES = 20


def _convolutions(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class FullSegNet(nn.Module):
    """SegNet as published (Badrinarayanan et al. 2017): VGG16's 13 convolutions, mirrored, unpooling by indices."""

    def __init__(self) -> None:
        super().__init__()
        befores = (3, *WIDTHS[:-1])
        self.down = nn.ModuleList(
            _convolutions([before, *[width] * depth])
            for before, width, depth in zip(befores, WIDTHS, DEPTHS, strict=True)
        )
        afters = (WIDTHS[0], *WIDTHS[:-1])
        self.up = nn.ModuleList(
            _convolutions([*[width] * depth, after])
            for after, width, depth in reversed(list(zip(afters, WIDTHS, DEPTHS, strict=True)))
        )
        self.head = nn.Conv2d(WIDTHS[0], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1], sides multiples of 32 -> (b, 1, h, w) logits."""
        places = []
        for stage in self.down:
            x, where = nn.functional.max_pool2d(stage(x), 2, return_indices=True)
            places.append(where)
        for stage, where in zip(self.up, reversed(places), strict=True):
            x = stage(nn.functional.max_unpool2d(x, where, [2, 2]))
        return cast(Tensor, self.head(x))


def _ssd() -> nn.Module:
    """SSD300-VGG16 for one class, told to take pictures of 640 by 640; (3, h, w) in [0, 1] in a list -> boxes.

    Random weights score every box alike, so that thousands would reach non-maximum suppression. The score threshold
    is set to leave about as many boxes as a trained detector leaves on a radiograph.
    """
    model = published().eval()
    transform = importlib.import_module("torchvision.models.detection.transform").GeneralizedRCNNTransform
    model.transform = transform(
        DETECT_SIDE_PX,
        DETECT_SIDE_PX,
        model.transform.image_mean,
        model.transform.image_std,
        size_divisible=1,
        fixed_size=(DETECT_SIDE_PX, DETECT_SIDE_PX),
    )
    with torch.inference_mode():
        scores = model([torch.rand(3, DETECT_SIDE_PX, DETECT_SIDE_PX)])[0]["scores"]
    model.score_thresh = float(scores[min(LIKELY_BOXES, len(scores)) - 1])
    return cast(nn.Module, model)


class Baseline:
    """Both networks, run one after the other, in eager float32."""

    def __init__(self, *, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self._segnet = FullSegNet().eval()
        self._ssd = _ssd()

    @torch.inference_mode()
    def segment(self, grey: NDArray[np.uint8]) -> Tensor:
        """(height, width) uint8 -> (1, 1, 224, 224) bone probabilities; the picture is resized by OpenCV."""
        small = torch.from_numpy(cv2.resize(grey, (SEGMENT_SIDE_PX, SEGMENT_SIDE_PX))).float().div(255)
        return cast(Tensor, self._segnet(small.expand(1, 3, -1, -1).contiguous()).sigmoid())

    @torch.inference_mode()
    def detect(self, grey: NDArray[np.uint8]) -> Tensor:
        """(height, width) uint8 -> (n, 4) boxes in image pixels; the picture is resized by torchvision's own way."""
        picture = torch.from_numpy(grey).float().div(255).expand(3, -1, -1).contiguous()
        return cast(Tensor, self._ssd([picture])[0]["boxes"])
