"""Records hold all that later analyses need, and give back what a run with the model gave."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_detection_figures import drawn_pictures

import models
from osteon.datasets.synthetic import write_dataset
from osteon.errors import InvalidDataset
from osteon.evaluation import records
from osteon.evaluation.detection import Judged
from osteon.evaluation.judge import MIN_SCORE, record_detector, truth_boxes
from osteon.evaluation.records import Facts, Origin, Record, Records
from osteon.files import read
from osteon.inference.postprocess import detections
from osteon.inference.session import Session
from osteon.preprocess import letterbox

ORIGIN = Origin("drawn", "1", "", 0.5, 0.005, "abc", "fold1")
FACTS = Facts(400, 300, "hand", ("frontal", "lateral"), None, True)


def drawn_records(seed: int = 0) -> Records:
    kept = [Record(p, FACTS, None if i % 2 else bool(i % 4)) for i, p in enumerate(drawn_pictures(seed, whole=False))]
    return Records(ORIGIN, tuple(kept))


@pytest.mark.parametrize("name", ["records.jsonl", "deeper/records.jsonl.gz"])
def test_records_read_back_to_the_last_bit(name: str, tmp_path: Path) -> None:
    written = drawn_records()
    records.write(written, tmp_path / name)
    found = records.read(tmp_path / name)
    assert found.origin == ORIGIN
    for mine, theirs in zip(found.pictures, written.pictures, strict=True):
        assert (mine.judged.name, mine.facts, mine.shows_bone) == (theirs.judged.name, FACTS, theirs.shows_bone)
        assert np.array_equal(mine.judged.found.boxes_xyxy_px, theirs.judged.found.boxes_xyxy_px)
        assert np.array_equal(mine.judged.found.scores, theirs.judged.found.scores)
        assert np.array_equal(mine.judged.truth_xyxy_px, theirs.judged.truth_xyxy_px)
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_a_file_is_the_same_each_time_and_plain_json_inside(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        records.write(drawn_records(), tmp_path / name)
    content = (tmp_path / "a.jsonl.gz").read_bytes()
    assert content == (tmp_path / "b.jsonl.gz").read_bytes()
    head, first, *_ = gzip.decompress(content).splitlines()
    assert json.loads(head)["iou_threshold"] == 0.5
    assert json.loads(first).keys() >= {"name", "found", "truth", "facts"}


@pytest.mark.parametrize(
    "text", ["", "[]", "3\n", '{"osteon_records": 99}', '{"osteon_records": 1, "name": "x"}', "\x00", "{"]
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(text)
    with pytest.raises(InvalidDataset, match=r"other\.jsonl"):
        records.read(file)
    with pytest.raises(InvalidDataset):
        records.read(tmp_path / "none.jsonl.gz")


def test_a_picture_with_a_row_too_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "short.jsonl"
    records.write(drawn_records(), file)
    head, *lines = file.read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"found": [[1, 2, 3, 4]]})
    file.write_text("\n".join([head, *lines]))
    with pytest.raises(InvalidDataset):
        records.read(file)


def test_records_of_a_model_give_what_judging_with_it_gives(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "drawn", count=6)
    session = Session(models.model_files(tmp_path).detector, task="detector", threads=1)
    expected = []
    for case in manifest:
        square = letterbox(read(case.path)[0].pixels, side_px=session.card.side_px)
        boxes, scores = session.run(square.pixels)
        least, most = MIN_SCORE, session.card.iou_threshold
        found = detections(boxes, scores, square.placement, min_score=least, iou_threshold=most)
        expected.append(Judged(case.name, found, truth_boxes(case)))
    seen: list[int] = []

    def shows_bone(radiograph: object) -> bool:
        seen.append(1)
        return len(seen) != 2

    made = record_detector(session, manifest.cases, part="valid", shows_bone=shows_bone)
    assert made.origin.part == "valid" and made.origin.sha256 == session.ref.sha256
    assert [p.shows_bone for p in made.pictures] == [True, False, True, True, True, True]
    assert made.pictures[0].facts.body_part == manifest.cases[0].body_part != ""
    assert (made.pictures[0].facts.height_px, made.pictures[0].facts.width_px) == (454, 373)
    assert sum(len(p.judged.found) for p in made.pictures) > sum(len(p.found) for p in expected) > 0
    for mine, theirs in zip(made.judged(), expected, strict=True):
        assert mine.name == theirs.name
        assert np.array_equal(mine.found.boxes_xyxy_px, theirs.found.boxes_xyxy_px)
        assert np.array_equal(mine.found.scores, theirs.found.scores)
        assert np.array_equal(mine.truth_xyxy_px, theirs.truth_xyxy_px)


def test_a_model_run_elsewhere_is_asked_instead_of_the_session(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "drawn", count=2)
    session = Session(models.model_files(tmp_path).detector, task="detector", threads=1)
    sides: list[tuple[int, ...]] = []

    def run(square: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        sides.append(square.shape)
        return [np.array([[8, 8, 16, 16]], np.float32), np.array([0.7], np.float32)]

    made = record_detector(session, manifest.cases, run=run)
    assert sides == [(session.card.side_px, session.card.side_px)] * 2
    assert [p.judged.found.scores.tolist() for p in made.pictures] == [pytest.approx([0.7])] * 2


def test_variants_of_suppression_differ() -> None:
    made = drawn_records()
    boxes = {t: sum(len(p.found) for p in made.judged(iou_threshold=t)) for t in (0.2, 0.5, 0.9)}
    assert boxes[0.2] < boxes[0.5] < boxes[0.9]
    least = made.judged(min_score=0.5)
    assert min(p.found.scores.min() for p in least if len(p.found)) >= 0.5
    voted, plain = made.judged(voting_iou=0.5), made.judged()
    assert any(
        not np.array_equal(v.found.boxes_xyxy_px, p.found.boxes_xyxy_px) for v, p in zip(voted, plain, strict=True)
    )
