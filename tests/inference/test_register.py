"""Detectors of others: a YOLO export gets a card, and then gives what one of ours would."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import models
from osteon.cli import main
from osteon.errors import ModelMismatch
from osteon.inference.card import Card, OperatingPoint
from osteon.inference.layouts import boxes_and_scores, recognised
from osteon.inference.pipeline import Pipeline
from osteon.inference.register import register
from osteon.inference.session import Session, read_card
from osteon.radiograph import Radiograph

SIDE = 64
BOX = (8.0, 16.0, 40.0, 56.0)
ELSEWHERE = (0.0, 0.0, 10.0, 10.0)
LABELS = ("metal", "fracture")


def card(**changes: Any) -> Card:
    points = {"fracture": OperatingPoint(0.5), "doubt": OperatingPoint(0.25)}
    values: dict[str, Any] = {"name": "theirs", "version": "1", "arch": "YOLO", "side_px": 0, "labels": LABELS}
    values |= {"licence": "not stated", "training_data": "not stated", "split_hash": "", "metrics": {}}
    return Card(**values | {"task": "detector", "operating_points": points} | changes)


def raw_head() -> NDArray[np.float32]:
    """(1, 4 + 2, 3): a box of metal, one of fracture and one of neither; scores to be multiplied by brightness."""
    rows = []
    for box, metal, fracture in ((ELSEWHERE, 0.9, 0.0), (BOX, 0.1, 0.8), (ELSEWHERE, 0.0, 0.0)):
        x0, y0, x1, y1 = box
        rows.append([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, metal, fracture])
    return np.array(rows, np.float32).T[None]


def suppressed_head() -> NDArray[np.float32]:
    """(1, 4, 6): a fracture, a metal, and rows of zeros, as exports fill them up."""
    return np.array([[[*BOX, 0.8, 1], [*ELSEWHERE, 0.9, 0], [0] * 6, [0] * 6]], np.float32)


def exported(
    path: Path, output: NDArray[np.float32], *, side: int | str = SIDE, outputs: int = 1, kind: int = TensorProto.FLOAT
) -> Path:
    """A model with three colours that gives `output` times the share of white in the middle colour's first pixel."""
    shape = [1, 3, side, side]
    nodes = [
        helper.make_node("Slice", ["images", "from", "to"], ["pixel"]),
        helper.make_node("Cast", ["pixel"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["bright", "one"], ["factor"]),
        helper.make_node("Mul", ["head", "factor"], ["scaled"]),
        helper.make_node("Where", ["is_score", "scaled", "head"], ["output0"]),
        *[helper.make_node("Identity", ["output0"], [f"output{i}"]) for i in range(1, outputs)],
    ]
    scores = np.zeros(output.shape, np.bool_)
    if output.shape[2] == 6:
        scores[..., 4] = True
    else:
        scores[:, 4:] = True
    constants = {
        "head": output,
        "is_score": scores,
        "from": np.array([0, 1, 0, 0], np.int64),
        "to": np.array([1, 2, 1, 1], np.int64),
        "one": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info(f"output{i}", TensorProto.FLOAT, output.shape) for i in range(outputs)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'metal', 1: 'fracture'}", "stride": "32"})
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(("layout", "head"), [("yolo", raw_head()), ("yolo-nms", suppressed_head())])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_registered_model_gives_boxes_and_scores_of_fractures(
    layout: str, head: NDArray[np.float32], kind: int, tmp_path: Path
) -> None:
    source = exported(tmp_path / "theirs.onnx", head, kind=kind)
    before = source.read_bytes()
    made = register(source, tmp_path / "ours.onnx", card())
    assert (made.layout, made.side_px) == (layout, SIDE)
    session = Session(tmp_path / "ours.onnx", task="detector")
    assert session.card == made == read_card(tmp_path / "ours.onnx")[0]
    pixels = np.zeros((SIDE, SIDE), np.float32)
    pixels[0, 0] = 0.5
    boxes, scores = session.run(pixels)
    best = int(scores.argmax())
    assert boxes[best].tolist() == list(BOX)
    assert float(scores[best]) == pytest.approx(0.4)
    assert (np.delete(scores, best) == 0).all()
    assert source.read_bytes() == before
    props = {entry.key: entry.value for entry in onnx.load(tmp_path / "ours.onnx").metadata_props}
    assert props["stride"] == "32"
    assert {path.name for path in tmp_path.iterdir()} == {"theirs.onnx", "ours.onnx"}


@pytest.mark.parametrize("head", [raw_head(), suppressed_head()])
def test_predict_uses_it_like_one_of_ours(head: NDArray[np.float32], tmp_path: Path) -> None:
    files = models.model_files(tmp_path)
    register(exported(tmp_path / "theirs.onnx", head), tmp_path / "ours.onnx", card())
    pipeline = Pipeline.bundled(gate=files.gate, detector=tmp_path / "ours.onnx", threads=1)
    pixels = models.radiograph_pixels(640, 480)
    pixels[:12, :12] = 255  # what the drawn model takes for brightness
    findings = pipeline.analyse(Radiograph(pixels, "film.png", "0" * 64))
    assert findings.decision == "fracture"
    (fracture,) = findings.fractures
    assert fracture.box_xyxy_px == pytest.approx([10 * value for value in BOX], abs=0.01)
    assert fracture.score == pytest.approx(0.8, abs=0.01)
    assert fracture.probability == pytest.approx(fracture.score)
    assert findings.detector is not None
    assert findings.detector.name == "theirs"


def test_a_model_of_any_side_is_told_one(tmp_path: Path) -> None:
    source = exported(tmp_path / "theirs.onnx", raw_head(), side="any")
    with pytest.raises(ModelMismatch, match="any size"):
        register(source, tmp_path / "ours.onnx", card())
    assert register(source, tmp_path / "ours.onnx", card(side_px=96)).side_px == 96


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("fracture",)}, "for 1 labels"),
        ({"labels": ("metal", "text")}, "none of the labels metal, text"),
        ({"side_px": 96}, "not a picture of 96 px"),
    ],
)
def test_a_card_that_does_not_fit_the_model_is_refused(changes: Any, message: str, tmp_path: Path) -> None:
    source = exported(tmp_path / "theirs.onnx", raw_head())
    with pytest.raises(ModelMismatch, match=message) as caught:
        register(source, tmp_path / "ours.onnx", card(**changes))
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.onnx"]


