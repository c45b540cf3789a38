"""Tiny real models with cards, and pictures drawn for them, so that tests need no trained weights.

The gate calls bone what is bright after blurring, and nothing at all where the whole picture is bright (a
photograph). The detector scores spots that are brighter than what lies above, below, left and right of them. The
bones model calls what is bright in the upper left of its square a radius, below that carpals, and so on: see `PARTS`.

    pipeline = models.pipeline(tmp_path)
    pipeline.analyse(Radiograph(models.radiograph_pixels(), "drawn.png", "0" * 64)).decision == "fracture"
    pipeline.analyse(Radiograph(models.photograph_pixels(), "photo.png", "0" * 64)).decision == "not_a_radiograph"
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from osteon.inference.card import METADATA_KEY, Calibration, Card, OperatingPoint
from osteon.inference.pipeline import Pipeline

GATE_SIDE_PX = 224
DETECTOR_SIDE_PX = 640
_CELL_PX = 20
_CELLS = DETECTOR_SIDE_PX // _CELL_PX
_SHIFT_CELLS = 4
_HALF_BOX_PX = 50.0
BONES_SIDE_PX = 320
BONE_CELLS = 32
LEAST_BONE_SCORE = 0.3
PARTS = {
    "radius": (0, 0, 192, 256),
    "carpals": (0, 256, 192, 320),
    "ulna": (192, 0, 320, 256),
    "implant": (192, 256, 320, 320),
}
"""Where the drawn bones model looks for what: boxes in model pixels. On `radiograph_pixels` it finds the first two."""


@dataclass(frozen=True)
class ModelFiles:
    gate: Path
    detector: Path


def model_files(folder: Path) -> ModelFiles:
    """Both models, written into the folder as gate.onnx and detector.onnx."""
    folder.mkdir(parents=True, exist_ok=True)
    files = ModelFiles(folder / "gate.onnx", folder / "detector.onnx")
    onnx.save(gate_model(), str(files.gate))
    onnx.save(detector_model(), str(files.detector))
    return files


def pipeline(folder: Path, *, threads: int = 1) -> Pipeline:
    """A pipeline of the drawn models; nothing judges bones."""
    files = model_files(folder)
    made = Pipeline.bundled(gate=files.gate, detector=files.detector, bones=bones_file(folder), threads=threads)
    return replace(made, judge=None)


def bones_file(folder: Path) -> Path:
    """The model of single bones, written into the folder as bones.onnx."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(bones_model(), str(folder / "bones.onnx"))
    return folder / "bones.onnx"


def gate_card(**changes: Any) -> Card:
    """The drawn gate's card, with changes."""
    values: dict[str, Any] = {
        "name": "osteon-gate-drawn",
        "task": "gate",
        "version": "0.0.1",
        "arch": "blur and cut, written by hand",
        "side_px": GATE_SIDE_PX,
        "labels": ("bone",),
        "operating_points": {"area_fraction": OperatingPoint(0.02), "confidence": OperatingPoint(0.6)},
        "licence": "Apache-2.0",
        "training_data": "none",
        "split_hash": "0" * 16,
        "metrics": {"dice": 0.5},
    }
    return Card(**values | changes)


def detector_card(**changes: Any) -> Card:
    """The drawn detector's card, with changes."""
    values: dict[str, Any] = {
        "name": "osteon-detector-drawn",
        "task": "detector",
        "version": "0.0.1",
        "arch": "local contrast, written by hand",
        "side_px": DETECTOR_SIDE_PX,
        "labels": ("fracture",),
        "operating_points": {"fracture": OperatingPoint(0.7), "doubt": OperatingPoint(0.3)},
        "licence": "Apache-2.0",
        "training_data": "none",
        "split_hash": "0" * 16,
        "metrics": {"map50": 0.5},
        "iou_threshold": 0.3,
        "calibration": Calibration(slope=1.0, intercept=0.0),
    }
    return Card(**values | changes)


def bones_card(**changes: Any) -> Card:
    """The drawn bones model's card, with changes."""
    values: dict[str, Any] = {
        "name": "osteon-bones-drawn",
        "task": "bones",
        "version": "0.0.1",
        "arch": "four parts of the square, written by hand",
        "side_px": BONES_SIDE_PX,
        "labels": tuple(PARTS),
        "operating_points": {"bone": OperatingPoint(0.5)},
        "licence": "Apache-2.0",
        "training_data": "none",
        "split_hash": "0" * 16,
        "metrics": {"ap50": 0.5},
    }
    return Card(**values | changes)


