"""The laws of the pipeline, on real sessions."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import models
from osteon.errors import ModelMismatch
from osteon.geometry import iou
from osteon.inference.card import Calibration, OperatingPoint, PictureScale
from osteon.inference.pipeline import Lazy, Pipeline
from osteon.inference.session import Session
from osteon.radiograph import Radiograph


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> models.ModelFiles:
    return models.model_files(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def pipeline(files: models.ModelFiles) -> Pipeline:
    return Pipeline.bundled(gate=files.gate, detector=files.detector, threads=1)


def radiograph(spot: int = 255, **size: int) -> Radiograph:
    return Radiograph(models.radiograph_pixels(spot=spot, **size), "drawn.png", "0" * 64)


def photograph() -> Radiograph:
    grey = models.photograph_pixels().mean(axis=2).astype(np.uint8)
    return Radiograph(grey, "photo.png", "1" * 64)


def timeless(value: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name != "timing_ms"}


def test_fifty_threads_at_once_load_one_detector(files: models.ModelFiles) -> None:
    loads: list[int] = []

    def load() -> Session:
        loads.append(threading.get_ident())
        return Session(files.detector, task="detector", threads=1)

    pipeline = Pipeline(Session(files.gate, task="gate", threads=1), Lazy(load))
    barrier = threading.Barrier(50)
    seen: list[tuple[int, str]] = []

    def ask() -> None:
        barrier.wait()
        session = pipeline.detector()
        seen.append((id(session), pipeline.analyse(radiograph(height_px=90, width_px=70)).decision))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 50
    assert len(set(seen)) == 1
    assert len(loads) == 1


def test_photographs_alone_never_load_the_detector(files: models.ModelFiles) -> None:
    pipeline = Pipeline.bundled(gate=files.gate, detector=Path("nowhere.onnx"), threads=1)
    for _ in range(3):
        findings = pipeline.analyse(photograph())
        assert findings.decision == "not_a_radiograph"
        assert findings.detector is None
        assert findings.fractures == ()
        assert "detect" not in findings.timing_ms
    assert not pipeline.detector.loaded
    with pytest.raises(ModelMismatch):
        pipeline.analyse(radiograph())


def test_a_detector_that_failed_to_load_is_asked_for_again(files: models.ModelFiles, tmp_path: Path) -> None:
    late = tmp_path / "late.onnx"
    pipeline = Pipeline.bundled(gate=files.gate, detector=late, threads=1)
    with pytest.raises(ModelMismatch):
        pipeline.analyse(radiograph())
    late.write_bytes(files.detector.read_bytes())
    assert pipeline.analyse(radiograph()).decision == "fracture"


@pytest.mark.parametrize(("spot", "decision"), [(255, "fracture"), (200, "doubt"), (150, "no_fracture")])
def test_grades_are_the_cards_operating_points(pipeline: Pipeline, spot: int, decision: str) -> None:
    findings = pipeline.analyse(radiograph(spot))
    assert findings.decision == decision
    card = models.detector_card()
    for fracture in findings.fractures:
        assert fracture.score >= card.cut("doubt")
        assert fracture.grade == ("fracture" if fracture.score >= card.cut("fracture") else "doubt")
        assert fracture.probability == pytest.approx(fracture.score, abs=1e-5)
    assert bool(findings.fractures) == (decision != "no_fracture")


def test_the_box_lies_on_the_drawn_fracture_in_image_pixels(pipeline: Pipeline) -> None:
    found = pipeline.analyse(radiograph(height_px=1500, width_px=800)).fractures[0]
    truth = np.array([models.spot_box_px(1500, 800)], np.float32)
    assert iou(np.array([found.box_xyxy_px], np.float32), truth)[0, 0] > 0.3


@pytest.mark.parametrize("spot", [255, 200, 150])
@pytest.mark.parametrize("min_score", [0.0, 0.05, 0.3, 0.5, 0.71, 1.0])
def test_the_decision_does_not_depend_on_min_score(pipeline: Pipeline, spot: int, min_score: float) -> None:
    usual = pipeline.analyse(radiograph(spot))
    other = pipeline.analyse(radiograph(spot), min_score=min_score)
    assert other.decision == usual.decision
    assert all(f.score >= min_score for f in (*other.fractures, *other.candidates))
    assert set(other.fractures) == {f for f in usual.fractures if f.score >= min_score}


def test_min_score_above_doubt_leaves_out_the_weaker_fractures(pipeline: Pipeline) -> None:
    doubtful = pipeline.analyse(radiograph(200))
    assert doubtful.fractures
    assert pipeline.analyse(radiograph(200), min_score=0.69).fractures == ()


def test_candidates_lie_below_doubt_and_come_only_when_asked_for(pipeline: Pipeline) -> None:
    assert pipeline.analyse(radiograph(200)).candidates == ()
    candidates = pipeline.analyse(radiograph(165), min_score=0.01).candidates
    assert candidates
    assert all(c.grade is None and 0.01 <= c.score < models.detector_card().cut("doubt") for c in candidates)


def test_bone_is_shown_where_it_is_drawn(pipeline: Pipeline) -> None:
    bone = pipeline.bone(radiograph(150))
    assert bone.present
    assert bone.area_fraction == pytest.approx(0.27, abs=0.05)
    assert bone.probability_map is not None
    height, width = bone.probability_map.shape
    assert width / height == pytest.approx(700 / 900, abs=0.01)
    assert bone.probability_map[height // 4, width // 2] > 0.9
    assert bone.probability_map[height // 4, width // 8] < 0.1


@pytest.mark.parametrize(
    ("spot", "wanted", "grades"),
    [
        (255, 0.9, ["fracture"]),
        (255, 0.5, ["doubt"]),
        (255, 0.1, []),
        (200, 0.9, ["fracture"]),
        (165, 0.5, ["doubt"]),
    ],
)
def test_a_picture_is_judged_as_a_whole(
    files: models.ModelFiles, tmp_path: Path, spot: int, wanted: float, grades: list[str]
) -> None:
    """Whatever its best box says: a quiet picture's boxes have no grade, a suspicious one shows its best."""
    plain = Pipeline.bundled(gate=files.gate, detector=files.detector, threads=1)
    mass = plain.detections(radiograph(spot), min_score=0.0).mass
    assert mass
    scale = PictureScale(2.0, float(np.log(wanted / (1 - wanted)) - 2 * np.log(mass)), Calibration(1.0, 0.0))
    card = models.detector_card(picture=scale)
    onnx.save(models.detector_model(card), str(tmp_path / "detector.onnx"))
    whole = Pipeline.bundled(gate=files.gate, detector=tmp_path / "detector.onnx", threads=1)
    found = whole.analyse(radiograph(spot))
    assert found.decision == (grades[0] if grades else "no_fracture")
    assert [each.grade for each in found.fractures][:1] == grades
    assert found.suspicion and found.suspicion.score == pytest.approx(wanted, abs=1e-5)
    assert found.suspicion.probability == pytest.approx(wanted, abs=1e-5)
    assert found.to_json()["suspicion"] == {"score": wanted, "probability": wanted}
    boxes = {each.box_xyxy_px for each in (*found.fractures, *found.candidates)}
    assert {each.box_xyxy_px for each in plain.analyse(radiograph(spot)).fractures} <= boxes, "none is lost"
    for least in (0.0, 0.5):
        assert whole.analyse(radiograph(spot), min_score=least).decision == found.decision


