"""Records of bones read back as they were, and folds of them are read as one cross-validation."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from outlined_pictures import bone, picture, random_pictures, region

from osteon.datasets.case import Case, Instance
from osteon.errors import InvalidDataset
from osteon.evaluation import bone_records
from osteon.evaluation.bone_folds import bone_folds
from osteon.evaluation.bone_recording import drawn
from osteon.evaluation.bone_records import BoneOrigin, BoneRecords
from osteon.evaluation.instance_figures import report
from osteon.evaluation.instance_tables import COLUMNS, markdown
from osteon.evaluation.instances import Outlined
from osteon.evaluation.plain import plain
from osteon.inference.bones import Cuts

LABELS = ("radius", "ulna", "implant")
ORIGIN = BoneOrigin("drawn", "1", "ab", LABELS, Cuts(0.4, 0.3), 0.02, "hash", "fold1")
LEFT, RIGHT = (5, 10, 15, 50), (30, 10, 40, 50)


def records(seed: int, part: str, *, count: int = 8) -> BoneRecords:
    pictures = [replace(each, name=f"{part}-{each.name}") for each in random_pictures(seed, count=count)]
    return BoneRecords(replace(ORIGIN, part=part), tuple(pictures))


@pytest.mark.parametrize("name", ["bones.jsonl", "deeper/bones.jsonl.gz"])
def test_records_read_back_to_the_last_bit(name: str, tmp_path: Path) -> None:
    written = records(5, "fold1")
    gate = replace(written.pictures[0], gate=region(LEFT), gate_saw=False)
    written = BoneRecords(written.origin, (gate, *written.pictures[1:]))
    bone_records.write(written, tmp_path / name)
    found = bone_records.read(tmp_path / name)
    assert found.origin == written.origin
    assert sum(len(each.found) for each in found.pictures) > 20
    for mine, theirs in zip(found.pictures, written.pictures, strict=True):
        assert (mine.name, mine.facts, mine.gate_saw) == (theirs.name, theirs.facts, theirs.gate_saw)
        assert np.array_equal(mine.ignored, theirs.ignored)
        assert (mine.gate is None) == (theirs.gate is None)
        for one, other in zip((*mine.found, *mine.truth), (*theirs.found, *theirs.truth), strict=True):
            assert (one.label, one.score, one.box_xyxy_px) == (other.label, other.score, other.box_xyxy_px)
            assert one.corner_xy_px == other.corner_xy_px and np.array_equal(one.mask, other.mask)
    assert found.pictures[0].gate is not None and np.array_equal(found.pictures[0].gate, region(LEFT))
    cuts = [found.origin.cuts] * len(found.pictures)
    assert plain(report(found.pictures, LABELS, cuts, samples=3)) == plain(
        report(written.pictures, LABELS, cuts, samples=3)
    )


@pytest.mark.parametrize("text", ["", "[]", "3\n", '{"osteon_bones": 99}', '{"osteon_records": 1}', "{"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(text)
    with pytest.raises(InvalidDataset, match=r"other\.jsonl"):
        bone_records.read(file)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bent.jsonl.gz"
    bone_records.write(records(5, "fold1"), file)
    file.write_bytes(file.read_bytes()[:20] + b"\xff" * 40)
    with pytest.raises(InvalidDataset, match=r"bent\.jsonl\.gz"):
        bone_records.read(file)


def test_a_mask_whose_runs_do_not_add_up_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bent.jsonl"
    bone_records.write(records(5, "fold1"), file)
    head, first, *rest = file.read_text().splitlines()
    bent = json.loads(first) | {"ignored": {"size": [60, 50], "counts": "3"}}
    file.write_text("\n".join([head, json.dumps(bent), *rest]))
    with pytest.raises(InvalidDataset):
        bone_records.read(file)


def test_drawn_objects_become_tight_masks_and_regions() -> None:
    square = np.array([[10.0, 20.0], [20.0, 20.0], [20.0, 40.0], [10.0, 40.0]])
    instances = (
        Instance("radius", (10, 20, 20, 40), (square,)),
        Instance("ignore", (0, 0, 5, 5), (np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 5.0], [0.0, 5.0]]),), ignore=True),
        Instance("ulna", (1, 1, 4, 4)),
        Instance("fractured", (10, 20, 15, 25), (square / 2,)),
    )
    (radius,), ignored = drawn(Case("film.png", Path(), instances=instances), (60, 50))
    assert (radius.label, radius.corner_xy_px, radius.score) == ("radius", (10, 20), 1)
    assert radius.area_px == 200
    assert ignored[2, 2] and not ignored[10, 10]


def fold(part: str, scores: Sequence[float], *, wrong: float) -> BoneRecords:
    """One bone hit at each score, and a false one on each picture."""
    pictures: list[Outlined] = [
        picture(
            [bone(LEFT, label="radius", score=score), bone(RIGHT, label="ulna", score=wrong)],
            [bone(LEFT, label="radius")],
            name=f"{part}-{number}",
        )
        for number, score in enumerate(scores)
    ]
    return BoneRecords(replace(ORIGIN, part=part), tuple(pictures))


def test_each_fold_is_cut_where_the_other_folds_are_best() -> None:
    found = bone_folds([fold("a", [0.9, 0.8], wrong=0.7), fold("b", [0.4, 0.35], wrong=0.1)], samples=5)
    assert [cuts["bone"] for cuts in found["cuts"]["cross_fitted"]] == pytest.approx([0.35, 0.8], abs=2e-6)
    a, b = found["folds"]
    assert (a["figures"]["recall"], a["figures"]["precision"]) == (1, 0.5)
    assert b["figures"]["recall"] == 0
    assert found["figures"]["recall"] == 0.5
    assert found["mean"]["recall"] == 0.5 and found["spread"]["recall"] == pytest.approx(math.sqrt(0.5))


def test_folds_pool_into_all_pictures() -> None:
    parts = [records(seed, f"fold{seed}") for seed in (1, 2, 3)]
    found = bone_folds(parts, samples=3)
    together = [each for part in parts for each in part.pictures]
    cuts = [Cuts(**each) for each in found["cuts"]["cross_fitted"] for _ in range(8)]
    expected = report(together, LABELS, cuts, samples=3)
    assert found["pictures"] == 24
    assert plain(found["figures"]) == plain(expected["figures"])
    assert plain(found["by_class"]) == plain(expected["by_class"])


def test_folds_that_do_not_belong_together_are_refused() -> None:
    first, second = records(1, "fold1"), records(2, "fold2")
    with pytest.raises(InvalidDataset, match="two or more"):
        bone_folds([first])
    with pytest.raises(InvalidDataset, match="more than one fold"):
        bone_folds([first, replace(first, origin=replace(ORIGIN, part="fold2"))])
    with pytest.raises(InvalidDataset, match="2 splits"):
        bone_folds([first, replace(second, origin=replace(second.origin, split_hash="x"))])
    with pytest.raises(InvalidDataset, match="different classes"):
        bone_folds([first, replace(second, origin=replace(second.origin, labels=("bone",)))])


def test_tables_have_a_row_for_each_part_class_and_fold() -> None:
    found = bone_folds([records(1, "fold1"), records(2, "fold2")], samples=5)
    text = markdown(found)
    for start in ("all", "hand", "leg", "radius", "implant", "fold2", "mean ± sd"):
        assert text.count(f"\n| {start} |") + text.startswith(f"| {start} |") == 1, start
    assert text == markdown(json.loads(json.dumps(found).replace("NaN", "null"))) and "nan" not in text
    widths = {line.count("|") for line in text.split("\n\n")[0].splitlines()}
    assert widths == {len(COLUMNS) + 4}
