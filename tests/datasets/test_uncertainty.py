"""Which films to outline next."""

import csv
from dataclasses import replace
from pathlib import Path

import dataset_builders as build
import numpy as np
import pytest

from osteon.datasets import uncertainty
from osteon.datasets.duplicates import fingerprint_of_pixels
from osteon.datasets.uncertainty import Candidate, Doubt
from osteon.findings import Bone
from osteon.radiograph import Radiograph

WIDTH_PX = 100


def bone(x: int, y: int, width: int, height: int, *, score: float = 1.0, label: str = "radius") -> Bone:
    """A block with its upper left pixel missing, so that it differs from its mirror image."""
    mask = np.ones((height, width), bool)
    mask[0, 0] = False
    return Bone(label, score, (x, y, x + width, y + height), (x, y), mask)


def mirrored(item: Bone) -> Bone:
    """As a model that does not care finds it on the mirror image."""
    x = WIDTH_PX - item.corner_xy_px[0] - item.mask.shape[1]
    return replace(item, corner_xy_px=(x, item.corner_xy_px[1]), mask=item.mask[:, ::-1])


def doubt(bones: list[Bone], others: list[Bone] | None = None) -> Doubt:
    others = [mirrored(item) for item in bones] if others is None else others
    return uncertainty.doubt(bones, others, width_px=WIDTH_PX)


def test_a_sure_model_that_agrees_with_itself_has_no_doubt() -> None:
    found = doubt([bone(5, 5, 10, 40), bone(30, 5, 8, 30, label="ulna")])
    assert (found.figure, found.alone, found.bones) == (0.0, 0, 2)


def test_no_bone_is_the_greatest_doubt() -> None:
    assert doubt([]).figure == 1.0
    assert doubt([], [bone(5, 5, 10, 40)]).figure == 1.0
    assert doubt([]).why == "no bone found"


def test_a_score_of_one_half_counts_by_area() -> None:
    large, small = bone(5, 5, 20, 60, score=0.5), bone(60, 5, 5, 5, score=0.99)
    assert doubt([large, small]).scores > 0.95
    sure, unsure = replace(large, score=0.99), replace(small, score=0.5)
    assert doubt([sure, unsure]).scores < 0.1


def test_a_bone_that_moves_in_the_mirror_agrees_by_its_overlap() -> None:
    there = bone(20, 10, 20, 40)
    moved = mirrored(bone(30, 10, 20, 40))
    assert doubt([there], [moved]).mirror == pytest.approx(1 - (400 - 1) / (1598 - 399), abs=0.005)


def test_a_bone_without_partner_agrees_with_nothing() -> None:
    first, second = bone(5, 5, 10, 40), bone(60, 5, 10, 40)
    found = doubt([first, second], [mirrored(first)])
    assert (found.mirror, found.alone) == (0.5, 1)
    assert doubt([first], [mirrored(first), mirrored(second)]).mirror == 0.5
    assert "1 found on one of them only" in found.why


def test_another_label_is_no_agreement() -> None:
    item = bone(5, 5, 10, 40)
    assert doubt([item], [mirrored(replace(item, label="ulna"))]).mirror == 1.0


def test_the_mirror_image_is_what_the_model_is_shown() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    shown = uncertainty.mirror_image(Radiograph(pixels, "a.png", "0" * 64)).pixels
    assert shown[0].tolist() == [3, 2, 1, 0]


def test_overlap_needs_no_common_frame() -> None:
    assert bone(0, 0, 10, 10).iou(bone(50, 50, 10, 10)) == 0
    both = 50 - 1
    assert bone(0, 0, 10, 10).iou(bone(5, 0, 10, 10)) == pytest.approx(both / (99 + 99 - both))


def candidate(name: str, figure: float, part: str = "", seed: int | None = None) -> Candidate:
    pixels = build.film(seed if seed is not None else sum(map(ord, name)), 90, 80)
    return Candidate(name, Doubt(figure, figure, 3, 0), part, fingerprint_of_pixels(name, pixels, name))


def chosen(*candidates: Candidate, count: int) -> list[str]:
    return [item.candidate.name for item in uncertainty.rank(candidates, count=count) if item.chosen]


def test_the_most_doubtful_come_first() -> None:
    assert chosen(candidate("a", 0.2), candidate("b", 0.9), candidate("c", 0.5), count=2) == ["b", "c"]


def test_body_parts_take_turns() -> None:
    hands = [candidate(f"hand{number}", 0.9 - number / 100, "hand") for number in range(4)]
    assert chosen(*hands, candidate("hip", 0.3, "hip"), count=3) == ["hand0", "hip", "hand1"]
    assert chosen(*hands, candidate("hip", 0.3, "hip"), count=9) == ["hand0", "hip", "hand1", "hand2", "hand3"]


def test_the_same_film_is_not_chosen_twice() -> None:
    ranking = uncertainty.rank(
        [candidate("a", 0.9, seed=1), candidate("copy", 0.8, seed=1), candidate("b", 0.1, seed=5)], count=2
    )
    assert [(item.candidate.name, item.chosen, item.like) for item in ranking] == [
        ("a", True, ""),
        ("b", True, ""),
        ("copy", False, "a"),
    ]


def test_the_table_tells_figure_and_reason(tmp_path: Path) -> None:
    ranking = uncertainty.rank([candidate("a", 0.9, "hand", 1), candidate("copy", 0.8, "hand", 1)], count=1)
    uncertainty.write_csv(ranking, tmp_path / "new" / "uncertain.csv")
    rows = list(csv.DictReader((tmp_path / "new" / "uncertain.csv").read_text("utf-8").splitlines()))
    assert [(row["rank"], row["name"], row["chosen"], row["figure"]) for row in rows] == [
        ("1", "a", "yes", "0.9000"),
        ("2", "copy", "no", "0.8000"),
    ]
    assert [row["why"] for row in rows] == ["unlike its mirror image (0.90)", "shows the film a"]
