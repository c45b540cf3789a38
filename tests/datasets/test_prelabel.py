"""A model's bones written for correction, and taken back."""

import json
from pathlib import Path

import cv2
import dataset_builders as build
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import builders
from osteon.datasets import coco, cvat, outlines, prelabel
from osteon.datasets.case import Case
from osteon.errors import InvalidDataset
from osteon.findings import Bone
from osteon.radiograph import Radiograph

Picture = NDArray[np.uint8]
NAMES = ("a/film.png", "b/film.png", "ключица.jpg")


def film(*boxes_xyxy: tuple[int, int, int, int], height_px: int = 90, width_px: int = 70) -> Picture:
    """Dark, with a bright block for each box; a block at least 20 px wide has a hole."""
    pixels = np.full((height_px, width_px), 40, np.uint8)
    for x0, y0, x1, y1 in boxes_xyxy:
        pixels[y0:y1, x0:x1] = 220
        if x1 - x0 >= 20:
            pixels[y0 + 5 : y1 - 5, x0 + 5 : x1 - 5] = 40
    return pixels


def bright(radiograph: Radiograph) -> tuple[Bone, ...] | None:
    """A finder: each bright block is a bone, the first one sure; a picture that is bright all over is none."""
    grey = radiograph.as_uint8()
    if grey.mean() > 200:
        return None
    count, names = cv2.connectedComponents((grey > 150).astype(np.uint8))
    return tuple(bone(names == index, score=0.9 - 0.2 * (index - 1)) for index in range(1, count))


def bone(mask: NDArray[np.bool_], *, score: float, label: str = "radius") -> Bone:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Bone(label, score, (x, y, x + width, y + height), (x, y), mask[y : y + height, x : x + width])


def films(folder: Path) -> Path:
    """Two films of one name in two folders, and one with letters beyond ASCII."""
    boxes = (
        [(10, 10, 18, 70), (30, 20, 55, 80)],
        [(20, 30, 33, 60)],
        [(5, 5, 12, 50), (40, 8, 47, 60), (55, 70, 65, 88)],
    )
    for name, own in zip(NAMES, boxes, strict=True):
        build.save(film(*own), folder / name)
    return folder


def run(place: Path, out: Path) -> prelabel.Prelabels:
    made = prelabel.prelabel(prelabel.films_of(place), bright)
    prelabel.write(made.pages, out)
    return made


def masks(case: Case) -> list[NDArray[np.bool_]]:
    shape = (case.height_px or 0, case.width_px or 0)
    own = case.instances or ()
    return [outlines.painted(item.polygons, *shape) if item.mask is None else item.mask for item in own]


def truth(path: Path) -> list[NDArray[np.bool_]]:
    grey = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    found = bright(Radiograph(np.asarray(grey, np.uint8), path.name, "0" * 64)) or ()
    return [item.on(*grey.shape) for item in found]


@pytest.mark.parametrize("reader", [cvat, coco])
def test_pixels_labels_scores_and_names_come_back(tmp_path: Path, reader: object) -> None:
    run(films(tmp_path / "films"), tmp_path / "out")
    file = tmp_path / "out" / (prelabel.CVAT_FILE if reader is cvat else prelabel.COCO_FILE)
    manifest = reader.read(file)  # type: ignore[attr-defined]
    assert [case.name for case in manifest] == list(NAMES)
    for case in manifest:
        assert case.path == tmp_path / "out/images" / case.name
        assert [item.label for item in case.instances] == ["radius"] * len(case.instances)
        assert [item.score for item in case.instances] == pytest.approx([0.9, 0.7, 0.5][: len(case.instances)])
        for mine, real in zip(masks(case), truth(tmp_path / "films" / case.name), strict=True):
            assert (mine & real).sum() >= 0.98 * (mine | real).sum()


def test_a_hole_comes_back_pixel_by_pixel(tmp_path: Path) -> None:
    run(films(tmp_path / "films"), tmp_path / "out")
    (case, *_) = cvat.read(tmp_path / "out" / prelabel.CVAT_FILE)
    (holed,) = [item for item in case.instances or () if item.mask is not None]
    assert holed.mask is not None
    assert holed.mask.sum() == 25 * 60 - 15 * 50
    assert not holed.mask[50, 40] and holed.mask[22, 40]


def test_import_export_import_is_exact(tmp_path: Path) -> None:
    run(films(tmp_path / "films"), tmp_path / "out")
    first = cvat.read(tmp_path / "out" / prelabel.CVAT_FILE)
    cvat.write(first, tmp_path / "again.xml")
    again = cvat.read(tmp_path / "again.xml", images=tmp_path / "out/images")
    assert build.facts(again) == build.facts(first)
    assert [item.score for case in again for item in case.instances or ()] == [
        item.score for case in first for item in case.instances or ()
    ]