def test_what_is_no_detector_of_theirs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    two = exported(tmp_path / "two.onnx", raw_head(), outputs=2)
    ours = models.model_files(tmp_path).detector
    for path, message in ((tmp_path / "text.onnx", "no model"), (two, "2 outputs"), (ours, "has a card already")):
        with pytest.raises(ModelMismatch, match=message):
            register(path, tmp_path / "out.onnx", card())


def test_the_command_registers_and_lists(tmp_path: Path) -> None:
    source = exported(tmp_path / "theirs.onnx", raw_head())
    words = ["models", "register", source, "--name", "theirs", "--labels", "metal, fracture", "--iou", "0.6"]
    done = CliRunner().invoke(main, [str(word) for word in (*words, "--out", tmp_path / "ours.onnx")])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "ours.onnx")
    for words in (["models", "--format", "json"], ["models", "list", "--format", "json"]):
        listed = CliRunner().invoke(main, [*words, str(tmp_path / "ours.onnx")])
        (row,) = json.loads(listed.stdout)
        assert (row["name"], row["layout"], row["side_px"]) == ("theirs", "yolo", SIDE)
        assert row["operating_points"] == {"fracture": 0.5, "doubt": 0.25}
    refused = CliRunner().invoke(main, ["models", "register", str(source), "--name", "x", "--out", str(tmp_path / "x")])
    assert refused.exit_code == 2
    assert "for 1 labels" in refused.stderr


def test_layouts_are_told_apart_by_the_number_of_classes() -> None:
    assert recognised((1, 6, 8400), LABELS) == "yolo"
    assert recognised((1, 8400, 6), LABELS) == "yolo-nms"
    for shape in ((1, 5, 8400), (2, 6, 8400), (1, 8400), (1, 300, 38)):
        with pytest.raises(ModelMismatch):
            recognised(shape, LABELS)
    with pytest.raises(ModelMismatch, match="output is not"):
        boxes_and_scores("yolo-nms", raw_head()[0], LABELS)
