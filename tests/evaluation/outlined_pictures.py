"""Pictures of boxes and ellipses that stand for bones, with known overlaps."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from osteon.datasets import coco
from osteon.datasets.case import Case, Instance, Manifest
from osteon.evaluation.instances import Outlined
from osteon.evaluation.records import Facts
from osteon.findings import Bone
from osteon.inference.card import METADATA_KEY, Card, OperatingPoint

HEIGHT_PX, WIDTH_PX = 60, 50
SIDE_PX = 64
Box = tuple[int, int, int, int]


def bone(box: Box, *, label: str = "bone", score: float = 1.0) -> Bone:
    """A full rectangle."""
    x0, y0, x1, y1 = box
    return Bone(label, score, (float(x0), float(y0), float(x1), float(y1)), (x0, y0), np.ones((y1 - y0, x1 - x0), bool))


def region(*boxes: Box) -> np.ndarray:
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def picture(
    found: Sequence[Bone],
    truth: Sequence[Bone],
    *,
    ignored: Sequence[Box] = (),
    name: str = "drawn",
    part: str = "hand",
    gate: np.ndarray | None = None,
    gate_saw: bool | None = None,
) -> Outlined:
    """One picture; found bones best first."""
    ordered = tuple(sorted(found, key=lambda one: -one.score))
    facts = Facts(HEIGHT_PX, WIDTH_PX, part)
    return Outlined(name, facts, ordered, tuple(truth), region(*ignored), gate, gate_saw)


def random_pictures(
    seed: int, *, count: int = 12, labels: Sequence[str] = ("radius", "ulna", "implant")
) -> list[Outlined]:
    """Ellipses, detections near them, twice, elsewhere and in ignored regions, some of another label."""
    rng = np.random.default_rng(seed)
    pictures = []
    for number in range(count):
        truth = [_ellipse(rng, str(rng.choice(labels)), 1.0) for _ in range(int(rng.integers(0, 5)))]
        found = [_near(rng, one, str(rng.choice(labels)) if rng.random() < 0.2 else one.label) for one in truth * 2]
        found += [_ellipse(rng, str(rng.choice(labels)), round(float(rng.random()), 3)) for _ in range(4)]
        x, y = (int(value) for value in rng.integers(0, 30, 2))
        ignored = [(x, y, x + 18, y + 25)] if rng.random() < 0.7 else []
        pictures.append(picture(found, truth, ignored=ignored, name=f"{number}", part=str(rng.choice(["hand", "leg"]))))
    return pictures


def _ellipse(rng: np.random.Generator, label: str, score: float) -> Bone:
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    centre, axes = rng.integers(12, 40, 2), rng.integers(3, 12, 2)
    cv2.ellipse(mask, centre.tolist(), axes.tolist(), float(rng.integers(0, 180)), 0, 360, 1, -1)
    return _of(mask > 0, label, score)


def _near(rng: np.random.Generator, one: Bone, label: str) -> Bone:
    x, y = rng.integers(-2, 3, 2)
    moved = np.roll(one.on(HEIGHT_PX, WIDTH_PX), (int(y), int(x)), (0, 1))
    return _of(moved, label, round(float(rng.random()), 3))


def _of(mask: np.ndarray, label: str, score: float) -> Bone:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1] + 1), int(rows[-1] + 1)
    return Bone(label, score, (float(x0), float(y0), float(x1), float(y1)), (x0, y0), mask[y0:y1, x0:x1].copy())


def constant_model(file: Path, labels: Sequence[str], objects: Sequence[tuple[str, float, Box]], *, cut: float) -> Path:
    """A bones model that finds the same full boxes on every picture: (label, score, box in model pixels)."""
    ordered = sorted(objects, key=lambda each: -each[1])
    names = [label for label, _, _ in ordered]
    values = {
        "boxes": np.array([[box for _, _, box in ordered]], np.float32),
        "scores": np.array([[score for _, score, _ in ordered]], np.float32),
        "labels": np.array([[list(labels).index(label) for label in names]], np.float32),
        "masks": np.ones((1, len(ordered), 8, 8), np.float32),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)) for name, value in values.items()
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 1, SIDE_PX, SIDE_PX])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in values.items()]
    graph = helper.make_graph(nodes, "constant", [pixels], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    card = Card(
        name="constant",
        task="bones",
        version="1",
        arch="written by hand",
        side_px=SIDE_PX,
        labels=tuple(labels),
        operating_points={"bone": OperatingPoint(cut)},
        licence="Apache-2.0",
        training_data="none",
        split_hash="0" * 16,
        metrics={},
    )
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.save(model, str(file))
    return file


def outlined_set(folder: Path, drawn: Sequence[Sequence[tuple[str, Box]]]) -> Path:
    """Pictures of noise with outlined boxes as a COCO file, `ignore` marking regions; film-0.png, film-1.png ..."""
    cases = []
    for number, objects in enumerate(drawn):
        path = folder / f"film-{number}.png"
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 256, (SIDE_PX, SIDE_PX), np.uint8))
        instances = tuple(_outline(label, box) for label, box in objects)
        cases.append(Case(path.name, path, instances=instances, height_px=SIDE_PX, width_px=SIDE_PX))
    coco.write(Manifest("outlined", tuple(cases)), folder / "bones.json")
    return folder / "bones.json"


def _outline(label: str, box: Box) -> Instance:
    x0, y0, x1, y1 = (float(value) for value in box)
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return Instance(label, (x0, y0, x1, y1), (corners,), ignore=label == "ignore")
