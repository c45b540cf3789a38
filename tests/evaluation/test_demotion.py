"""What demotion of boxes outside of bones does to a detector's figures, on boxes whose truth is known."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import models
from osteon.cli import main
from osteon.datasets.case import Case
from osteon.evaluation import records
from osteon.evaluation.demotion import Covered, covered, demotion, lowered, record_covers
from osteon.evaluation.detection import Judged
from osteon.files import read
from osteon.findings import Bone
from osteon.inference.postprocess import Detections
from osteon.inference.session import Session

BONE = Bone("radius", 0.9, (0, 0, 50, 200), (0, 0), np.ones((200, 50), bool))
ON, OFF = (10, 10, 40, 40), (100, 100, 140, 140)


def picture(name: str, *rows: tuple[tuple[int, ...], float], truth: tuple[tuple[int, ...], ...] = ()) -> Judged:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    found = Detections(boxes, np.array([score for _, score in rows], np.float32))
    return Judged(name, found, np.array(truth, np.float32).reshape(-1, 4))


def test_each_grade_becomes_the_next_and_boxes_on_bones_stay() -> None:
    given = covered(picture("a", (OFF, 0.9), (ON, 0.8), (OFF, 0.5), (OFF, 0.1)), [BONE])
    assert given.covers.tolist() == [0.0, 1.0, 0.0, 0.0]
    found = lowered(given, fracture=0.7, doubt=0.3, least_cover=0.05).found
    assert found.scores.tolist() == pytest.approx([0.8, 0.3, 0.3, 0.1])
    assert [bool(score >= np.float32(0.3)) for score in found.scores] == [True, True, False, False]
    assert found.boxes_xyxy_px[0].tolist() == list(ON)


def test_figures_before_and_after() -> None:
    pictures = [
        covered(picture("true", (ON, 0.9), truth=(ON,)), [BONE]),
        covered(picture("false", (OFF, 0.9)), [BONE]),
        covered(picture("missed", (OFF, 0.9), truth=(OFF,)), [BONE]),
        covered(picture("healthy"), [BONE]),
    ]
    figures = demotion(pictures, fracture=0.7, doubt=0.3)
    before, after = figures["fracture"], figures["fracture, demoted"]
    assert (before["sensitivity"], before["specificity"], before["box_recall"]) == (1.0, 0.5, 1.0)
    assert (after["sensitivity"], after["specificity"], after["box_recall"]) == (0.5, 1.0, 0.5)
    assert before["boxes_outside"] == 2
    assert figures["doubt"] == figures["doubt, demoted"]


def test_where_no_bones_were_found_nothing_is_outside() -> None:
    assert covered(picture("a", (OFF, 0.9)), []).covers.tolist() == [1.0]


def test_a_model_is_run_once_over_the_pictures(tmp_path: Path) -> None:
    session = Session(models.bones_file(tmp_path), task="bones", threads=1)
    assert cv2.imwrite(str(tmp_path / "film.png"), models.radiograph_pixels(450, 350))
    cases = [Case("film.png", tmp_path / "film.png"), Case("other.png", tmp_path / "none.png")]
    inside, beside = (150, 100, 200, 150), (10, 100, 60, 150)
    (found,) = record_covers(session, [picture("film.png", (inside, 0.9), (beside, 0.8))], cases)
    assert isinstance(found, Covered)
    assert found.covers.tolist() == [1.0, 0.0]


def test_the_command_reads_records_and_tries_each_cover(tmp_path: Path) -> None:
    """A box half on the radius is inside at a cover of 0.05 and outside at 0.9; its film is healthy."""
    assert cv2.imwrite(str(tmp_path / "film.png"), models.radiograph_pixels(450, 350))
    bones = models.bones_file(tmp_path)
    (bone, *_) = models.pipeline(tmp_path).bones(read(tmp_path / "film.png")[0])
    x0, y0, x1, _ = bone.box_xyxy_px
    half = (int(x0 - (x1 - x0)), int(y0 + 5), int(x1), int(y0 + 45))
    judged = picture("film.png", (half, 0.99))
    origin = records.Origin("x", "0", "", 0.5, 0.0)
    records.write(records.Records(origin, (records.Record(judged, records.Facts(450, 350)),)), tmp_path / "a.jsonl.gz")
    annotations = {"images": [{"id": 1, "file_name": "film.png", "width": 350, "height": 450}], "annotations": []}
    (tmp_path / "set.json").write_text(json.dumps(annotations | {"categories": [{"id": 1, "name": "fracture"}]}))
    words = ["--data", tmp_path / "set.json", "--bones", bones, "--detector", models.model_files(tmp_path).detector]
    least = ["--least-cover", "0.05", "--least-cover", "0.9"]
    done = CliRunner().invoke(main, [str(w) for w in ("evaluate", "demotion", tmp_path / "a.jsonl.gz", *words, *least)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["pictures"] == 1
    low, high = (told["least_cover"][name]["fracture, demoted"] for name in ("0.05", "0.9"))
    assert (low["boxes_outside"], low["specificity"]) == (0, 0.0)
    assert (high["boxes_outside"], high["specificity"]) == (1, 1.0)
