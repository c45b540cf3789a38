"""torch equals ONNX, and a released model carries its cuts."""

from dataclasses import asdict, replace
from pathlib import Path

import drawn
import numpy as np
import pytest
import torch

import builders
import models
from osteon.datasets.case import Case, Instance, Manifest
from osteon.errors import InvalidDataset, ModelMismatch
from osteon.inference.pipeline import Pipeline
from osteon.inference.session import Session, read_card
from osteon.preprocess import letterbox
from osteon.radiograph import Radiograph
from osteon.training.architectures import DETECTORS, GATES, build
from osteon.training.checkpoint import Checkpoint
from osteon.training.export import export, parity
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
