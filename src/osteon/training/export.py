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

from osteon.errors import ConfigurationError
from osteon.evaluation.judge import Run
from osteon.inference.card import METADATA_KEY, Card
from osteon.inference.session import Session
from osteon.training.architectures import DETECTORS, build
from osteon.training.checkpoint import Checkpoint
from osteon.training.loop import device

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


class MirroredOutput(DetectorOutput):
    """The same of a picture and of its mirror image, left to right, averaged point by point.

    Args:
        strides_px: levels of the model's points, in their order; see `points.grid`.
        side_px: of the input.
    """

    def __init__(
        self,
        model: nn.Module,
        decode: Callable[[Any], tuple[Tensor, Tensor]],
        *,
        strides_px: Sequence[int],
        side_px: int,
    ) -> None:
        super().__init__(model, decode)
        self.side_px, self.order = side_px, mirrored_points(strides_px, side_px)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1, side, side) in [0, 1] -> (1, n, 4) boxes and (1, n) scores."""
        boxes, scores = super().forward(torch.cat([pixels, pixels.flip(3)]))
        x0, y0, x1, y1 = boxes[1:, self.order].unbind(-1)
        mirrored = torch.stack([self.side_px - x1, y0, self.side_px - x0, y1], -1)
        return (boxes[:1] + mirrored) / 2, (scores[:1] + scores[1:, self.order]) / 2


def mirrored_points(strides_px: Sequence[int], side_px: int) -> Tensor:
    """(n,) for each point of all levels the index of the point that is its mirror image, left to right."""
    orders, before = [], 0
    for stride in strides_px:
        cells = side_px // stride
        orders.append(torch.arange(cells * cells).view(cells, cells).flip(1).flatten() + before)
        before += cells * cells
    return torch.cat(orders)


class BoneJudgeOutput(nn.Module):
    """A bone's crop -> how likely it is broken."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """(1, 2, side, side / 2) grey in [0, 1] and mask -> (1,) probability."""
        return cast(Tensor, self.model(pixels).logits.sigmoid())


_OUTPUTS = {"gate": ["probabilities"], "detector": ["boxes", "scores"], "bone-judge": ["damage"]}


def mirrored_strides(checkpoint: Checkpoint) -> tuple[int, ...]:
    """Levels of a detector's points, which a mirrored one pairs.

    Raises:
        ConfigurationError: no detector, or one whose boxes come from anchors.
    """
    strides_px = DETECTORS[checkpoint.arch].strides_px if checkpoint.task == "detector" else ()
    if not strides_px:
        known = ", ".join(arch for arch, family in DETECTORS.items() if family.strides_px)
        raise ConfigurationError(f"{checkpoint.arch} cannot be mirrored", hint=f"these can: {known}")
    return strides_px


def exportable(checkpoint: Checkpoint, *, mirrored: bool = False) -> nn.Module:
    """The checkpoint's model with the outputs that inference reads, in evaluation mode.

    Args:
        checkpoint: of any task but single bones.
        mirrored: a detector that looks at the picture's mirror image, too; see `MirroredOutput`.

    Raises:
        ConfigurationError: mirrored, and no detector or one whose boxes come from anchors.
    """
    strides_px = mirrored_strides(checkpoint) if mirrored else ()
    side_px = checkpoint.settings[checkpoint.task]["side_px"]
    model = build(checkpoint.task, checkpoint.arch, side_px=side_px)
    model.load_state_dict(checkpoint.weights)
    if checkpoint.task == "detector":
        decode = DETECTORS[checkpoint.arch].decode
        if mirrored:
            return MirroredOutput(model, decode, strides_px=strides_px, side_px=side_px).eval()
        return DetectorOutput(model, decode).eval()
    return (GateOutput if checkpoint.task == "gate" else BoneJudgeOutput)(model).eval()


def runner(checkpoint: Checkpoint) -> Run:
    """A trained detector where torch runs it, which on a GPU is much faster than its model file on the processor."""
    where = device()
    model = exportable(checkpoint).to(where)

    @torch.inference_mode()
    def run(square: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return [values[0].cpu().numpy() for values in model(torch.from_numpy(square)[None, None].to(where))]

    return run


def export(checkpoint: Checkpoint, path: Path, card: Card, *, mirrored: bool = False) -> None:
    """Write the model as ONNX with its card inside; see `exportable`."""
    side_px = card.side_px
    pixels = torch.rand((1, 2, side_px, side_px // 2) if card.task == "bone-judge" else (1, 1, side_px, side_px))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch's own insides
        program: Any = torch.onnx.export(
            exportable(checkpoint, mirrored=mirrored),
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
def parity(checkpoint: Checkpoint, path: Path, squares: Sequence[Square], *, mirrored: bool = False) -> Parity:
    """Run both on (side, side) float32 pictures or (2, side, side / 2) crops; compare every number of every output."""
    module = exportable(checkpoint, mirrored=mirrored)
    session = Session(path, task=cast(Any, checkpoint.task))
    names = _OUTPUTS[checkpoint.task]
    largest = dict.fromkeys(names, 0.0)
    for square in squares:
        expected = module(torch.from_numpy(square)[(None,) * (4 - square.ndim)])
        expected = expected if isinstance(expected, tuple) else (expected,)
        for name, mine, theirs in zip(names, expected, session.run(square), strict=True):
            largest[name] = max(largest[name], float(np.abs(mine[0].numpy() - theirs).max()))
    return Parity(len(squares), largest)
