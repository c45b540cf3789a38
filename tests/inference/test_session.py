"""No card, no load."""

import json
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from osteon.errors import ModelMismatch
from osteon.inference.card import METADATA_KEY, Calibration, Card, OperatingPoint
from osteon.inference.session import Session, read_card

names = st.text(min_size=1, max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
points = st.dictionaries(
    names, st.builds(OperatingPoint, numbers, st.dictionaries(names, numbers, max_size=3)), max_size=3
)
cards = st.builds(
    Card,
    name=names,
    task=st.sampled_from(("gate", "detector")),
    version=names,
    arch=names,
    side_px=st.integers(32, 2048),
    labels=st.lists(names, max_size=3).map(tuple),
    operating_points=points,
    licence=names,
    training_data=st.text(max_size=30),
    split_hash=names,
    metrics=st.dictionaries(names, numbers, max_size=3),
    iou_threshold=st.floats(0, 1),
    layout=st.sampled_from(("osteon", "yolo", "yolo-nms")),
    calibration=st.none() | st.builds(Calibration, numbers, numbers),
    settings=st.dictionaries(
        names, st.dictionaries(names, numbers | st.text() | st.booleans(), max_size=2), max_size=2
    ),
)


@given(cards)
@settings(max_examples=40)
def test_a_card_reads_back_as_written(card: Card) -> None:
    assert Card.from_json(card.to_json()) == card


@pytest.mark.parametrize("field", ["name", "side_px", "labels", "operating_points", "split_hash", "calibration"])
def test_a_card_without_a_field_is_refused(field: str) -> None:
    value = json.loads(models.gate_card().to_json())
    del value[field]
    with pytest.raises(ModelMismatch) as caught:
        Card.from_json(json.dumps(value))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("side_px", "224"),
        ("side_px", 0),
        ("labels", "bone"),
        ("task", "horoscope"),
        ("operating_points", []),
        ("operating_points", {"doubt": {"threshold": "high"}}),
        ("calibration", 3),
        ("iou_threshold", None),
        ("colour", "red"),
        ("layout", "maze"),
    ],
)
def test_a_card_with_a_value_of_another_kind_is_refused(field: str, value: object) -> None:
    card = json.loads(models.detector_card().to_json()) | {field: value}
    with pytest.raises(ModelMismatch):
        Card.from_json(json.dumps(card))


def test_a_card_of_before_layouts_is_of_ours() -> None:
    value = json.loads(models.detector_card().to_json())
    del value["layout"]
    assert Card.from_json(json.dumps(value)) == models.detector_card()


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "{", '"card"'])
def test_a_card_that_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ModelMismatch):
        Card.from_json(text)


def test_a_missing_operating_point_says_which_there_are() -> None:
    with pytest.raises(ModelMismatch, match=r"no operating point 'sure'.*area_fraction, confidence"):
        models.gate_card().cut("sure")
    with pytest.raises(ModelMismatch, match="none"):
        models.gate_card(operating_points={}).cut("sure")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 5), st.floats(-5, 5))
def test_calibration_keeps_the_order_of_scores(first: float, second: float, slope: float, intercept: float) -> None:
    low, high = sorted((first, second))
    calibration = Calibration(slope, intercept)
    assert 0 <= calibration.probability(low) <= calibration.probability(high) <= 1


def _without_card(folder: Path) -> Path:
    model = models.gate_model()
    del model.metadata_props[:]
    onnx.save(model, str(folder / "bare.onnx"))
    return folder / "bare.onnx"


def _with_bad_card(folder: Path) -> Path:
    model = models.gate_model()
    onnx.helper.set_model_props(model, {METADATA_KEY: "{}"})
    onnx.save(model, str(folder / "bad.onnx"))
    return folder / "bad.onnx"


def _damaged(folder: Path) -> Path:
    content = models.gate_model().SerializeToString()
    (folder / "cut.onnx").write_bytes(content[: len(content) // 2])
    return folder / "cut.onnx"


def _text(folder: Path) -> Path:
    (folder / "text.onnx").write_text("no model at all")
    return folder / "text.onnx"


def _empty(folder: Path) -> Path:
    (folder / "empty.onnx").touch()
    return folder / "empty.onnx"


@pytest.mark.parametrize(
    "make",
    [
        _without_card,
        _with_bad_card,
        _damaged,
        _text,
        _empty,
        lambda folder: folder / "none.onnx",
        lambda folder: folder,
    ],
)
def test_what_is_no_model_with_a_card_is_not_loaded(make: object, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(ModelMismatch) as caught:
        Session(path, task="gate")
    assert caught.value.hint
    assert str(tmp_path.parent) not in caught.value.message
    with pytest.raises(ModelMismatch):
        read_card(path)


def test_a_model_of_another_task_is_not_loaded(tmp_path: Path) -> None:
    files = models.model_files(tmp_path)
    with pytest.raises(ModelMismatch, match="is a detector model, expected a gate"):
        Session(files.detector, task="gate")


def test_the_card_and_identity_are_the_files(tmp_path: Path) -> None:
    files = models.model_files(tmp_path)
    session = Session(files.gate, task="gate", threads=1)
    assert session.card == models.gate_card()
    assert read_card(files.gate) == (session.card, session.ref)
    assert len(session.ref.sha256) == 64
