"""A bones model that finds the same three on every film; on `serving.radiograph`: a shaft, carpals below it, metal."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

import models
from osteon.inference.card import Card, OperatingPoint

SIDE_PX = 450
CELLS = 28
LABELS = ("radius", "carpals", "implant")
BOXES_XYXY_PX = ((122.0, 22.0, 227.0, 390.0), (122.0, 390.0, 227.0, 428.0), (20.0, 20.0, 60.0, 40.0))
SCORES = (0.95, 0.85, 0.75)


def bones_file(folder: Path) -> Path:
    """The model, written into the folder as bones.onnx. Its masks fill their boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bones.onnx"
    onnx.save(_model(), str(path))
    return path


def _model() -> onnx.ModelProto:
    count = len(LABELS)
    values = {
        "boxes": np.array([BOXES_XYXY_PX], np.float32),
        "scores": np.array([SCORES], np.float32),
        "labels": np.arange(count, dtype=np.float32)[None],
        "masks": np.full((1, count, CELLS, CELLS), 0.9, np.float32),
    }
    nodes = [helper.make_node("Identity", [f"drawn_{name}"], [name]) for name in values]
    constants = {f"drawn_{name}": value for name, value in values.items()}
    outputs = {name: list(value.shape) for name, value in values.items()}
    return models._model(nodes, constants, SIDE_PX, outputs, _card())


def _card() -> Card:
    return Card(
        name="osteon-bones-drawn",
        task="bones",
        version="0.0.1",
        arch="three constants, written by hand",
        side_px=SIDE_PX,
        labels=LABELS,
        operating_points={"bone": OperatingPoint(0.5)},
        licence="Apache-2.0",
        training_data="none",
        split_hash="0" * 16,
        metrics={},
    )
