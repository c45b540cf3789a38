"""ONNX Runtime behind one class; the only file that sees it."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from osteon.errors import ModelMismatch
from osteon.findings import ModelRef
from osteon.inference.card import METADATA_KEY, Card, Task

Tensor = NDArray[np.float32]


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
        self._input = self._session.get_inputs()[0].name

    def run(self, pixels: Tensor) -> list[Tensor]:
        """The outputs for one (side, side) float32 picture in [0, 1], each without its batch axis."""
        outputs = self._session.run(None, {self._input: pixels[None, None]})
        return [np.asarray(output[0], np.float32) for output in outputs]


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
