"""Small made data sets and cases whose truth is known, and the comparison of manifests."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.synthetic import draw

SHARED = Path(__file__).parents[3] / "shared" / "data"
TRIANGLE = np.array([[4.5, 3.0], [20.25, 6.0], [9.0, 18.125]])
SQUARE = np.array([[30.0, 30.0], [40.0, 30.0], [40.0, 41.5], [30.0, 41.5]])


def film(seed: int, height_px: int = 96, width_px: int = 80, fractures: int = 0) -> NDArray[np.uint8]:
    return draw(seed, height_px=height_px, width_px=width_px, fractures=fractures)[0]


def save(pixels: NDArray[np.uint8], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def write_json(value: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def blob(height_px: int = 96, width_px: int = 80) -> NDArray[np.bool_]:
    """A ring with a hole and a speck beside it."""
    rows, columns = np.mgrid[:height_px, :width_px]
    distance = np.hypot(rows - 50, columns - 40)
    mask = (distance < 20) & (distance > 8)
    mask[2, 3] = True
    return np.asarray(mask, bool)


def rich_manifest(folder: Path) -> Manifest:
    """Every kind of instance that a case can hold, on three pictures and one picture that nobody looked at."""
    instances: tuple[tuple[Instance, ...] | None, ...] = (
        (
            Instance("fracture", (10.5, 20.25, 30.0, 44.0)),
            Instance("radius", (4.5, 3.0, 20.25, 18.125), (TRIANGLE,)),
            Instance("ulna", (4.5, 3.0, 40.0, 41.5), (TRIANGLE, SQUARE)),
            Instance("ulna", (4.5, 3.0, 40.0, 41.5), (SQUARE, TRIANGLE)),
        ),
        (
            Instance("carpals", (3.0, 2.0, 60.0, 70.0), mask=blob()),
            Instance("bone", (4.0, 2.0, 22.0, 19.0), (TRIANGLE,), ignore=True),
            Instance("ignore", (30.0, 30.0, 40.0, 41.5), (SQUARE,), ignore=True),
        ),
        (),
        None,
    )
    cases = [
        Case(
            name=f"film{index}.png",
            path=save(film(index), folder / f"film{index}.png"),
            fractured=(True, None, False, None)[index],
            instances=own,
            height_px=96,
            width_px=80,
            split=("train", "valid", "test", "")[index],
        )
        for index, own in enumerate(instances)
    ]
    return Manifest("rich", tuple(cases))


def instance_facts(item: Instance) -> tuple[Any, ...]:
    polygons = tuple(tuple(map(tuple, np.round(polygon, 6).tolist())) for polygon in item.polygons)
    mask = None if item.mask is None else (item.mask.shape, item.mask.tobytes())
    return item.label, tuple(round(value, 6) for value in item.box_xyxy_px), polygons, mask, item.ignore


def case_facts(case: Case) -> dict[str, Any]:
    instances = None if case.instances is None else [instance_facts(item) for item in case.instances]
    return {
        "name": case.name,
        "path": case.path.resolve(),
        "radiograph": case.radiograph,
        "fractured": case.fractured,
        "size": (case.height_px, case.width_px),
        "split": case.split,
        "instances": instances,
    }


def facts(manifest: Manifest) -> list[dict[str, Any]]:
    return [case_facts(case) for case in manifest]


def truncated_jpeg(pixels: NDArray[np.uint8], share: float) -> bytes:
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    return data[: int(len(data) * share)]


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment that holds nothing but the orientation."""
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + orientation.to_bytes(4, "little") + b"\0\0\0\0"
    payload = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + jpeg[2:]


ROW = dict.fromkeys(("hand", "leg", "hip", "shoulder", "mixed", "hardware", "multiscan", "fractured"), "0")
ROW |= dict.fromkeys(("fracture_count", "frontal", "lateral", "oblique"), "0")


def fracatlas(folder: Path) -> Path:
    """Five films: two fractured, one of them EXIF-rotated; two normal, one of them truncated; a wrong table row."""
    save(film(1, fractures=1), folder / "images/Fractured/IMG1.jpg")
    turned = folder / "images/Fractured/IMG2.jpg"
    save(film(2, fractures=1), turned)
    turned.write_bytes(with_orientation(turned.read_bytes(), 6))
    save(film(3), folder / "images/Non_fractured/IMG3.jpg")
    (folder / "images/Non_fractured/IMG4.jpg").write_bytes(truncated_jpeg(film(4), 0.6))
    save(film(5, fractures=1), folder / "images/Fractured/IMG5.jpg")
    rows = {
        "IMG1.jpg": {"hand": "1", "hardware": "1", "fractured": "1", "fracture_count": "2", "frontal": "1"},
        "IMG2.jpg": {"hand": "1", "shoulder": "1", "mixed": "1", "fractured": "1", "lateral": "1", "oblique": "1"},
        "IMG3.jpg": {"leg": "1", "fractured": "1"},
        "IMG4.jpg": {"hip": "1"},
        "IMG5.jpg": {"shoulder": "1", "fractured": "1"},
        "IMG9.jpg": {"leg": "1", "fractured": "0"},
    }
    with (folder / "dataset.csv").open("w", newline="") as lines:
        table = csv.DictWriter(lines, ["image_id", *ROW])
        table.writeheader()
        table.writerows({"image_id": name} | ROW | row for name, row in rows.items())
    for part, names in (("train", ["IMG1.jpg"]), ("valid", ["IMG2.jpg"]), ("test", ["IMG9.jpg"])):
        file = folder / "Utilities/Fracture Split" / f"{part}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes("\r\n".join(["image_id", *names, ""]).encode())
    sizes = {"IMG1.jpg": (96, 80), "IMG2.jpg": (80, 96)}
    document = {
        "images": [
            {"id": number, "file_name": name, "height": height, "width": width}
            for number, (name, (height, width)) in enumerate(sizes.items())
        ],
        "annotations": [
            annotation(0, 0, [TRIANGLE.ravel().tolist(), SQUARE.ravel().tolist()], [4.5, 3.0, 35.5, 38.5]),
            annotation(1, 0, [], [50.0, 60.0, 9.5, 8.0]),
            annotation(2, 1, [[1.0, 1.0, 90.0, 1.0, 90.0, 70.0]], [1.0, 1.0, 89.0, 69.0]),
        ],
        "categories": [{"id": 0, "name": "fractured"}],
    }
    write_json(document, folder / "Annotations/COCO JSON/COCO_fracture_masks.json")
    return folder


def annotation(number: int, image: int, segmentation: Any, box: list[float], category: int = 0) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "bbox": box,
        "iscrowd": 0,
        "area": 1.0,
    }
