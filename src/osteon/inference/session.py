"""ONNX Runtime behind one class; the only file that sees it."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from osteon.errors import ModelMismatch
from osteon.findings import ModelRef
from osteon.inference.card import METADATA_KEY, Card, Task
from osteon.inference.layouts import boxes_and_scores

Tensor = NDArray[np.float32]
COLOURS = 3


class Session:
    """A loaded model: its card, its identity, and `run`. Safe to use from several threads at once."""

    def __init__(self, path: Path, *, task: Task, threads: int = 2) -> None:
        """Load a model file.

        Raises:
            ModelMismatch: the file is missing, damaged, has no card, or is of another task.
        """
        content = _content(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = _loaded(content, options, path)
        self.card = _card(self._session, path, task)
        self.ref = ModelRef(self.card.name, self.card.version, hashlib.sha256(content).hexdigest())
        self._input = self._session.get_inputs()[0]

    def run(self, pixels: Tensor) -> list[Tensor]:
        """The outputs for one (side, side) float32 picture in [0, 1], each without its batch axis.

        A detector of another layout gives (n, 4) boxes and (n,) scores like one of ours.
        """
        outputs = self._session.run(None, {self._input.name: _batch(pixels, self._input)})
        own = [np.asarray(output[0], np.float32) for output in outputs]
        layout = self.card.layout
        return own if layout == "osteon" else boxes_and_scores(layout, own[0], self.card.labels)

    def named(self, pixels: Tensor) -> dict[str, Tensor]:
        """The outputs of one of our own models as `run` gives them, by their names."""
        return dict(zip((output.name for output in self._session.get_outputs()), self.run(pixels), strict=True))


def trial(path: Path, *, side_px: int) -> tuple[int, list[tuple[int, ...]]]:
    """The input side of a model that has no card yet, and the shapes of its outputs for a black picture.

    Args:
        side_px: of the picture; 0: what the model itself says.

    Raises:
        ModelMismatch: missing, damaged, has a card, tells no side, or takes no such picture.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = _loaded(_content(path), options, path)
    if METADATA_KEY in session.get_modelmeta().custom_metadata_map:
        raise ModelMismatch(f"{path.name} has a card already", hint="give it to `osteon predict --detector` as it is")
    wanted = session.get_inputs()[0]
    side = side_px or wanted.shape[-1]
    if not isinstance(side, int):
        raise ModelMismatch(f"{path.name} takes pictures of any size", hint="say which with --side, such as 640")
    try:
        outputs = session.run(None, {wanted.name: _batch(np.zeros((side, side), np.float32), wanted)})
    except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
        raise ModelMismatch(
            f"{path.name} takes {wanted.shape}, not a picture of {side} px", hint="give the side it was exported with"
        ) from error
    return side, [tuple(output.shape) for output in outputs]


def _batch(pixels: Tensor, wanted: ort.NodeArg) -> NDArray[np.floating]:
    """A picture, or its channels, as the model wants it: repeated where it wants colours, in its number format."""
    batch = pixels[None] if pixels.ndim == 3 else pixels[None, None]
    if len(wanted.shape) == 4 and wanted.shape[1] == COLOURS:
        batch = np.repeat(batch, COLOURS, axis=1)
    return batch.astype(np.float16) if wanted.type == "tensor(float16)" else batch


def read_card(path: Path) -> tuple[Card, ModelRef]:
    """A model's card and identity; raises ModelMismatch where the file is missing, damaged, or has no card."""
    content = _content(path)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    card = _card(_loaded(content, options, path), path, None)
    return card, ModelRef(card.name, card.version, hashlib.sha256(content).hexdigest())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelMismatch(
            f"no model file {path.name}", hint="install Osteon again, or give the path of an exported model"
        ) from error


def _loaded(content: bytes, options: ort.SessionOptions, path: Path) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
        raise ModelMismatch(
            f"{path.name} is no model that ONNX Runtime can load", hint="restore the file or export it again"
        ) from error


def _card(session: ort.InferenceSession, path: Path, task: Task | None) -> Card:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if not text:
        raise ModelMismatch(f"{path.name} has no card", hint="export the checkpoint with `osteon export`")
    card = Card.from_json(text)
    if task and card.task != task:
        raise ModelMismatch(f"{path.name} is a {card.task} model, expected a {task}", hint=f"give a {task} model")
    return card
