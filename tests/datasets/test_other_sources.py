"""Roboflow, MURA, PH2, plain pictures, Osteon's own manifest, and the recognition of them all."""

import shutil
from pathlib import Path

import dataset_builders as build
import pytest

from osteon.datasets import coco, cvat, mura, ph2, pictures, roboflow, voc, yolo
from osteon.datasets.manifest_file import read_manifest, write_manifest
from osteon.datasets.recognise import FORMATS, open_dataset, recognise
from osteon.errors import ConfigurationError, InvalidDataset

COPIES = ("hand_01_jpg.rf.0a1b2c.jpg", "hand_01_jpg.rf.3d4e5f.jpg", "hand_02_png.rf.777.jpg")


def roboflow_coco(folder: Path) -> Path:
    for part, names in (("train", COPIES[:2]), ("valid", COPIES[2:])):
        document = {
            "images": [
                {"id": number, "file_name": name, "height": 96, "width": 80} for number, name in enumerate(names)
            ],
            "annotations": [build.annotation(0, 0, [], [1, 2, 3, 4], category=1)],
            "categories": [{"id": 0, "name": "hand", "supercategory": "none"}, {"id": 1, "name": "carpals"}],
        }
        build.write_json(document, folder / part / roboflow.COCO_NAME)
        for name in names:
            build.save(build.film(0), folder / part / name)
    return folder


