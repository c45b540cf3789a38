"""FracAtlas' layout and its quirks."""

from pathlib import Path

import dataset_builders as build
import numpy as np
import pytest

from osteon.datasets import fracatlas
from osteon.datasets.case import Case, Manifest
from osteon.errors import InvalidDataset


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return fracatlas.read(build.fracatlas(tmp_path))


def named(manifest: Manifest, name: str) -> Case:
    return next(case for case in manifest if case.name == name)


def test_fractures_come_from_coco_with_all_parts(manifest: Manifest) -> None:
    first, second = named(manifest, "IMG1.jpg").instances or ()
    assert first.label == second.label == "fracture"
    assert [len(polygon) for polygon in first.polygons] == [3, 4]
    assert np.allclose(first.polygons[1], build.SQUARE)
    assert second.box_xyxy_px == (50.0, 60.0, 59.5, 68.0)


def test_normal_films_have_no_instances_and_sizes_from_their_headers(manifest: Manifest) -> None:
    normal = named(manifest, "IMG3.jpg")
    assert (normal.fractured, normal.instances, normal.height_px, normal.width_px) == (False, (), 96, 80)


def test_an_exif_rotated_film_is_as_large_as_a_person_sees_it(manifest: Manifest, tmp_path: Path) -> None:
    turned = named(manifest, "IMG2.jpg")
    assert (turned.height_px, turned.width_px) == (80, 96)
    (tmp_path / "images/Fractured/IMG2.jpg").rename(tmp_path / "images/Non_fractured/IMG7.jpg")
    unlisted = named(fracatlas.read(tmp_path), "IMG7.jpg")
    assert (unlisted.height_px, unlisted.width_px) == (80, 96)


def test_a_missing_outline_is_no_negative(manifest: Manifest) -> None:
    unmarked = named(manifest, "IMG5.jpg")
    assert (unmarked.fractured, unmarked.instances) == (True, None)
    assert any("IMG5.jpg" in remark and "nobody outlined" in remark for remark in manifest.remarks)


def test_a_wrong_table_row_is_overruled_and_remarked(manifest: Manifest) -> None:
    assert named(manifest, "IMG3.jpg").fractured is False
    assert [remark for remark in manifest.remarks if "IMG3.jpg" in remark and "fractured=1" in remark]


def test_coco_overrules_the_folder_of_normal_films(tmp_path: Path) -> None:
    build.fracatlas(tmp_path)
    (tmp_path / "images/Fractured/IMG1.jpg").rename(tmp_path / "images/Non_fractured/IMG1.jpg")
    manifest = fracatlas.read(tmp_path)
    assert named(manifest, "IMG1.jpg").fractured is True
    assert any("lies in Non_fractured" in remark for remark in manifest.remarks)


def test_absent_films_are_left_out_and_counted(manifest: Manifest) -> None:
    assert [case.name for case in manifest] == [f"IMG{number}.jpg" for number in range(1, 6)]
    assert "1 listed films are absent and left out" in manifest.remarks


def test_body_part_views_metal_and_split_come_from_the_tables(manifest: Manifest) -> None:
    first, second, third = (named(manifest, f"IMG{number}.jpg") for number in (1, 2, 3))
    assert (first.body_part, first.views, first.hardware, first.split) == ("hand", ("frontal",), True, "train")
    assert (second.body_part, second.views, second.split) == ("mixed", ("lateral", "oblique"), "valid")
    assert (third.body_part, third.hardware, third.split) == ("leg", False, "")


def test_tables_may_be_absent(tmp_path: Path) -> None:
    build.fracatlas(tmp_path)
    (tmp_path / "dataset.csv").unlink()
    case = named(fracatlas.read(tmp_path), "IMG1.jpg")
    assert (case.body_part, case.hardware) == ("", None)


def test_another_folder_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="no pictures") as raised:
        fracatlas.read(tmp_path)
    assert "Annotations" in raised.value.hint


def test_the_real_set_reads_whole() -> None:
    if not (build.SHARED / "fracatlas").is_dir():
        pytest.skip("../shared/data/fracatlas is not there")
    manifest = fracatlas.read(build.SHARED / "fracatlas")
    fractured = [case for case in manifest if case.fractured]
    assert (len(manifest), len(fractured)) == (3670, 656)
    assert sum(len(case.instances or ()) for case in fractured) == 855
    assert all(case.instances == () for case in manifest if not case.fractured)
    assert sum(case.split == "train" for case in manifest) == 574
    assert sum(case.split == "valid" for case in manifest) == 82
    assert manifest.remarks == ()