def test_both_cuts_of_the_gate_must_be_reached(files: models.ModelFiles, tmp_path: Path) -> None:
    for name in ("area_fraction", "confidence"):
        points = dict(models.gate_card().operating_points) | {name: OperatingPoint(1.0)}
        onnx.save(models.gate_model(models.gate_card(operating_points=points)), str(tmp_path / "gate.onnx"))
        strict = Pipeline.bundled(gate=tmp_path / "gate.onnx", detector=files.detector, threads=1)
        assert strict.analyse(radiograph()).decision == "not_a_radiograph"


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_odd_pictures_are_answered(pipeline: Pipeline, shape: tuple[int, int], kind: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    findings = pipeline.analyse(Radiograph(pixels, "odd", "0"), min_score=0.0)
    assert (findings.height_px, findings.width_px) == shape
    for fracture in (*findings.fractures, *findings.candidates):
        x0, y0, x1, y1 = fracture.box_xyxy_px
        assert 0 <= x0 < x1 <= shape[1]
        assert 0 <= y0 < y1 <= shape[0]


def test_threads_side_by_side_find_what_one_finds(pipeline: Pipeline) -> None:
    spots = [255, 200, 150, 230] * 4
    alone = [timeless(pipeline.analyse(radiograph(spot)).to_json()) for spot in spots]
    beside: list[dict[str, Any]] = [{}] * len(spots)

    def work(index: int) -> None:
        beside[index] = timeless(pipeline.analyse(radiograph(spots[index])).to_json())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(spots))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert beside == alone


def test_timing_tells_reading_and_the_whole(pipeline: Pipeline) -> None:
    timing = pipeline.analyse(radiograph(), read_ms=7.0).timing_ms
    assert list(timing) == ["read", "gate", "detect", "total"]
    assert timing["total"] >= 7.0 + timing["gate"] + timing["detect"]


def test_a_colourful_picture_shows_no_bone(pipeline: Pipeline) -> None:
    """Bone is grey: the same pixels pass as a film and are turned away in the colours of skin."""
    film = Radiograph(models.radiograph_pixels(324, 260), "film", "")
    assert pipeline.bone(film).present
    for chroma, present in ((0.1, True), (0.13, False)):
        findings = pipeline.analyse(replace(film, chroma=chroma))
        assert findings.bone.present == present
        assert (findings.decision == "not_a_radiograph") == (not present)