def roboflow_yolo(folder: Path) -> Path:
    for part, names in (("train", COPIES[:2]), ("valid", COPIES[2:])):
        for name in names:
            build.save(build.film(0), folder / part / "images" / name)
            label = (folder / part / "labels" / name).with_suffix(".txt")
            label.parent.mkdir(exist_ok=True)
            label.write_text("0 0.5 0.5 0.1 0.1\n")
    (folder / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['carpals']\n")
    return folder


@pytest.mark.parametrize("make", [roboflow_coco, roboflow_yolo])
def test_roboflow_copies_of_one_picture_are_one_patient(tmp_path: Path, make) -> None:
    manifest = roboflow.read(make(tmp_path))
    assert [(case.patient, case.split) for case in manifest] == [
        ("hand_01.jpg", "train"),
        ("hand_01.jpg", "train"),
        ("hand_02.png", "valid"),
    ]
    assert {item.label for case in manifest for item in case.instances or ()} == {"carpals"}
    assert manifest.cases[0].name.startswith("train/")
    assert any("1 pictures are further copies" in remark for remark in manifest.remarks)


MURA = (
    "train/XR_WRIST/patient00001/study1_positive/image1.png",
    "train/XR_WRIST/patient00001/study2_negative/image1.png",
    "valid/XR_FOREARM/patient11185/study1_negative/image1.png",
)


def mura_folder(folder: Path) -> Path:
    for number, name in enumerate(MURA):
        build.save(build.film(number), folder / "MURA-v1.1" / name)
    build.save(build.film(9), folder / "MURA-v1.1" / "train/XR_WRIST/patient00001/study2_negative/._image1.png")
    return folder / "MURA-v1.1"


def test_an_abnormal_study_is_not_called_fractured(tmp_path: Path) -> None:
    positive, negative, valid = mura.read(mura_folder(tmp_path))
    assert (positive.fractured, positive.instances, positive.name) == (None, None, MURA[0])
    assert (negative.fractured, negative.instances) == (False, ())
    assert (valid.body_part, valid.patient, valid.split) == ("forearm", "patient11185", "valid")
    assert positive.patient == negative.patient == "patient00001"


def test_muras_lists_are_compared_with_what_is_there(tmp_path: Path) -> None:
    folder = mura_folder(tmp_path)
    listed = [f"MURA-v1.1/{MURA[0]}", "MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image1.png"]
    (folder / "train_image_paths.csv").write_text("\n".join(listed) + "\n")
    (folder / "train_labeled_studies.csv").write_text(f"MURA-v1.1/{MURA[0].rpartition('/')[0]}/,0\n")
    remarks = mura.read(folder).remarks
    assert "1 listed pictures are absent and left out" in remarks
    assert any(remark.startswith("1 studies are labelled otherwise") for remark in remarks)


def test_muras_regions_can_be_opened_from_the_part_below(tmp_path: Path) -> None:
    folder = mura_folder(tmp_path)
    assert len(mura.read(folder / "valid")) == 1


def ph2_folder(folder: Path) -> Path:
    for name in ("IMD002", "IMD003"):
        images = folder / ph2.IMAGES_FOLDER / name
        build.save(build.film(0), images / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
    build.save(build.film(0), folder / ph2.IMAGES_FOLDER / "IMD002/IMD002_lesion/IMD002_lesion.bmp")
    return folder


def test_ph2_pictures_are_no_radiographs_and_know_their_lesion_masks(tmp_path: Path) -> None:
    manifest = ph2.read(ph2_folder(tmp_path))
    masked, bare = manifest
    assert (masked.radiograph, masked.mask_label, masked.mask_path is not None) == (False, "lesion", True)
    assert bare.mask_path is None
    assert manifest.remarks == ("1 pictures have no lesion mask",)


def test_plain_pictures_are_searched_through(tmp_path: Path) -> None:
    build.save(build.film(0), tmp_path / "cats/0.jpg")
    build.save(build.film(1), tmp_path / "dogs/0.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    manifest = pictures.read(tmp_path)
    assert [(case.name, case.radiograph, case.instances) for case in manifest] == [
        ("cats/0.jpg", False, ()),
        ("dogs/0.jpg", False, ()),
    ]


def test_a_manifest_comes_back_whole_also_from_another_folder(tmp_path: Path) -> None:
    manifest = build.rich_manifest(tmp_path / "films")
    write_manifest(manifest, tmp_path / "lists" / "m.json")
    assert build.facts(read_manifest(tmp_path / "lists" / "m.json")) == build.facts(manifest)
    shutil.copytree(tmp_path, tmp_path.parent / "moved")
    moved = read_manifest(tmp_path.parent / "moved" / "lists" / "m.json")
    assert all(case.path.is_file() and "moved" in case.path.as_posix() for case in moved)


@pytest.mark.parametrize("text", ["{}", "[]", '{"osteon_manifest": 2}', '{"osteon_manifest": 1}', "no"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InvalidDataset, match="no manifest"):
        read_manifest(tmp_path / "m.json")


def written(writer, name: str):
    def make(folder: Path) -> Path:
        manifest = build.rich_manifest(folder)
        writer(manifest, folder / name if name else folder)
        return folder

    return make


LAYOUTS = {
    "fracatlas": build.fracatlas,
    "mura": mura_folder,
    "ph2": ph2_folder,
    "roboflow": roboflow_coco,
    "coco": written(coco.write, "labels.json"),
    "cvat": written(cvat.write, "labels.xml"),
    "voc": written(voc.write, ""),
    "yolo": written(lambda manifest, folder: yolo.write(manifest, folder / "set"), ""),
    "manifest": written(write_manifest, "m.json"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_recognised(tmp_path: Path, name: str) -> None:
    folder = LAYOUTS[name](tmp_path)
    folder = folder / "set" if name == "yolo" else folder
    assert recognise(folder).name == name
    assert len(open_dataset(folder)) > 0


def test_roboflows_yolo_export_is_told_from_plain_yolo(tmp_path: Path) -> None:
    assert recognise(roboflow_yolo(tmp_path)).name == "roboflow"


def test_every_format_but_pictures_has_a_recognised_layout() -> None:
    assert {known.name for known in FORMATS} == {*LAYOUTS, "pictures"}


def test_an_unknown_layout_lists_the_known_ones(tmp_path: Path) -> None:
    build.save(build.film(0), tmp_path / "a.jpg")
    with pytest.raises(InvalidDataset, match="no known layout") as raised:
        open_dataset(tmp_path)
    assert all(known.name in raised.value.hint for known in FORMATS)
    assert len(open_dataset(tmp_path, format="pictures")) == 1
    with pytest.raises(ConfigurationError, match="no format"):
        open_dataset(tmp_path, format="jpeg")
    with pytest.raises(InvalidDataset, match="nothing is at"):
        open_dataset(tmp_path / "absent")


@pytest.mark.parametrize("module", [mura, ph2, pictures, roboflow, voc, yolo])
def test_an_empty_folder_is_refused_with_a_hint(tmp_path: Path, module) -> None:
    with pytest.raises(InvalidDataset) as raised:
        module.read(tmp_path)
    assert raised.value.hint


def test_two_coco_files_in_a_folder_must_be_chosen_from(tmp_path: Path) -> None:
    manifest = build.rich_manifest(tmp_path)
    coco.write(manifest, tmp_path / "one.json")
    coco.write(manifest, tmp_path / "two.json")
    with pytest.raises(InvalidDataset, match=r"2 COCO files: one\.json, two\.json"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path / "two.json")) == 4


def test_the_real_sets_are_read() -> None:
    if not build.SHARED.is_dir():
        pytest.skip("../shared/data is not there")
    lesions = open_dataset(build.SHARED / "ph2")
    assert len(lesions) == 200
    assert all(case.mask_path is not None for case in lesions)
    assert len(open_dataset(build.SHARED / "negatives", format="pictures")) == 850
