"""The JSON of findings and the radiograph's own checks."""

import json

import numpy as np
import pytest

from osteon.errors import InvalidImage
from osteon.findings import Anchor, Bone, BoneEvidence, Failure, Findings, Fracture, ModelRef, document
from osteon.radiograph import Radiograph


def findings(**changes: object) -> Findings:
    values = {
        "source": "wrist.png",
        "sha256": "0" * 64,
        "height_px": 90,
        "width_px": 74,
        "bone": BoneEvidence(True, 0.123456, 0.98765, np.zeros((2, 2), np.float32)),
        "decision": "doubt",
        "fractures": (Fracture((1.04, 2.0, 30.26, 44.0), 0.512345, 0.412345, "doubt"),),
        "gate": ModelRef("gate", "1", "a"),
        "detector": ModelRef("detector", "2", "b"),
        "timing_ms": {"read": 1.26, "total": 4.0},
    }
    return Findings(**values | changes)  # type: ignore[arg-type]


def test_the_json_is_that_of_the_interface() -> None:
    value = document([findings()], [Failure("broken.jpg", "InvalidImage", "empty", "send another")])
    assert json.loads(json.dumps(value)) == value
    assert value["schema_version"] == 1
    assert value["errors"] == [
        {"source": "broken.jpg", "type": "InvalidImage", "message": "empty", "hint": "send another"}
    ]
    assert value["findings"] == [
        {
            "source": "wrist.png",
            "sha256": "0" * 64,
            "height_px": 90,
            "width_px": 74,
            "bone": {"present": True, "area_fraction": 0.1235, "confidence": 0.9877},
            "decision": "doubt",
            "fractures": [
                {"box_xyxy_px": [1.0, 2.0, 30.3, 44.0], "score": 0.5123, "probability": 0.4123, "grade": "doubt"}
            ],
            "models": {
                "gate": {"name": "gate", "version": "1", "sha256": "a"},
                "detector": {"name": "detector", "version": "2", "sha256": "b"},
            },
            "timing_ms": {"read": 1.3, "total": 4.0},
        }
    ]


def test_detector_is_null_where_the_gate_ended_the_work() -> None:
    assert findings(detector=None).to_json()["models"]["detector"] is None


def test_candidates_stand_apart_and_only_where_there_are_any() -> None:
    candidate = Fracture((0, 0, 5, 5), 0.1, 0.1, None)
    assert "candidates" not in findings().to_json()
    assert [row["grade"] for row in findings(candidates=(candidate,)).to_json()["candidates"]] == [None]


def bone(**changes: object) -> Bone:
    values = {"label": "radius", "score": 0.87654, "box_xyxy_px": (1.04, 2.0, 5.0, 6.0), "corner_xy_px": (1, 2)}
    return Bone(**{"mask": np.ones((4, 3), bool)} | values | changes)  # type: ignore[arg-type]


def test_bones_stand_in_the_json_only_where_they_were_asked_for() -> None:
    assert not {"bones"} & (findings().to_json().keys() | findings().to_json()["models"].keys())
    asked = findings(bones=(bone(),), instances=ModelRef("bones", "3", "c")).to_json()
    assert asked["bones"] == [{"label": "radius", "score": 0.8765, "box_xyxy_px": [1.0, 2.0, 5.0, 6.0], "area_px": 12}]
    assert asked["models"]["bones"] == {"name": "bones", "version": "3", "sha256": "c"}
    none = findings(bones=()).to_json()
    assert (none["bones"], none["models"]["bones"]) == ([], None)


def test_a_fracture_tells_its_bone() -> None:
    value = Fracture((0, 0, 5, 5), 0.5, 0.5, "doubt", Anchor("radius", 0.83333, 0.9, "distal")).to_json()
    assert json.loads(json.dumps(value)) == value
    assert {name: value[name] for name in list(value)[4:]} == {
        "bone": "radius",
        "bone_overlap": 0.8333,
        "bone_confidence": 0.9,
        "bone_third": "distal",
        "outside_bone": False,
        "text": {
            "en": "suspected fracture: radius, distal third",
            "ru": "подозрение на перелом: лучевая кость, дистальная треть",
        },
    }


@pytest.mark.parametrize(
    ("corner", "seen"),
    [((1, 2), 12), ((-1, -1), 6), ((8, 8), 4), ((10, 3), 0), ((3, -4), 0), ((-9, 3), 0), ((3, 40), 0)],
)
def test_a_bone_on_the_whole_picture_is_cut_at_its_border(corner: tuple[int, int], seen: int) -> None:
    mask = bone(corner_xy_px=corner).on(10, 10)
    assert (mask.shape, int(mask.sum())) == ((10, 10), seen)
    if seen:
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min()) == (max(corner[0], 0), max(corner[1], 0))


def test_findings_are_equal_whatever_time_they_took() -> None:
    assert findings() == findings(timing_ms={"total": 9.0})
    assert findings() != findings(decision="fracture")


def test_sixteen_bits_become_eight_and_back_exactly() -> None:
    levels = np.arange(256, dtype=np.uint16)[None]
    deep = Radiograph(levels * 257, "a", "b")
    np.testing.assert_array_equal(deep.as_uint8(), levels)
    assert (deep.white, deep.height_px, deep.width_px) == (65535, 1, 256)
    assert Radiograph(levels.astype(np.uint8), "a", "b").white == 255


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (2, 2, 3), (4,)])
def test_a_radiograph_is_grey_and_not_empty(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidImage):
        Radiograph(np.zeros(shape, np.uint8), "a", "b")


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.bool_, ">u2"])
def test_pixels_of_another_type_are_a_programming_mistake(kind: str) -> None:
    with pytest.raises(ValueError, match="expected uint8 or uint16"):
        Radiograph(np.zeros((2, 2), kind), "a", "b")
