"""Crops and judges made by hand, so that tests of the bone judge need neither films nor a trained network."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import models
from osteon.datasets.bone_crops import Damage, Framing
from osteon.datasets.crop_store import Crops, Row
from osteon.inference.bone_judge import SETTING, Combination, Joint, spoken
from osteon.inference.card import METADATA_KEY, Card

FRAMING = Framing(side_px=64)


def card(**changes: Any) -> Card:
    """The card of `write_judge`'s model, with changes."""
    values: dict[str, Any] = {
        "name": "osteon-bone-judge-drawn",
        "task": "bone-judge",
        "version": "0.0.1",
        "arch": "mean grey of the bone, written by hand",
        "side_px": FRAMING.side_px,
        "labels": ("damaged",),
        "operating_points": {},
        "licence": "Apache-2.0",
        "training_data": "none",
        "split_hash": "0" * 16,
        "metrics": {},
        "settings": {"bone-judge": {"margin": FRAMING.margin}},
    }
    return Card(**values | changes)


def joined(**changes: Any) -> Card:
    """A card that joins the judge with the drawn detector."""
    curves = {"film": Combination(1.0, 0.5, -0.5), "bone": Combination(0.5, 1.0, -1.0)}
    joint = Joint(spoken(models.detector_card()), **curves)
    return card(settings={**card().settings, SETTING: joint.to_json()}, **changes)


def write_judge(path: Path, said: Card | None = None, **changes: Any) -> Path:
    """A judge that calls the dark bone damaged: one less the mean grey of the crop's pixels within its mask."""
    height, width = FRAMING.shape
    nodes = [
        helper.make_node("Slice", ["pixels", "start0", "end0", "axis"], ["grey"]),
        helper.make_node("Slice", ["pixels", "start1", "end1", "axis"], ["mask"]),
        helper.make_node("Mul", ["grey", "mask"], ["inside"]),
        helper.make_node("ReduceSum", ["inside", "all"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "all"], ["area"], keepdims=0),
        helper.make_node("Div", ["sum", "area"], ["mean"]),
        helper.make_node("Sub", ["one", "mean"], ["damage"]),
    ]
    numbers = {"start0": [0], "end0": [1], "start1": [1], "end1": [2], "axis": [1], "all": [1, 2, 3]}
    graph = helper.make_graph(
        nodes,
        "judge",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 2, height, width])],
        [helper.make_tensor_value_info("damage", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()]
        + [numpy_helper.from_array(np.array([1.0], np.float32), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: (said or card(**changes)).to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def rods(kinds: str, *, seed: int = 0) -> Crops:
    """Crops of rods in films of two: "d" broken by a dark gap, "i" intact, "s" a shared gap, "u" an unknown one.

    Films are named by number, film 0 holding the first two rods; labels are "femur" and "tibia" in turn.
    """
    names: dict[str, Damage] = {"d": "damaged", "i": "intact", "s": "shared", "u": "unknown"}
    height, width = FRAMING.shape
    rng = np.random.default_rng(seed)
    grey, masks, drawn = [], [], []
    for kind in kinds:
        mask = np.zeros((height, width), np.bool_)
        mask[4:60, 10:22] = True
        pixels = rng.normal(60, 12, (height, width)) + 120 * mask
        area = np.zeros_like(mask)
        if kind in "ds":
            top = int(rng.integers(10, 46))
            area[top : top + 8, 10:22] = True
            pixels[area] -= 120
        grey.append(pixels.clip(0, 255).astype(np.uint8))
        masks.append(np.packbits(mask))
        drawn.append(np.packbits(area))
    rows = tuple(
        Row(f"{index // 2:02}", index % 2, ("femur", "tibia")[index % 2], names[kind])
        for index, kind in enumerate(kinds)
    )
    films = tuple(dict.fromkeys(row.film for row in rows))
    return Crops(FRAMING, films, rows, np.stack(grey), np.stack(masks), np.stack(drawn))
