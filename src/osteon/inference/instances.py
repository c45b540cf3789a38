"""Single bones of many pictures as one COCO document, for any tool that reads it: run-length masks, boxes, scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from osteon.anatomy import BONES
from osteon.datasets.rle import coco_runs, compress
from osteon.findings import Bone
from osteon.radiograph import Radiograph


@dataclass(frozen=True)
class ImageRecord:
    """A picture of the document and its objects, without pixels.

    Attributes:
        file_name: last part of its path; `#2` behind it for the second page.
        height_px: as a person sees it.
        width_px: likewise.
        objects: label and annotation, which lacks only what depends on other pictures.
    """

    file_name: str
    height_px: int
    width_px: int
    objects: tuple[tuple[str, dict[str, Any]], ...]

    @classmethod
    def of(cls, radiograph: Radiograph, bones: Sequence[Bone]) -> "ImageRecord":
        """A radiograph and the bones found on it."""
        name = radiograph.source.replace("\\", "/").rsplit("/", 1)[-1]
        size = radiograph.height_px, radiograph.width_px
        return cls(name, *size, tuple((bone.label, _object(bone, *size)) for bone in bones))


def document(images: Sequence[ImageRecord]) -> dict[str, Any]:
    """The COCO document: `images`, `annotations` (each with `score`), `categories`; ids from 1.

    Categories are those of the published bone outlines, in their order, whether found or not; labels of other models
    follow.
    """
    found = {label for image in images for label, _ in image.objects}
    categories = [*BONES, *sorted(found - BONES.keys())]
    numbers = {label: number for number, label in enumerate(categories, start=1)}
    annotations = [
        {"image_id": image_id, "category_id": numbers[label], **value}
        for image_id, image in enumerate(images, start=1)
        for label, value in image.objects
    ]
    return {
        "images": [
            {"id": number, "file_name": image.file_name, "height": image.height_px, "width": image.width_px}
            for number, image in enumerate(images, start=1)
        ],
        "annotations": [{"id": number, **value} for number, value in enumerate(annotations, start=1)],
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
    }


def _object(bone: Bone, height_px: int, width_px: int) -> dict[str, Any]:
    """Segmentation, box, area and score."""
    x0, y0, x1, y1 = bone.box_xyxy_px
    counts = compress(coco_runs(bone.on(height_px, width_px)))
    return {
        "segmentation": {"size": [height_px, width_px], "counts": counts},
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": bone.area_px,
        "iscrowd": 0,
        "score": round(bone.score, 6),
    }
