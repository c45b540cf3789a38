"""The COCO tables of boxes and of masks through faster-coco-eval (Apache-2.0), the only file that sees it.

The figures that Osteon publishes come from `detection.py` and `instances.py`; tests show that they agree with these.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.datasets.labels import bone_class
from osteon.datasets.rle import coco_runs, compress
from osteon.errors import MissingExtra
from osteon.evaluation.detection import Judged
from osteon.evaluation.instances import ANY, Mask, Outlined, unknown_of
from osteon.findings import Bone

NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")
NAMES_OF_SIZES = ("AR_small", "AR_medium", "AR_large")


def coco_table(pictures: Sequence[Judged]) -> dict[str, float]:
    """COCO's twelve figures of one class; NaN where there is no truth of a size (32 and 96 px part the sizes).

    Raises:
        MissingExtra: faster-coco-eval is not installed.
    """
    names = (*NAMES, *NAMES_OF_SIZES)
    package = _package()
    rows = [row for i, p in enumerate(pictures) for row in _found(i, p)]
    if not rows:
        return dict.fromkeys(names, 0.0)
    truth = package.COCO(_dataset(pictures))
    evaluation = package.COCOeval_faster(truth, truth.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    figures = [float(value) for value in evaluation.stats[: len(names)]]
    return {name: round(value, 4) if value >= 0 else np.nan for name, value in zip(names, figures, strict=True)}


def mask_table(pictures: Sequence[Outlined], labels: Sequence[str] = ANY) -> dict[str, float]:
    """COCO's AP and AP50 of masks, the mean over the classes that were drawn; by default of all bones alike.

    Ignored regions are crowds of every class, as `instances` has them: their pixels are taken out of all masks, and
    what lies in them by more than half and hits nothing counts neither way at any threshold.

    Raises:
        MissingExtra: faster-coco-eval is not installed.
    """
    package = _package()
    truths: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for i, picture in enumerate(pictures):
        unknown = unknown_of(picture, labels)
        for bones, into in ((picture.truth, truths), (picture.found, rows)):
            known = [bone for bone in bones if bone_class(bone.label, labels) is not None]
            into += [_outline(i, bone, labels, unknown) for bone in known]
        truths += [_coded(unknown, i, category) | {"iscrowd": 1} for category in range(len(labels))]
    if not rows:
        return {"AP": 0.0, "AP50": 0.0}
    truth = package.COCO(
        {
            "images": [{"id": i, "height": p.shape[0], "width": p.shape[1]} for i, p in enumerate(pictures)],
            "annotations": [annotation | {"id": number} for number, annotation in enumerate(truths, start=1)],
            "categories": [{"id": category, "name": label} for category, label in enumerate(labels)],
        }
    )
    evaluation = package.COCOeval_faster(truth, truth.loadRes(rows), "segm")
    overlaps = evaluation.computeIoU
    inside = {row["id"]: row["neutral"] for row in rows}

    def with_regions(image: int, category: int) -> Any:
        """The package's overlaps, those with the crowd (the last truth of a class) told by `neutral`."""
        values = overlaps(image, category)
        if len(values):
            found = [row for row in rows if row["image_id"] == image and row["category_id"] == category]
            found.sort(key=lambda row: -row["score"])
            values = np.array(values)
            values[:, -1] = [inside[row["id"]] for row in found[: len(values)]]
        return values

    evaluation.computeIoU = with_regions
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {"AP": round(float(evaluation.stats[0]), 4), "AP50": round(float(evaluation.stats[1]), 4)}


def _outline(image: int, bone: Bone, labels: Sequence[str], unknown: Mask) -> dict[str, Any]:
    whole = bone.on(*unknown.shape)
    area = int(whole.sum())
    label = bone_class(bone.label, labels)
    coded = _coded(whole & ~unknown, image, list(labels).index(label or ""))
    share = int((whole & unknown).sum()) / area if area else 0.0
    return coded | {"score": float(bone.score), "neutral": float(share > 0.5), "iscrowd": 0}


def _coded(mask: Mask, image: int, category: int) -> dict[str, Any]:
    counts = compress(coco_runs(mask))
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": {"size": list(mask.shape), "counts": counts},
        "area": int(mask.sum()),
    }


def _package() -> Any:
    try:
        import faster_coco_eval
    except ImportError as error:
        raise MissingExtra(
            "faster-coco-eval is not installed", hint="pip install 'osteon[train]', or leave the COCO table out"
        ) from error
    return faster_coco_eval


def _dataset(pictures: Sequence[Judged]) -> dict[str, Any]:
    annotations = [_box(i, box) | {"iscrowd": 0} for i, p in enumerate(pictures) for box in p.truth_xyxy_px]
    return {
        "images": [{"id": i} for i in range(len(pictures))],
        "annotations": [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)],
        "categories": [{"id": 1, "name": "fracture"}],
    }


def _found(image: int, picture: Judged) -> list[dict[str, Any]]:
    pairs = zip(picture.found.boxes_xyxy_px, picture.found.scores, strict=True)
    return [_box(image, box) | {"score": float(score)} for box, score in pairs]


def _box(image: int, box_xyxy: NDArray[np.float32]) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    bbox = [x0, y0, x1 - x0, y1 - y0]
    return {"image_id": image, "category_id": 1, "bbox": bbox, "area": bbox[2] * bbox[3]}