def test_an_exif_rotated_film_is_outlined_as_people_see_it(tmp_path: Path) -> None:
    upright = film((10, 10, 18, 70))
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(np.rot90(upright, 1)))[1].tobytes()
    (tmp_path / "films").mkdir()
    (tmp_path / "films/turned.jpg").write_bytes(build.with_orientation(jpeg, 6))
    run(tmp_path / "films", tmp_path / "out")
    (case,) = cvat.read(tmp_path / "out" / prelabel.CVAT_FILE)
    assert (case.height_px, case.width_px) == (90, 70)
    assert np.allclose((case.instances or ())[0].box_xyxy_px, (10, 10, 18, 70), atol=0.5)
    assert (tmp_path / "out/images/turned.jpg").read_bytes() == (tmp_path / "films/turned.jpg").read_bytes()


def test_pages_of_tiff_and_dicom_become_pictures_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    one, two = film((10, 10, 18, 70)), film((20, 30, 33, 60))
    (tmp_path / "films/scan.tif").write_bytes(builders.pages(one, two[:80]))
    frames = builders.dataset(np.stack([one, two]), NumberOfFrames=2)
    (tmp_path / "films/hand.dcm").write_bytes(builders.written(frames))
    run(tmp_path / "films", tmp_path / "out")
    manifest = cvat.read(tmp_path / "out" / prelabel.CVAT_FILE)
    assert [case.name for case in manifest] == ["hand.dcm.png", "hand.dcm.2.png", "scan.tif.png", "scan.tif.2.png"]
    for case in manifest:
        with Image.open(case.path) as picture:
            assert (picture.mode, picture.size) == ("L", (case.width_px, case.height_px))
        for mine, real in zip(masks(case), truth(case.path), strict=True):
            assert (mine == real).all()


def test_a_frame_does_not_take_the_name_of_another_film(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films/hand.dcm").write_bytes(builders.written(builders.dataset(film((10, 10, 18, 70)))))
    build.save(film((20, 30, 33, 60)), tmp_path / "films/hand.dcm.png")
    run(tmp_path / "films", tmp_path / "out")
    manifest = cvat.read(tmp_path / "out" / prelabel.CVAT_FILE)
    assert len({case.name for case in manifest}) == len({case.path for case in manifest}) == 2
    assert "hand.dcm.png" in {case.name for case in manifest}


def test_what_is_no_film_is_counted_and_what_is_broken_is_named(tmp_path: Path) -> None:
    films(tmp_path / "films")
    build.save(np.full((50, 50), 250, np.uint8), tmp_path / "films/white.png")
    (tmp_path / "films/broken.png").write_bytes(b"no picture")
    made = run(tmp_path / "films", tmp_path / "out")
    assert made.no_films == 1
    assert [failure.source for failure in made.failures] == ["broken.png"]
    assert [page.case.name for page in made.pages] == list(NAMES)


def test_the_doubt_is_told_for_who_asks(tmp_path: Path) -> None:
    cases = prelabel.films_of(films(tmp_path / "films"))
    assert all(page.candidate is None for page in prelabel.prelabel(cases, bright).pages)
    candidates = [page.candidate for page in prelabel.prelabel(cases, bright, doubts=True).pages]
    assert [item.doubt.mirror for item in candidates if item] == pytest.approx([0.0, 0.0, 0.0])
    assert [item.part for item in candidates if item] == ["radius"] * 3


def test_a_data_set_keeps_its_names_and_what_is_known(tmp_path: Path) -> None:
    place = build.fracatlas(tmp_path / "FracAtlas")
    made = run(place, tmp_path / "out")
    names = {page.case.name: page.case for page in made.pages}
    assert names["IMG1.jpg"].fractured is True
    assert names["IMG1.jpg"].body_part == "hand"
    assert {item.label for item in names["IMG1.jpg"].instances or ()} <= {"radius"}
    assert [failure.source for failure in made.failures] == ["IMG4.jpg"]


def test_pictures_may_stay_where_they_are(tmp_path: Path) -> None:
    films(tmp_path / "films")
    (tmp_path / "films/scan.tif").write_bytes(builders.pages(film((10, 10, 18, 70))))
    made = prelabel.prelabel(prelabel.films_of(tmp_path / "films"), bright)
    prelabel.write(made.pages, tmp_path / "out", copy_images=False)
    assert [path.name for path in (tmp_path / "out/images").iterdir()] == ["scan.tif.png"]


def test_cvat_is_told_of_labels_and_attributes_that_must_survive(tmp_path: Path) -> None:
    made = prelabel.prelabel(prelabel.films_of(films(tmp_path / "films")), bright)
    prelabel.write(made.pages, tmp_path / "out", labels=("ulna",))
    labels = json.loads((tmp_path / "out" / prelabel.LABELS_FILE).read_text("utf-8"))
    assert [label["name"] for label in labels] == ["ignore", "radius", "ulna"]
    assert {item["name"] for item in labels[0]["attributes"]} == {"score", "ignore", "osteon_box"}
    text = (tmp_path / "out" / prelabel.CVAT_FILE).read_text("utf-8")
    assert 'source="auto"' in text and '<attribute name="score">0.9</attribute>' in text


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    path = build.save(film((10, 10, 18, 70)), tmp_path / "a.png")
    bad = [Case(name, path) for name in ("../a.png", "/a.png", "a\n.png", "..\\a.png")]
    made = prelabel.prelabel(bad, bright)
    assert [failure.type for failure in made.failures] == ["InvalidDataset"] * 4
    assert made.pages == ()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="no films"):
        prelabel.films_of(tmp_path)
