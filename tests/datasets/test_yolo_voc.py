"""YOLO txt and Pascal VOC, both ways."""

from pathlib import Path

import dataset_builders as build
import numpy as np
import pytest

from osteon.datasets import voc, yolo
from osteon.datasets.case import Case, Instance, Manifest
from osteon.errors import InvalidDataset


def one_film(tmp_path: Path, *instances: Instance) -> Manifest:
    path = build.save(build.film(0), tmp_path / "from" / "a.png")
    return Manifest("one", (Case("a.png", path, instances=instances, height_px=96, width_px=80, split="valid"),))


def labelled(tmp_path: Path, text: str, names: str = "names: ['fracture', 'metal']\n") -> Manifest:
    build.save(build.film(0), tmp_path / "images" / "train" / "a.png")
    label = tmp_path / "labels" / "train" / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text(text)
    (tmp_path / "data.yaml").write_text(names)
    return yolo.read(tmp_path)


def test_yolo_boxes_and_polygons_are_relative_to_the_picture(tmp_path: Path) -> None:
    manifest = labelled(tmp_path, "0 0.5 0.5 0.25 0.5\n1 0 0 0.5 0 0.5 0.25\n\n")
    box, polygon = manifest.cases[0].instances or ()
    assert (box.label, box.box_xyxy_px) == ("fracture", (30.0, 24.0, 50.0, 72.0))
    assert (polygon.label, polygon.box_xyxy_px) == ("metal", (0.0, 0.0, 40.0, 24.0))
    assert np.allclose(polygon.polygons[0], [[0, 0], [40, 0], [40, 24]])
    assert (manifest.cases[0].split, manifest.cases[0].fractured) == ("train", True)


@pytest.mark.parametrize(
    "names",
    [
        "nc: 2\nnames: [fracture, metal]\n",
        'names: ["fracture",\n  "metal"]\nnc: 2\n',
        "names:\n- fracture\n- 'metal'\nnc: 2\n",
        "path: .\nnames:\n  0: fracture  # broken\n  1: metal\nroboflow:\n  version: 1\n",
        "names: {0: fracture, 1: metal}\n",
    ],
)
def test_names_are_read_from_every_form_of_data_yaml(tmp_path: Path, names: str) -> None:
    manifest = labelled(tmp_path, "1 0.5 0.5 0.25 0.5\n", names)
    assert [item.label for item in manifest.cases[0].instances or ()] == ["metal"]


def test_names_are_read_from_classes_txt(tmp_path: Path) -> None:
    build.save(build.film(0), tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.25 0.5 0.9\n")
    (tmp_path / "classes.txt").write_bytes(b"fracture\r\nmetal\r\n")
    assert [item.label for item in yolo.read(tmp_path).cases[0].instances or ()] == ["metal"]


def test_no_label_file_is_unknown_and_an_empty_one_is_nothing_found(tmp_path: Path) -> None:
    manifest = labelled(tmp_path, "")
    assert manifest.cases[0].instances == ()
    (tmp_path / "labels/train/a.txt").unlink()
    manifest = yolo.read(tmp_path)
    assert manifest.cases[0].instances is None
    assert "not as negative" in manifest.remarks[0]


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.5", "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "x 0.1 0.1 0.1 0.1", "0 a b c d"])
def test_malformed_yolo_lines_are_refused_by_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidDataset, match=r"a\.txt, line 2"):
        labelled(tmp_path, f"0 0.5 0.5 0.1 0.1\n{line}\n")


def test_yolo_round_trip_keeps_boxes_and_polygons(tmp_path: Path) -> None:
    box = Instance("fracture", (10.5, 20.25, 30.0, 44.0))
    polygon = Instance("bone", (4.5, 3.0, 20.25, 18.125), (build.TRIANGLE,))
    losses = yolo.write(one_film(tmp_path, box, polygon), tmp_path / "to")
    (case,) = yolo.read(tmp_path / "to").cases
    assert (losses, case.split) == ((), "valid")
    box_again, polygon_again = case.instances or ()
    assert (box_again.label, polygon_again.label) == ("fracture", "bone")
    assert np.allclose(box_again.box_xyxy_px, box.box_xyxy_px, atol=1e-4)
    assert np.allclose(polygon_again.polygons[0], build.TRIANGLE, atol=1e-4)


def test_yolo_says_what_it_cannot_hold(tmp_path: Path) -> None:
    items = (
        Instance("a", (4.5, 3.0, 40.0, 41.5), (build.TRIANGLE, build.SQUARE)),
        Instance("a", (3.0, 2.0, 60.0, 70.0), mask=build.blob()),
        Instance("ignore", (1, 1, 5, 5), ignore=True),
    )
    losses = yolo.write(one_film(tmp_path, *items), tmp_path / "to")
    assert [loss.split(maxsplit=1)[0] for loss in losses] == ["1", "1", "1"]
    back = yolo.read(tmp_path / "to").cases[0].instances or ()
    assert len(back) == 3  # two parts and the ring; its speck is no outline


def test_voc_round_trip_keeps_boxes_and_ignore(tmp_path: Path) -> None:
    items = (Instance("fracture", (10.5, 20.25, 30.0, 44.0)), Instance("metal", (1.0, 2.0, 3.0, 4.0), ignore=True))
    manifest = one_film(tmp_path, *items)
    assert voc.write(manifest, tmp_path / "to") == ()
    (case,) = voc.read(tmp_path / "to", images=tmp_path / "from").cases
    assert [build.instance_facts(item) for item in case.instances or ()] == [
        build.instance_facts(item) for item in items
    ]
    assert (case.fractured, case.height_px, case.width_px) == (True, 96, 80)


def test_voc_keeps_that_a_film_is_not_fractured(tmp_path: Path) -> None:
    manifest = build.rich_manifest(tmp_path / "from")
    losses = voc.write(manifest, tmp_path / "to")
    back = voc.read(tmp_path / "to", images=tmp_path / "from")
    assert [(case.name, case.fractured) for case in back] == [
        ("film0.png", True),
        ("film1.png", None),
        ("film2.png", False),
    ]
    assert losses == ("6 outlines became boxes: VOC has no word for them",)


def test_voc_refuses_malformed_boxes_and_document_types(tmp_path: Path) -> None:
    build.save(build.film(0), tmp_path / "a.png")
    body = "<annotation><filename>a.png</filename><object><name>x</name><bndbox/></object></annotation>"
    (tmp_path / "a.xml").write_text(body)
    with pytest.raises(InvalidDataset, match=r"a\.xml has a malformed"):
        voc.read(tmp_path)
    (tmp_path / "a.xml").write_text(f"<!DOCTYPE a []>{body}")
    with pytest.raises(InvalidDataset, match="document type"):
        voc.read(tmp_path)


def test_a_rotated_picture_is_labelled_as_it_is_seen(tmp_path: Path) -> None:
    labelled(tmp_path, "0 0.5 0.5 1 1\n")
    path = tmp_path / "images/train/a.png"
    jpeg = build.save(build.film(0), tmp_path / "images/train/a.jpg")
    path.unlink()
    jpeg.write_bytes(build.with_orientation(jpeg.read_bytes(), 8))
    (case,) = yolo.read(tmp_path).cases
    assert (case.instances or ())[0].box_xyxy_px == (0.0, 0.0, 96.0, 80.0)
