"""torch equals ONNX, and a released model carries its cuts."""

from dataclasses import asdict, replace
from pathlib import Path

import drawn
import numpy as np
import onnx
import pytest
import torch

import builders
import models
from osteon.datasets.case import Case, Instance, Manifest
from osteon.errors import ConfigurationError, InvalidDataset, ModelMismatch
from osteon.inference.pipeline import Pipeline
from osteon.inference.session import Session, read_card
from osteon.preprocess import letterbox
from osteon.radiograph import Radiograph
from osteon.training.architectures import DETECTORS, GATES, build, start
from osteon.training.checkpoint import Checkpoint
from osteon.training.export import DetectorOutput, export, parity
from osteon.training.quantise import quantise
from osteon.training.release import PARITY_TOLERANCE, Release, release

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit
SIDE = 96
ABOUT = Release("osteon-test", "1.2.3", "Apache-2.0", "drawn pictures")


def checkpoint(task: str, arch: str, *, split_hash: str = "") -> Checkpoint:
    """Random weights with statistics of drawn pictures."""
    torch.manual_seed(1)
    model = build(task, arch).train()
    with torch.no_grad():
        for seed in range(3):
            picture = letterbox(builders.drawing(90, 96, seed=seed).pixels, side_px=SIDE).pixels
            model(torch.from_numpy(np.stack([picture, picture.T]))[:, None])
    settings = {"gate": asdict(drawn.GATE), "detector": asdict(drawn.DETECTOR)}
    settings[task]["side_px"] = SIDE
    return Checkpoint(task, arch, model.state_dict(), settings, split_hash, 2, {}, {})


@pytest.mark.parametrize("arch", [*GATES, *DETECTORS])
def test_torch_equals_onnx_whatever_the_size_of_the_picture(arch: str, tmp_path: Path) -> None:
    task = "gate" if arch in GATES else "detector"
    card = (models.gate_card if task == "gate" else models.detector_card)(side_px=SIDE)
    saved = checkpoint(task, arch)
    path = tmp_path / "model.onnx"
    export(saved, path, card)
    sizes = [(SIDE, SIDE), (120, 90), (40, 300), (500, 333), (7, 5)]
    squares = [letterbox(builders.drawing(*size).pixels, side_px=SIDE).pixels for size in sizes]
    result = parity(saved, path, squares)
    assert result.pictures == 5
    assert set(result.largest) == ({"probabilities"} if task == "gate" else {"boxes", "scores"})
    for name, largest in result.largest.items():
        assert largest <= PARITY_TOLERANCE[name] / 5, name
    outputs = Session(path, task=card.task).run(squares[1])
    assert all(output.std() > 0 for output in outputs)
    assert read_card(path)[0] == card
    content = path.read_bytes()
    for trace in (b"/work", b"site-packages", str(Path.home()).encode() + b"/", b'File "'):
        assert trace not in content, trace


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, drawn.Split]:
    return drawn.films(tmp_path_factory.mktemp("films"), train=2, valid=6)


def test_a_released_gate_carries_cuts_that_turn_away_no_radiograph(
    films: tuple[Manifest, drawn.Split], tmp_path: Path
) -> None:
    manifest, split = films
    path = tmp_path / "gate.onnx"
    saved = checkpoint("gate", "segnet", split_hash=split.hash)
    card, difference = release(saved, path, ABOUT, manifest=manifest, split=split)
    assert set(card.operating_points) == {"area_fraction", "confidence"}
    assert (card.name, card.version, card.split_hash, card.side_px) == ("osteon-test", "1.2.3", split.hash, SIDE)
    assert card.metrics["recall"] == 1
    assert card.metrics["radiographs"] == 6
    assert card.settings["epoch"] == 2
    assert difference.pictures > 0
    assert read_card(path)[0] == card
    assert [file.name for file in tmp_path.iterdir()] == ["gate.onnx"]
    pipeline = Pipeline.bundled(gate=path, detector=tmp_path / "none.onnx", threads=1)
    for case in split.select(manifest, "valid"):
        if case.radiograph:
            (radiograph,) = _read(case)
            assert pipeline.bone(radiograph).present, case.name