def gate_model(card: Card | None = None) -> onnx.ModelProto:
    """(1, 1, 224, 224) -> (1, 1, 224, 224) bone probability: sigmoid(40 (blurred - 0.35) - 1000 relu(mean - 0.41))."""
    nodes = [
        helper.make_node("AveragePool", ["image"], ["blurred"], kernel_shape=[9, 9], pads=[4, 4, 4, 4]),
        helper.make_node("Sub", ["blurred", "bright"], ["over"]),
        helper.make_node("Mul", ["over", "steep"], ["evidence"]),
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Sub", ["mean", "everyday"], ["excess"]),
        helper.make_node("Relu", ["excess"], ["too_bright"]),
        helper.make_node("Mul", ["too_bright", "punish"], ["against"]),
        helper.make_node("Sub", ["evidence", "against"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["bone"]),
    ]
    constants = {"bright": 0.35, "steep": 40.0, "everyday": 0.41, "punish": 1000.0}
    shape = [1, 1, GATE_SIDE_PX, GATE_SIDE_PX]
    return _model(nodes, constants, GATE_SIDE_PX, {"bone": shape}, card or gate_card())


def detector_model(card: Card | None = None) -> onnx.ModelProto:
    """(1, 1, 640, 640) -> boxes (1, 1024, 4) in model pixels and scores (1, 1024): twice the contrast, at peaks."""
    pool: dict[str, Any] = {"kernel_shape": [_CELL_PX, _CELL_PX], "strides": [_CELL_PX, _CELL_PX]}
    window: dict[str, Any] = {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}
    nodes = [
        helper.make_node("AveragePool", ["image"], ["cells"], **pool),
        helper.make_node("Conv", ["cells", "shifts"], ["around"], pads=[_SHIFT_CELLS] * 4),
        helper.make_node("ReduceMax", ["around"], ["brightest"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["cells", "brightest"], ["contrast"]),
        helper.make_node("Mul", ["contrast", "two"], ["doubled"]),
        helper.make_node("Clip", ["doubled", "zero", "one"], ["raw"]),
        helper.make_node("AveragePool", ["raw"], ["smooth"], count_include_pad=1, **window),
        helper.make_node("MaxPool", ["smooth"], ["highest"], **window),
        helper.make_node("GreaterOrEqual", ["smooth", "highest"], ["peak"]),
        helper.make_node("Cast", ["peak"], ["peak_value"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["raw", "peak_value"], ["peaks"]),
        helper.make_node("Reshape", ["peaks", "flat"], ["scores"]),
        helper.make_node("Identity", ["anchors"], ["boxes"]),
    ]
    count = _CELLS * _CELLS
    constants = {
        "two": 2.0,
        "zero": 0.0,
        "one": 1.0,
        "shifts": _shifts(),
        "anchors": _anchors(),
        "flat": np.array([1, count], np.int64),
    }
    outputs = {"boxes": [1, count, 4], "scores": [1, count]}
    return _model(nodes, constants, DETECTOR_SIDE_PX, outputs, card or detector_card())


def bones_model(card: Card | None = None) -> onnx.ModelProto:
    """(1, 1, 320, 320) -> n of the four PARTS, those with a bright cell, best first: boxes, scores, labels, masks."""
    nodes, count = [], len(PARTS)
    constants: dict[str, Any] = {
        "axes": np.array([2, 3], np.int64),
        "bright": 0.3,
        "steep": 20.0,
        "gain": 1.5,
        "zero": 0.0,
        "one": 1.0,
        "least": LEAST_BONE_SCORE,
        "all": np.array([count], np.int64),
        "flat": np.array([-1], np.int64),
        "number": np.array([1], np.int64),
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "anchors": np.array([list(PARTS.values())], np.float32),
    }
    for index, (x0, y0, x1, y1) in enumerate(PARTS.values()):
        kernel = [(y1 - y0) // BONE_CELLS, (x1 - x0) // BONE_CELLS]
        constants |= {f"from{index}": np.array([y0, x0], np.int64), f"to{index}": np.array([y1, x1], np.int64)}
        nodes += [
            helper.make_node("Slice", ["image", f"from{index}", f"to{index}", "axes"], [f"part{index}"]),
            helper.make_node("AveragePool", [f"part{index}"], [f"cells{index}"], kernel_shape=kernel, strides=kernel),
        ]
    nodes += [
        helper.make_node("Concat", [f"cells{index}" for index in range(count)], ["cells"], axis=1),
        helper.make_node("ReduceMax", ["cells"], ["brightest"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["brightest", "gain"], ["gained"]),
        helper.make_node("Clip", ["gained", "zero", "one"], ["likely"]),
        helper.make_node("TopK", ["likely", "all"], ["sorted", "order"], axis=1),
        helper.make_node("Greater", ["sorted", "least"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["ones", "number"], ["n"], keepdims=0),
        helper.make_node("Slice", ["sorted", "first", "n", "second"], ["scores"]),
        helper.make_node("Slice", ["order", "first", "n", "second"], ["labels"]),
        helper.make_node("Reshape", ["labels", "flat"], ["chosen"]),
        helper.make_node("Gather", ["anchors", "chosen"], ["boxes"], axis=1),
        helper.make_node("Gather", ["cells", "chosen"], ["seen"], axis=1),
        helper.make_node("Sub", ["seen", "bright"], ["over"]),
        helper.make_node("Mul", ["over", "steep"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["masks"]),
    ]
    outputs = {"boxes": [1, "n", 4], "scores": [1, "n"], "labels": [1, "n"], "masks": [1, "n", BONE_CELLS, BONE_CELLS]}
    return _model(nodes, constants, BONES_SIDE_PX, outputs, card or bones_card(), whole=("labels",))


def _shifts() -> NDArray[np.float32]:
    kernels = np.zeros((4, 1, 2 * _SHIFT_CELLS + 1, 2 * _SHIFT_CELLS + 1), np.float32)
    middle, far = _SHIFT_CELLS, 2 * _SHIFT_CELLS
    for channel, (row, column) in enumerate([(0, middle), (far, middle), (middle, 0), (middle, far)]):
        kernels[channel, 0, row, column] = 1
    return kernels


def _anchors() -> NDArray[np.float32]:
    centres = (np.arange(_CELLS, dtype=np.float32) + 0.5) * _CELL_PX
    y, x = np.meshgrid(centres, centres, indexing="ij")
    boxes = np.stack([x - _HALF_BOX_PX, y - _HALF_BOX_PX, x + _HALF_BOX_PX, y + _HALF_BOX_PX], axis=-1)
    return boxes.reshape(1, -1, 4).astype(np.float32)


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any],
    side_px: int,
    outputs: dict[str, Any],
    card: Card,
    *,
    whole: tuple[str, ...] = (),
) -> onnx.ModelProto:
    def tensor(value: Any) -> NDArray[Any]:
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype == np.float64 else array

    graph = helper.make_graph(
        nodes,
        card.name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, side_px, side_px])],
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name in whole else TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(tensor(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(model)
    return model


SPOT_XYXY = (0.42, 0.44, 0.58, 0.56)
"""Where `radiograph_pixels` draws its fracture: shares of width and height."""


def spot_box_px(height_px: int, width_px: int) -> tuple[float, float, float, float]:
    """The drawn fracture's box in image pixels."""
    x0, y0, x1, y1 = SPOT_XYXY
    return x0 * width_px, y0 * height_px, x1 * width_px, y1 * height_px


def radiograph_pixels(height_px: int = 900, width_px: int = 700, *, spot: int = 255) -> NDArray[np.uint8]:
    """A vertical bone (150) on dark ground (20) with a spot: 255 is graded fracture, 200 doubt, 150 none."""
    pixels = np.full((height_px, width_px), 20, np.uint8)
    pixels[height_px // 20 : -height_px // 20, int(0.35 * width_px) : int(0.65 * width_px)] = 150
    x0, y0, x1, y1 = (round(v) for v in spot_box_px(height_px, width_px))
    pixels[y0:y1, x0:x1] = spot
    return pixels


def photograph_pixels(height_px: int = 600, width_px: int = 800, *, seed: int = 7) -> NDArray[np.uint8]:
    """A bright, busy (height, width, 3) colour picture; up to 3:2 the drawn gate turns it away by construction."""
    blocks = np.random.default_rng(seed).integers(150, 256, (height_px // 8 + 1, width_px // 8 + 1, 3), np.uint8)
    pixels = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height_px, :width_px]
    pixels[: height_px // 100 + 1] = 0
    return np.ascontiguousarray(pixels)
