"""CVAT for images 1.1, both ways."""

from pathlib import Path

import dataset_builders as build
import numpy as np
import pytest

from osteon.datasets import coco, cvat
from osteon.datasets.case import Case, Instance, Manifest
from osteon.errors import InvalidDataset


def read(tmp_path: Path, shapes: str, before: str = "") -> Manifest:
    build.save(build.film(0), tmp_path / "a.png")
    file = tmp_path / "labels.xml"
    image = f'<image id="0" name="a.png" width="80" height="96">{shapes}</image>'
    file.write_text(f'<?xml version="1.0"?>{before}<annotations><version>1.1</version>{image}</annotations>')
    return cvat.read(file)


def instances(manifest: Manifest) -> tuple[Instance, ...]:
    return manifest.cases[0].instances or ()


def test_a_round_trip_loses_nothing(tmp_path: Path) -> None:
    manifest = build.rich_manifest(tmp_path)
    cvat.write(manifest, tmp_path / "labels.xml")
    assert build.facts(cvat.read(tmp_path / "labels.xml")) == build.facts(manifest)


def test_from_coco_to_cvat_and_back_loses_nothing(tmp_path: Path) -> None:
    manifest = build.rich_manifest(tmp_path)
    coco.write(manifest, tmp_path / "first.json")
    cvat.write(coco.read(tmp_path / "first.json"), tmp_path / "labels.xml")
    coco.write(cvat.read(tmp_path / "labels.xml"), tmp_path / "second.json")
    assert build.facts(coco.read(tmp_path / "second.json")) == build.facts(manifest)


def test_a_box_around_the_first_part_alone_survives(tmp_path: Path) -> None:
    item = Instance("ulna", (4.5, 3.0, 20.25, 18.125), (build.TRIANGLE, build.SQUARE))
    path = build.save(build.film(0), tmp_path / "a.png")
    case = Case("a.png", path, fractured=None, instances=(item,), height_px=96, width_px=80)
    cvat.write(Manifest("m", (case,)), tmp_path / "labels.xml")
    assert instances(cvat.read(tmp_path / "labels.xml"))[0].box_xyxy_px == item.box_xyxy_px


def test_a_mask_is_rows_of_runs_within_its_frame(tmp_path: Path) -> None:
    shape = '<mask label="carpals" rle="1, 2, 2, 1" left="10" top="20" width="3" height="2" z_order="0"/>'
    (item,) = instances(read(tmp_path, shape))
    assert item.mask is not None
    assert np.argwhere(item.mask).tolist() == [[20, 11], [20, 12], [21, 12]]
    assert item.box_xyxy_px == (11.0, 20.0, 13.0, 22.0)


def test_a_turned_box_becomes_its_four_corners(tmp_path: Path) -> None:
    shape = '<box label="fracture" xtl="20" ytl="30" xbr="40" ybr="40" rotation="90"/>'
    (item,) = instances(read(tmp_path, shape))
    assert np.allclose(item.box_xyxy_px, (25, 25, 35, 45))
    # clockwise on the screen: the upper left corner goes to the upper right
    assert np.allclose(item.polygons[0][0], (35, 25))


def test_polygons_of_one_group_and_label_are_one_object(tmp_path: Path) -> None:
    parts = "".join(
        f'<polygon label="{label}" points="1,1;9,1;9,{y}" group_id="{group}"/>'
        for label, y, group in (("ulna", 5, 1), ("radius", 6, 1), ("ulna", 7, 1), ("ulna", 8, 0), ("ulna", 9, 0))
    )
    found = instances(read(tmp_path, parts))
    assert [(item.label, len(item.polygons)) for item in found] == [
        ("ulna", 2),
        ("radius", 1),
        ("ulna", 1),
        ("ulna", 1),
    ]
    assert found[0].box_xyxy_px == (1.0, 1.0, 9.0, 7.0)


def test_lines_and_points_are_left_out_with_a_remark(tmp_path: Path) -> None:
    manifest = read(tmp_path, '<polyline label="axis" points="1,1;2,2"/><points label="tip" points="1,1"/>')
    assert instances(manifest) == ()
    assert [remark.split()[0] for remark in manifest.remarks] == ["1", "1"]
    assert "polyline" in manifest.remarks[0]


def test_ignore_is_a_label_or_an_attribute(tmp_path: Path) -> None:
    box = 'xtl="1" ytl="1" xbr="5" ybr="5"'
    shapes = f'<box label="ignore" {box}/><box label="b" {box}><attribute name="ignore">true</attribute></box>'
    assert [item.ignore for item in instances(read(tmp_path, shapes + f'<box label="b" {box}/>'))] == [
        True,
        True,
        False,
    ]


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("declaration", [BOMB, FILE, '<!DOCTYPE a SYSTEM "http://localhost/a.dtd">'])
def test_document_types_and_entities_are_refused(tmp_path: Path, declaration: str) -> None:
    with pytest.raises(InvalidDataset, match="document type"):
        read(tmp_path, '<tag label="x"/>', declaration)


def test_a_document_type_in_another_encoding_is_refused_too(tmp_path: Path) -> None:
    file = tmp_path / "labels.xml"
    file.write_bytes(('<?xml version="1.0" encoding="utf-16"?>' + BOMB + "<annotations/>").encode("utf-16"))
    with pytest.raises(InvalidDataset, match="document type"):
        cvat.read(file)


@pytest.mark.parametrize(
    "shape",
    [
        '<mask label="a" rle="1, 2" left="10" top="20" width="3" height="2"/>',
        '<mask label="a" rle="0, 6" left="79" top="20" width="3" height="2"/>',
        '<polygon label="a" points="1,1;2,2"/>',
        '<polygon label="a" points="1,1;2,2;x,3"/>',
        '<polygon points="1,1;2,2;3,1"/>',
        '<box label="a" xtl="1" ytl="2" xbr="3"/>',
    ],
)
def test_malformed_shapes_are_refused(tmp_path: Path, shape: str) -> None:
    with pytest.raises(InvalidDataset, match="malformed"):
        read(tmp_path, shape)


@pytest.mark.parametrize("text", ["", "<a>", "<other/>", "<annotations><track/></annotations>"])
def test_what_is_no_cvat_for_images_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels.xml"
    file.write_text(text)
    with pytest.raises(InvalidDataset):
        cvat.read(file)


def test_the_real_outlines_are_those_of_the_coco_file() -> None:
    if not (build.SHARED / "bonemasks").is_dir():
        pytest.skip("../shared/data/bonemasks is not there")
    images = build.SHARED / "fracatlas/images"
    from_coco = coco.read(build.SHARED / "bonemasks/instances.json", images=images)
    from_cvat = cvat.read(build.SHARED / "bonemasks/cvat.xml", images=images)
    assert build.facts(from_cvat) == build.facts(from_coco)
