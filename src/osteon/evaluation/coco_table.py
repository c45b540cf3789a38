"""The whole COCO table of a detector through faster-coco-eval (Apache-2.0), the only file that sees it.

The figures that Osteon publishes come from `detection.py`; a test shows that the two agree, and with pycocotools.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.errors import MissingExtra
from osteon.evaluation.detection import Judged

NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")
NAMES_OF_SIZES = ("AR_small", "AR_medium", "AR_large")


def coco_table(pictures: Sequence[Judged]) -> dict[str, float]:
    """COCO's twelve figures of one class; NaN where there is no truth of a size (32 and 96 px part the sizes).

    Raises:
        MissingExtra: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtra(
            "faster-coco-eval is not installed", hint="pip install 'osteon[train]', or leave the COCO table out"
        ) from error
    names = (*NAMES, *NAMES_OF_SIZES)
    rows = [row for i, p in enumerate(pictures) for row in _found(i, p)]
    if not rows:
        return dict.fromkeys(names, 0.0)
    truth = COCO(_dataset(pictures))
    evaluation = COCOeval_faster(truth, truth.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    figures = [float(value) for value in evaluation.stats[: len(names)]]
    return {name: round(value, 4) if value >= 0 else np.nan for name, value in zip(names, figures, strict=True)}


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
