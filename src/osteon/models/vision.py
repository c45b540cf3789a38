"""torchvision, also where its compiled operators do not load beside the installed torch.

A CPU build of torch beside PyPI's torchvision fails at import ("operator torchvision::nms does not exist").
Where the operators are missing they are declared here, `nms` is given in torch, and torchvision's own Python
versions serve for the rest. With a matching pair, as most users have, nothing is changed.
"""

import importlib
from types import ModuleType

import torch


def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if not keep[i]:
            continue
        lower = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        sides = (lower - torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])).clamp(min=0)
        shared = sides[:, 0] * sides[:, 1]
        keep[i + 1 :] &= shared / (area[i] + area[i + 1 :] - shared) <= iou_threshold
    return order[keep]


def _declare_operators() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    return library


_library: torch.library.Library | None = None


def torchvision() -> ModuleType:
    """The torchvision module, mended where its operators are missing."""
    global _library
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    _library = _declare_operators()
    module = importlib.import_module("torchvision")
    boxes = importlib.import_module("torchvision.ops.boxes")
    boxes._assert_has_ops = lambda: None  # type: ignore[attr-defined]
    return module