def _read(case: Case) -> list[Radiograph]:
    from osteon.files import read

    return read(case.path)


def test_a_released_detector_carries_both_operating_points_and_a_calibration(
    films: tuple[Manifest, drawn.Split], tmp_path: Path
) -> None:
    """An untrained detector's boxes cover the small picture: so does this truth."""
    manifest, split = films
    whole = (Instance("fracture", (0.0, 0.0, 90.0, 110.0)),)
    cases = tuple(replace(c, instances=whole if c.fractured else ()) for c in manifest if c.radiograph)
    path = tmp_path / "detector.onnx"
    saved = checkpoint("detector", "nanocsp", split_hash=split.hash)
    card, _ = release(saved, path, ABOUT, manifest=Manifest("drawn", cases), split=split)
    assert set(card.operating_points) == {"fracture", "doubt"}
    assert card.cut("doubt") <= card.cut("fracture")
    assert card.calibration is not None
    assert (card.metrics["fractured_pictures"], card.metrics["normal_pictures"]) == (3, 3)
    assert read_card(path)[0] == card
    assert {"map50", "auroc", "calibration_error"} <= set(card.metrics)


def test_another_split_than_the_trainings_is_refused(films: tuple[Manifest, drawn.Split], tmp_path: Path) -> None:
    manifest, split = films
    saved = checkpoint("gate", "segnet", split_hash="of another")
    with pytest.raises(ModelMismatch, match="of another"):
        release(saved, tmp_path / "gate.onnx", ABOUT, manifest=manifest, split=split)
    assert list(tmp_path.iterdir()) == []


def test_a_release_that_fails_leaves_the_model_that_was_there(
    films: tuple[Manifest, drawn.Split], tmp_path: Path
) -> None:
    manifest, split = films
    only = Manifest("drawn", tuple(case for case in manifest if case.radiograph))
    path = tmp_path / "gate.onnx"
    path.write_bytes(b"the old model")
    saved = checkpoint("gate", "segnet", split_hash=split.hash)
    with pytest.raises(InvalidDataset):
        release(saved, path, ABOUT, manifest=only, split=split)
    assert path.read_bytes() == b"the old model"
    assert [file.name for file in tmp_path.iterdir()] == ["gate.onnx"]


def test_an_8_bit_detector_keeps_boxes_to_the_pixel(tmp_path: Path) -> None:
    saved = checkpoint("detector", "nanocsp")
    card = models.detector_card(side_px=SIDE)
    squares = [letterbox(builders.drawing(seed=seed).pixels, side_px=SIDE).pixels for seed in range(4)]
    export(saved, tmp_path / "float.onnx", card)
    quantise(tmp_path / "float.onnx", tmp_path / "small.onnx", squares)
    small = Session(tmp_path / "small.onnx", task="detector")
    assert small.card == card
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "float.onnx").stat().st_size / 3
    boxes, scores = small.run(squares[0])
    expected, its_scores = Session(tmp_path / "float.onnx", task="detector").run(squares[0])
    assert np.abs(boxes - expected).max() < 0.1  # boxes in 8 bit would move by half a pixel and more
    assert np.abs(scores - its_scores).mean() < 0.02


