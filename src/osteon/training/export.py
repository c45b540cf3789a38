"""Checkpoint -> ONNX with its card, and the proof that both say the same."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osteon.inference.card import METADATA_KEY, Card
from osteon.inference.session import Session
from osteon.training.architectures import DETECTORS, build
from osteon.training.checkpoint import Checkpoint

OPSET = 18
Square = NDArray[np.float32]


class GateOutput(nn.Module):
    """Picture -> bone probability."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """(1, 1, side, side) in [0, 1] -> (1, 1, side, side) probabilities."""
        return cast(Tensor, self.model(pixels).sigmoid())


class DetectorOutput(nn.Module):
    """Picture -> boxes in model pixels and their scores, before non-maximum suppression."""

    def __init__(self, model: nn.Module, decode: Callable[[Any], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.model, self.decode = model, decode

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1, side, side) in [0, 1] -> (1, n, 4) boxes and (1, n) scores."""
        return self.decode(self.model(pixels))


class BoneJudgeOutput(nn.Module):
    """A bone's crop -> how likely it is broken."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """(1, 2, side, side / 2) grey in [0, 1] and mask -> (1,) probability."""
        return cast(Tensor, self.model(pixels).logits.sigmoid())


_OUTPUTS = {"gate": ["probabilities"], "detector": ["boxes", "scores"], "bone-judge": ["damage"]}


def exportable(checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint's model with the outputs that inference reads, in evaluation mode."""
    side_px = checkpoint.settings[checkpoint.task]["side_px"]
    model = build(checkpoint.task, checkpoint.arch, side_px=side_px)
    model.load_state_dict(checkpoint.weights)
    if checkpoint.task == "gate":
        return GateOutput(model).eval()
    if checkpoint.task == "bone-judge":
        return BoneJudgeOutput(model).eval()
    return DetectorOutput(model, DETECTORS[checkpoint.arch].decode).eval()


def export(checkpoint: Checkpoint, path: Path, card: Card) -> None:
    """Write the model as ONNX with its card inside."""
    side_px = card.side_px
    pixels = torch.rand((1, 2, side_px, side_px // 2) if card.task == "bone-judge" else (1, 1, side_px, side_px))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch's own insides
        program: Any = torch.onnx.export(
            exportable(checkpoint),
            (pixels,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=_OUTPUTS[checkpoint.task],
            verbose=False,
        )
    model = program.model_proto
    forget_machine(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def write_card(draft: Path, path: Path, card: Card) -> None:
    """Write an exported model again with another card; `path` is replaced in one step."""
    model = onnx.load(str(draft))
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(model.SerializeToString())
    unfinished.replace(path)


def forget_machine(model: Any) -> None:
    """Drop the stack traces that the exporter leaves: they name folders of this machine and bloat the file."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    del model.graph.metadata_props[:]


@dataclass(frozen=True)
class Parity:
    """The largest difference of torch and ONNX Runtime over some pictures: of each output, by name."""

    pictures: int
    largest: dict[str, float]


@torch.inference_mode()
def parity(checkpoint: Checkpoint, path: Path, squares: Sequence[Square]) -> Parity:
    """Run both on (side, side) float32 pictures or (2, side, side / 2) crops; compare every number of every output."""
    module = exportable(checkpoint)
    session = Session(path, task=cast(Any, checkpoint.task))
    names = _OUTPUTS[checkpoint.task]
    largest = dict.fromkeys(names, 0.0)
    for square in squares:
        expected = module(torch.from_numpy(square)[(None,) * (4 - square.ndim)])
        expected = expected if isinstance(expected, tuple) else (expected,)
        for name, mine, theirs in zip(names, expected, session.run(square), strict=True):
            largest[name] = max(largest[name], float(np.abs(mine[0].numpy() - theirs).max()))
    return Parity(len(squares), largest)
