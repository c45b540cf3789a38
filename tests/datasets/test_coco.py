"""COCO JSON, both ways."""

import json
from pathlib import Path

import dataset_builders as build
import numpy as np
import pytest
from pycocotools import mask as reference
from pycocotools.coco import COCO

from osteon.datasets import coco
from osteon.errors import InvalidDataset


def document(*annotations: dict, categories: tuple[str, ...] = ("fracture", "ignore")) -> dict:
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 96, "width": 80}],
        "annotations": list(annotations),
        "categories": [{"id": number, "name": name} for number, name in enumerate(categories)],
    }


def read(tmp_path: Path, value: dict):
    build.save(build.film(0), tmp_path / "pictures" / "a.png")
    return coco.read(build.write_json(value, tmp_path / "labels.json"))


def test_a_round_trip_loses_nothing(tmp_path: Path) -> None:
    manifest = build.rich_manifest(tmp_path)
    coco.write(manifest, tmp_path / "labels.json")
    assert build.facts(coco.read(tmp_path / "labels.json")) == build.facts(manifest)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco.write(build.rich_manifest(tmp_path), tmp_path / "labels.json")
    loaded = COCO(str(tmp_path / "labels.json"))
    masks = [loaded.annToMask(item) for item in loaded.dataset["annotations"] if isinstance(item["segmentation"], dict)]
    assert len(masks) == 1
    assert (masks[0].astype(bool) == build.blob()).all()


@pytest.mark.parametrize("compressed", [True, False])
def test_both_kinds_of_run_length_masks_are_read(tmp_path: Path, compressed: bool) -> None:
    coded = reference.encode(np.asfortranarray(build.blob(), np.uint8))
    counts = coded["counts"].decode() if compressed else coco.coco_runs(build.blob())
    item = build.annotation(1, 7, {"size": [96, 80], "counts": counts}, [3.0, 2.0, 57.0, 68.0])
    (instance,) = read(tmp_path, document(item)).cases[0].instances or ()
    assert instance.mask is not None
    assert (instance.mask == build.blob()).all()
    assert instance.polygons == ()


@pytest.mark.parametrize("change", [{"iscrowd": 1}, {"ignore": 1}, {"category_id": 1}])
def test_crowds_and_ignored_regions_are_to_be_left_out(tmp_path: Path, change: dict) -> None:
    item = build.annotation(1, 7, [], [3.0, 2.0, 5.0, 6.0]) | change
    case = read(tmp_path, document(item)).cases[0]
    assert [instance.ignore for instance in case.instances or ()] == [True]
    assert case.fractured is None


def test_a_marked_fracture_makes_the_case_fractured_and_an_empty_one_unknown(tmp_path: Path) -> None:
    assert read(tmp_path, document(build.annotation(1, 7, [], [3, 2, 5, 6]))).cases[0].fractured is True
    empty = read(tmp_path, document()).cases[0]
    assert (empty.fractured, empty.instances) == (None, ())


def test_a_flat_polygon_and_a_missing_box_are_understood(tmp_path: Path) -> None:
    item = build.annotation(1, 7, [1, 2, 30, 4, 5, 60], [])
    (instance,) = read(tmp_path, document(item)).cases[0].instances or ()
    assert instance.box_xyxy_px == (1.0, 2.0, 30.0, 60.0)
    assert len(instance.polygons) == 1


def test_crumbs_are_dropped_and_empty_annotations_counted(tmp_path: Path) -> None:
    crumb = build.annotation(1, 7, [[1, 2, 3, 4], [1, 2, 30, 4, 5, 60]], [1, 2, 29, 58])
    manifest = read(tmp_path, document(crumb, build.annotation(2, 7, [], [])))
    (instance,) = manifest.cases[0].instances or ()
    assert len(instance.polygons) == 1
    assert manifest.remarks == ("1 annotations have neither box nor outline and are left out",)


def test_absent_pictures_are_counted_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    value = document()
    value["images"].append({"id": 8, "file_name": "b.png"})
    manifest = read(tmp_path, value)
    assert len(manifest) == 1
    assert manifest.remarks == ("1 listed pictures are absent and left out",)
    (tmp_path / "pictures" / "a.png").unlink()
    with pytest.raises(InvalidDataset, match="none lies below"):
        coco.read(tmp_path / "labels.json")


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": 99},
        {"category_id": 99},
        {"bbox": [1, 2]},
        {"segmentation": {"size": [96, 80], "counts": [5]}},
        {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]},
    ],
)
def test_malformed_annotations_are_refused(tmp_path: Path, change: dict) -> None:
    with pytest.raises(InvalidDataset, match="annotation"):
        read(tmp_path, document(build.annotation(1, 7, [], [1, 2, 3, 4]) | change))


NAMELESS = {"images": [{"id": 1}], "annotations": [], "categories": []}
NO_LIST = {"images": [], "annotations": 3, "categories": []}


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", json.dumps(NO_LIST), json.dumps(NAMELESS)])
def test_what_is_no_coco_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(text)
    with pytest.raises(InvalidDataset):
        coco.read(file)


def test_the_real_bone_outlines_read() -> None:
    if not (build.SHARED / "bonemasks").is_dir():
        pytest.skip("../shared/data/bonemasks is not there")
    manifest = coco.read(build.SHARED / "bonemasks/instances.json", images=build.SHARED / "fracatlas/images")
    instances = [item for case in manifest for item in case.instances or ()]
    assert (len(manifest), len(instances)) == (336, 3520)
    assert {item.label for item in instances if item.ignore} == {"ignore"}
    assert manifest.remarks == ()