def test_the_first_stages_of_an_8_bit_detector_stay_in_float(tmp_path: Path) -> None:
    """Nothing is rounded before stage 2 takes what stage 1 gives: not between their convolutions either."""
    saved = checkpoint("detector", "nanocsp")
    export(saved, tmp_path / "float.onnx", models.detector_card(side_px=SIDE))
    squares = [letterbox(builders.drawing(seed=seed).pixels, side_px=SIDE).pixels for seed in range(2)]
    quantise(tmp_path / "float.onnx", tmp_path / "small.onnx", squares)
    nodes = list(onnx.load(tmp_path / "small.onnx").graph.node)
    first = next(i for i, node in enumerate(nodes) if node.op_type == "Conv" and "stages.2." in node.input[1])
    before = [node.op_type for node in nodes[:first] if node.op_type.startswith("Quantize")]
    assert before == ["QuantizeLinear"]
    assert sum(node.op_type == "Conv" for node in nodes[:first]) == 11
    assert sum(node.op_type == "QuantizeLinear" for node in nodes[first:]) > 20


class TestMirrored:
    @pytest.mark.parametrize("arch", ["nanocsp", "yolov8n"])
    def test_is_the_mean_of_the_picture_and_its_mirror_image(self, arch: str, tmp_path: Path) -> None:
        """Each point paired by hand with its mirror image, on three levels of cells."""
        saved, card = checkpoint("detector", arch), models.detector_card(side_px=SIDE)
        export(saved, tmp_path / "plain.onnx", card)
        export(saved, tmp_path / "both.onnx", card, mirrored=True)
        square = letterbox(builders.drawing(120, 90).pixels, side_px=SIDE).pixels
        plain, both = (Session(tmp_path / f"{name}.onnx", task="detector") for name in ("plain", "both"))
        boxes, scores = plain.run(square)
        other_boxes, other_scores = plain.run(np.ascontiguousarray(square[:, ::-1]))
        found_boxes, found_scores = both.run(square)
        points = [(x + 0.5, y + 0.5, s) for s in (8, 16, 32) for y in range(SIDE // s) for x in range(SIDE // s)]
        places = {point: index for index, point in enumerate(points)}
        assert len(points) == len(scores)
        for index, (x, y, stride) in enumerate(points):
            mirror = places[SIDE / stride - x, y, stride]
            x0, y0, x1, y1 = other_boxes[mirror]
            expected = (boxes[index] + np.array([SIDE - x1, y0, SIDE - x0, y1])) / 2
            np.testing.assert_allclose(found_boxes[index], expected, atol=1e-2)
            assert found_scores[index] == pytest.approx((scores[index] + other_scores[mirror]) / 2, abs=1e-5)
        same, other = (parity(saved, tmp_path / "both.onnx", [square], mirrored=each).largest for each in (True, False))
        assert same["boxes"] < 5e-3 and other["boxes"] > 2e-2

    def test_its_file_can_be_trained_on(self, tmp_path: Path) -> None:
        saved = checkpoint("detector", "nanocsp")
        export(saved, tmp_path / "both.onnx", models.detector_card(side_px=SIDE), mirrored=True)
        model = build("detector", "nanocsp")
        assert start(model, str(tmp_path / "both.onnx"))
        pixels = torch.rand(1, 1, SIDE, SIDE)
        expected = DetectorOutput(build_as(saved), DETECTORS["nanocsp"].decode).eval()(pixels)
        for mine, theirs in zip(
            DetectorOutput(model, DETECTORS["nanocsp"].decode).eval()(pixels), expected, strict=True
        ):
            assert torch.allclose(mine, theirs, atol=1e-2)

    def test_what_has_no_points_is_refused(self, films: tuple[Manifest, drawn.Split], tmp_path: Path) -> None:
        manifest, split = films
        for task, arch in (("gate", "segnet"), ("detector", "ssd300-vgg16")):
            saved = Checkpoint(task, arch, {}, {task: {"side_px": SIDE}}, split.hash, 2, {}, {})
            with pytest.raises(ConfigurationError, match="cannot be mirrored"):
                release(saved, tmp_path / "x.onnx", replace(ABOUT, mirrored=True), manifest=manifest, split=split)
        assert not list(tmp_path.iterdir())


def build_as(saved: Checkpoint) -> torch.nn.Module:
    """The model of a checkpoint."""
    model = build(saved.task, saved.arch)
    model.load_state_dict(saved.weights)
    return model
