"""A released model's weights back into torch: the way from an ONNX file to further training."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from osteon.errors import ModelMismatch
from osteon.inference.card import Card
from osteon.inference.session import read_card
from osteon.models.csp import ConvBlock

_PREFIX = "model."
"""What `export` puts before the names of a model's own weights."""

_TRAINING_ONLY = frozenset({"mask_head"})
"""Layers that a released file lacks, because only the training needs them; they start by saying nothing."""

_Convolution = tuple[NDArray[np.float32], NDArray[np.float32]]


FLOAT_ENDING = "-float"
"""An 8-bit model NAME.onnx may have its float file beside it as NAME-float.onnx."""


@torch.no_grad()
def load_released(model: nn.Module, path: Path) -> None:
    """Load the weights of an exported model in place; normalisation stays folded into its convolutions.

    Of an 8-bit model those of the float file beside it are loaded; see `float_file`.

    Raises:
        ModelMismatch: no model of Osteon, one in 8 bit without its float file, or one of another architecture.
    """
    path = float_file(path)
    card, _ = read_card(path)
    found = _convolutions(path)
    blocks = {f"{name}.conv": module for name, module in model.named_modules() if isinstance(module, ConvBlock)}
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    wanted = convolutions.keys() - _TRAINING_ONLY
    if found.keys() != wanted or _other_weights(model):
        raise ModelMismatch(
            f"{path.name} ({card.arch}) gives {len(found.keys() & wanted)} of {len(wanted)} layers",
            hint="choose the same --arch; or start from the checkpoint of its training",
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


def float_file(path: Path) -> Path:
    """The file of a model that holds weights to train on: its own, or that beside an 8-bit one, of the same training.

    Raises:
        ModelMismatch: no model of Osteon, or one in 8 bit with no such file beside it.
    """
    card, _ = read_card(path)
    if not card.settings.get("eight_bit"):
        return path
    beside = path.with_stem(path.stem + FLOAT_ENDING)
    if not beside.is_file():
        raise ModelMismatch(
            f"{path.name} is in 8 bit, and there is no {beside.name} beside it",
            hint="8-bit files cannot be trained further: start from the float file, or the checkpoint of its training",
        )
    float_card, _ = read_card(beside)
    if _training_of(float_card) != _training_of(card) or float_card.settings.get("eight_bit"):
        raise ModelMismatch(
            f"{beside.name} is not the float file of {path.name}: their cards tell of two trainings",
            hint="start from the float file of the same release, or the checkpoint of its training",
        )
    return beside


def _training_of(card: Card) -> tuple[object, ...]:
    """What cards of one training have in common, in 8 bit or not."""
    settings = {name: value for name, value in card.settings.items() if name != "eight_bit"}
    return card.task, card.arch, card.version, card.split_hash, settings


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
