"""Damaged, exchanged and wrongly run models are found; the released ones are as released."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import bone_judges
import models
from osteon.errors import ModelMismatch
from osteon.inference.pipeline import DETECTOR_FILE, GATE_FILE
from osteon.inference.verification import EXPECTED_FILE, PICTURE_FILE, Check, store, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Drawn models with their known picture and what is expected of them."""
    models.model_files(tmp_path)
    assert cv2.imwrite(str(tmp_path / PICTURE_FILE), models.radiograph_pixels(450, 350))
    store(tmp_path)
    return tmp_path


def with_bones(folder: Path) -> Path:
    models.bones_file(folder)
    store(folder)
    return folder


def test_a_judge_is_verified_where_the_release_lists_it(folder: Path) -> None:
    file = bone_judges.write_judge(folder / "bone-judge.onnx")
    assert "bone-judge.onnx" not in problems(folder)
    store(folder)
    assert problems(folder)["bone-judge.onnx"] == ()
    damage = json.loads((folder / EXPECTED_FILE).read_text())["models"]["bone-judge.onnx"]["finds"]["damage"]
    assert len(set(damage)) > 1, "strips must differ"
    changed(file, "one", 1.5)
    assert any("damage on the known picture differs" in problem for problem in problems(folder)["bone-judge.onnx"])


def problems(folder: Path) -> dict[str, tuple[str, ...]]:
    return {check.file: check.problems for check in verify(folder)}


def changed(file: Path, constant: str, factor: float) -> None:
    """The model with one of its constants multiplied."""
    model = onnx.load(str(file))
    (tensor,) = [t for t in model.graph.initializer if t.name == constant]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), constant))
    onnx.save(model, str(file))


def test_models_as_stored_are_as_released(folder: Path) -> None:
    assert verify(folder) == [Check("gate.onnx", ()), Check("detector.onnx", ())]
    expected = json.loads((folder / EXPECTED_FILE).read_text())["models"]
    assert expected["detector.onnx"]["finds"]["scores"], "the known picture must show something"


def test_the_installed_models_are_the_released_ones() -> None:
    """Fails where a model was exchanged without `osteon models verify --store`."""
    if not (GATE_FILE.is_file() and DETECTOR_FILE.is_file()):
        pytest.skip(f"no released models in {Path(*GATE_FILE.parts[-3:-1])}")
    checks = verify()
    assert [check.file for check in checks][:3] == ["gate.onnx", "detector.onnx", "detector-float.onnx"]
    assert not any(check.problems for check in checks)


def test_a_bones_model_is_verified_where_the_release_lists_it(folder: Path) -> None:
    models.bones_file(folder)
    assert "bones.onnx" not in problems(folder)
    with_bones(folder)
    assert problems(folder) == {"gate.onnx": (), "detector.onnx": (), "bones.onnx": ()}
    finds = json.loads((folder / EXPECTED_FILE).read_text())["models"]["bones.onnx"]["finds"]
    assert finds.keys() == {"radius", "carpals"}
    (folder / "bones.onnx").unlink()
    assert problems(folder)["bones.onnx"] == ("the file is missing",)


@pytest.mark.parametrize(
    ("constant", "factor", "said"),
    [
        ("gain", 0.9, "carpals: a box on the known picture scores"),
        ("gain", 0.3, "is not found"),
        ("anchors", 1.2, "is not found"),
        ("bright", 1.7, "radius: an unexpected box"),
    ],
)
def test_a_bones_model_that_finds_something_else_is_told(folder: Path, constant: str, factor: float, said: str) -> None:
    changed(with_bones(folder) / "bones.onnx", constant, factor)
    assert any(said in problem for problem in problems(folder)["bones.onnx"])


def test_masks_that_cover_more_or_less_in_the_same_box_are_told(folder: Path) -> None:
    file = with_bones(folder) / EXPECTED_FILE
    expected = json.loads(file.read_text())
    finds = expected["models"]["bones.onnx"]["finds"]["radius"]
    finds["areas_px"] = [area * 1.2 for area in finds["areas_px"]]
    file.write_text(json.dumps(expected))
    (problem,) = problems(folder)["bones.onnx"]
    assert problem.startswith("radius: masks on the known picture cover")


def test_a_missing_file_is_told(folder: Path) -> None:
    (folder / "gate.onnx").unlink()
    assert problems(folder) == {"gate.onnx": ("the file is missing",), "detector.onnx": ()}


def test_a_damaged_file_is_told(folder: Path) -> None:
    content = (folder / "detector.onnx").read_bytes()
    (folder / "detector.onnx").write_bytes(content[: len(content) // 2])
    first, second = problems(folder)["detector.onnx"]
    assert first.startswith("sha256 is ")
    assert "no model that ONNX Runtime can load" in second


def test_another_file_that_finds_the_same_differs_in_its_sha256_only(folder: Path) -> None:
    onnx.save(models.detector_model(models.detector_card(version="2")), str(folder / "detector.onnx"))
    (problem,) = problems(folder)["detector.onnx"]
    assert problem.startswith("sha256 is ")


@pytest.mark.parametrize(
    ("file", "constant", "factor", "said"),
    [
        ("detector.onnx", "two", 0.8, "a box on the known picture scores"),
        ("detector.onnx", "two", 0.0, "is not found"),
        ("detector.onnx", "anchors", 1.2, "is not found"),
        ("detector.onnx", "anchors", 1.2, "an unexpected box"),
        ("gate.onnx", "bright", 1.4, "bone probability on the known picture differs"),
        ("gate.onnx", "bright", 3.0, "area fraction on the known picture is 0.000"),
        ("gate.onnx", "steep", 0.3, "confidence on the known picture is"),
    ],
)
def test_a_model_that_finds_something_else_is_told(
    folder: Path, file: str, constant: str, factor: float, said: str
) -> None:
    changed(folder / file, constant, factor)
    found = problems(folder)
    assert any(said in problem for problem in found.pop(file))
    assert list(found.values()) == [()]


def test_small_differences_of_processors_are_none(folder: Path) -> None:
    changed(folder / "detector.onnx", "two", 0.99)
    changed(folder / "gate.onnx", "steep", 0.99)
    assert [len(problem) for problem in problems(folder).values()] == [1, 1]  # the sha256s


def test_without_its_list_or_picture_nothing_can_be_verified(folder: Path) -> None:
    (folder / PICTURE_FILE).write_bytes(b"\x89PNG")
    with pytest.raises(ModelMismatch, match="not the released picture"):
        verify(folder)
    for text in ("", "{}", '{"picture_sha256": "0", "models": {}}', "[]"):
        (folder / EXPECTED_FILE).write_text(text)
        with pytest.raises(ModelMismatch, match=r"expected\.json cannot be read"):
            verify(folder)
    (folder / EXPECTED_FILE).unlink()
    with pytest.raises(ModelMismatch, match=r"no file expected\.json"):
        verify(folder)
