"""A released model's weights back into torch: the way from an ONNX file to further training."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from osteon.errors import ModelMismatch
from osteon.inference.session import read_card
from osteon.models.csp import ConvBlock

_PREFIX = "model."
"""What `export` puts before the names of a model's own weights."""

_TRAINING_ONLY = frozenset({"mask_head"})
"""Layers that a released file lacks, because only the training needs them; they start by saying nothing."""

_Convolution = tuple[NDArray[np.float32], NDArray[np.float32]]


@torch.no_grad()
def load_released(model: nn.Module, path: Path) -> None:
    """Load the weights of an exported float model in place; normalisation stays folded into its convolutions.

    Raises:
        ModelMismatch: no model of Osteon, one in 8 bit, or one of another architecture.
    """
    card, _ = read_card(path)
    found = _convolutions(path)
    blocks = {f"{name}.conv": module for name, module in model.named_modules() if isinstance(module, ConvBlock)}
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    wanted = convolutions.keys() - _TRAINING_ONLY
    if found.keys() != wanted or _other_weights(model):
        hint = "8-bit files cannot be trained further" if card.settings.get("eight_bit") else "choose the same --arch"
        raise ModelMismatch(
            f"{path.name} ({card.arch}) gives {len(found.keys() & wanted)} of {len(wanted)} layers",
            hint=f"{hint}; or start from the checkpoint of its training",
        )
    for name, module in convolutions.items():
        if name in _TRAINING_ONLY:
            nn.init.zeros_(module.weight)
            continue
        weight, bias = (torch.from_numpy(values.copy()) for values in found[name])
        if weight.shape != module.weight.shape:
            raise ModelMismatch(f"{path.name} has another {name}", hint="choose the architecture of its card")
        if name in blocks:
            blocks[name].load_folded(weight, bias)
        else:
            module.weight.copy_(weight)
            _bias(module, name).copy_(bias)


def _convolutions(path: Path) -> dict[str, _Convolution]:
    """Weight and bias of every convolution of the file, by the name of its layer in torch."""
    graph: Any = onnx.load(str(path)).graph
    values = {item.name: item for item in graph.initializer}
    found: dict[str, _Convolution] = {}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and {node.input[1], node.input[2]} <= values.keys():
            weight, bias = (onnx.numpy_helper.to_array(values[name]) for name in node.input[1:])
            found[node.input[1].removeprefix(_PREFIX).removesuffix(".weight")] = (weight, bias)
    return found


def _other_weights(model: nn.Module) -> bool:
    """Whether weights lie outside of convolutions and of the blocks that know how to take a folded normalisation."""
    taken = {id(p) for m in model.modules() if isinstance(m, nn.Conv2d | ConvBlock) for p in m.parameters()}
    return any(id(p) not in taken for p in model.parameters())


def _bias(module: nn.Conv2d, name: str) -> torch.Tensor:
    if module.bias is None:
        raise ModelMismatch(
            f"the architecture has no bias at {name}", hint="choose the architecture of the file's card"
        )
    return module.bias
