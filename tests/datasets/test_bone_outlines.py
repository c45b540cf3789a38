"""The published bone outlines, and the checker that they must pass."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import dataset_builders as build
import pytest
from pycocotools.coco import COCO

from osteon.datasets import bone_check, bonemasks
from osteon.errors import InvalidDataset

FOLDER = Path(__file__).parents[2] / "data" / "bones"
FILE, CARD = FOLDER / "fracatlas-bones.json", FOLDER / "README.md"
SQUARE = [10.0, 10.0, 20.0, 10.0, 20.0, 30.0, 10.0, 30.0]


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return document


def test_the_published_outlines_are_sound_and_counted_in_their_card() -> None:
    assert bone_check.check(FILE, CARD) == ()


def test_the_folder_holds_annotations_and_no_picture() -> None:
    assert sorted(path.name for path in FOLDER.rglob("*")) == ["LICENSE", "README.md", "fracatlas-bones.json"]
    for name in ("LICENSE", "README.md"):
        assert "CC BY 4.0" in (FOLDER / name).read_text("utf-8")


def test_they_are_what_the_annotators_left_but_for_what_the_card_tells(published: dict[str, Any]) -> None:
    source = build.SHARED / "bonemasks/instances.json"
    if not source.is_file():
        pytest.skip("../shared/data/bonemasks is not there")
    left = {item["id"]: item for item in json.loads(source.read_text("utf-8"))["annotations"]}
    other = [
        item["id"] for item in published["annotations"] if item["segmentation"] != left[item["id"]]["segmentation"]
    ]
    assert other == [3314]
    assert all(
        (item["bbox"], item["category_id"]) == (left[item["id"]]["bbox"], left[item["id"]]["category_id"])
        for item in published["annotations"]
    )


def test_pycocotools_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = COCO(str(FILE))
    humerus = loaded.getCatIds(catNms=["humerus"])
    assert len(loaded.getAnnIds(catIds=humerus)) == 109
    assert len(loaded.getAnnIds(iscrowd=True)) == 211


def test_they_are_read_on_fracatlas_films(published: dict[str, Any], tmp_path: Path) -> None:
    """As `osteon train bones --data ... --films ...` does, on a FracAtlas of two drawn films under its names."""
    build.fracatlas(tmp_path)
    names = ["IMG0001870.jpg", "IMG0002946.jpg"]
    for name in names:
        build.save(build.film(0, 454, 373), tmp_path / "images/Non_fractured" / name)
    manifest = bonemasks.read(FILE, tmp_path)
    assert [case.name for case in manifest] == names
    first = [item for item in published["annotations"] if item["image_id"] == 1]
    assert [item.label for item in manifest.cases[0].instances or ()][:2] == ["tibia", "fibula"]
    assert len(manifest.cases[0].instances or ()) == len(first)
    assert (manifest.cases[0].height_px, manifest.cases[0].width_px) == (454, 373)


def document() -> dict[str, Any]:
    whole = {"iscrowd": 0, "ignore": 0, "area": 200.0, "bbox": [10.0, 10.0, 10.0, 20.0]}
    radius = {"id": 1, "image_id": 1, "category_id": 2, "segmentation": [SQUARE], **whole}
    region = {**copy.deepcopy(radius), "id": 2, "category_id": 3, "iscrowd": 1, "ignore": 1}
    return {
        "images": [
            {"id": 1, "file_name": "IMG0000001.jpg", "width": 40, "height": 50, "osteon": {"body_part": "hand"}}
        ],
        "annotations": [radius, region],
        "categories": [{"id": 2, "name": "radius"}, {"id": 3, "name": "ignore"}],
    }


def problems(tmp_path: Path, value: dict[str, Any], card: str | None = None) -> tuple[str, ...]:
    if card is not None:
        (tmp_path / "card.md").write_text(card)
    return bone_check.check(build.write_json(value, tmp_path / "bones.json"), card and tmp_path / "card.md")


def changed(kind: str, index: int, **values: Any) -> dict[str, Any]:
    value = document()
    value[kind][index].update(values)
    return value


def test_a_sound_file_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, document()) == ()


BOW = [10.0, 10.0, 20.0, 30.0, 20.0, 10.0, 10.0, 30.0]


@pytest.mark.parametrize(
    ("kind", "index", "values", "problem"),
    [
        ("annotations", 1, {"id": 1}, "id 1 is given twice"),
        ("annotations", 0, {"image_id": 9}, "not listed"),
        ("annotations", 0, {"category_id": 9}, "not listed"),
        ("annotations", 0, {"area": 210.0}, "area of 210.0, its polygons 200.0"),
        ("annotations", 0, {"bbox": [10.0, 10.0, 10.0, 21.0]}, "a box that is not its polygons'"),
        ("annotations", 0, {"bbox": None}, "a box that is not its polygons'"),
        ("annotations", 0, {"segmentation": [SQUARE[:4]]}, "no polygons"),
        ("annotations", 0, {"segmentation": [SQUARE[:7]]}, "no polygons"),
        ("annotations", 0, {"segmentation": {"size": [50, 40], "counts": "0"}}, "no polygons"),
        ("annotations", 0, {"segmentation": [SQUARE, [1, 1, 2, 1, 2, 2]]}, "a part of 0.5 square pixels"),
        ("annotations", 0, {"segmentation": [BOW]}, "crosses itself"),
        ("annotations", 0, {"iscrowd": 1}, "iscrowd and ignore (1, 0)"),
        ("annotations", 1, {"iscrowd": 0, "ignore": 0}, "iscrowd and ignore (0, 0)"),
        ("images", 0, {"width": 19}, "beyond the picture"),
        ("images", 0, {"file_name": "IMG0003297.jpg"}, "withheld"),
        ("images", 0, {"file_name": "IMG0003713.jpg"}, "withheld"),
        ("categories", 0, {"name": "hamate"}, "unknown to anatomy"),
        ("categories", 0, {"name": "ignore"}, "listed twice"),
    ],
)
def test_each_fault_is_told(tmp_path: Path, kind: str, index: int, values: dict[str, Any], problem: str) -> None:
    assert any(problem in told for told in problems(tmp_path, changed(kind, index, **values)))


def test_a_film_listed_twice_or_without_outline_is_told(tmp_path: Path) -> None:
    value = document()
    value["images"].append({**value["images"][0], "id": 2})
    assert problems(tmp_path, value) == ("IMG0000001.jpg is listed twice", "IMG0000001.jpg has no outline")


GOOD_CARD = "| radius | 1 | 1 |\n| ignore | 1 | 1 |\n| hand | 2 | 1 |\n| all | 2 | 1 |\n"


def test_the_cards_counts_are_the_files(tmp_path: Path) -> None:
    assert problems(tmp_path, document(), GOOD_CARD) == ()
    assert len(problems(tmp_path, document(), GOOD_CARD.replace("radius | 1", "radius | 2"))) == 1
    assert len(problems(tmp_path, document(), GOOD_CARD + "| ulna | 3 | 1 |\n")) == 1
    assert len(problems(tmp_path, document(), re.sub(r".*hand.*\n", "", GOOD_CARD))) == 1


def test_what_refers_to_nothing_is_told_beside_a_card(tmp_path: Path) -> None:
    told = problems(tmp_path, changed("annotations", 0, category_id=9), GOOD_CARD)
    assert "not listed" in told[0] and len(told) == 4


def test_a_text_without_counts_is_no_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Another project\n")
    assert bone_check.is_card(CARD)
    assert not bone_check.is_card(tmp_path / "README.md") and not bone_check.is_card(tmp_path / "none.md")


@pytest.mark.parametrize(
    ("kind", "values"), [("images", {"width": None}), ("annotations", {"area": None}), ("categories", {"id": []})]
)
def test_a_malformed_record_is_refused(tmp_path: Path, kind: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidDataset, match="malformed"):
        problems(tmp_path, changed(kind, 0, **values))


def test_what_is_no_coco_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset):
        bone_check.check(build.write_json([], tmp_path / "bones.json"))
