"""What other detectors give, brought to Osteon's boxes and scores: YOLO exports with and without suppression.

Layouts of a detector's file:
- `osteon`: a grey picture in; `boxes` (1, n, 4) in model pixels and `scores` (1, n) out.
- `yolo`: an RGB picture in [0, 1] in; (1, 4 + classes, n) out: middle, width and height in model pixels, then a score
  for each class (what Ultralytics' export gives, v8 and later).
- `yolo-nms`: likewise in; (1, n, 6) out: x0, y0, x1, y1 in model pixels, score, number of the class (its export with
  suppression inside).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osteon.datasets.labels import FRACTURE_LABELS
from osteon.errors import ModelMismatch
from osteon.inference.card import Layout

Tensor = NDArray[np.float32]


def fracture_classes(labels: Sequence[str]) -> list[int]:
    """Numbers of the classes that mean a fracture.

    Raises:
        ModelMismatch: none does.

    >>> fracture_classes(("metal", "Fracture"))
    [1]
    """
    numbers = [number for number, label in enumerate(labels) if label.lower() in FRACTURE_LABELS]
    if not numbers:
        raise ModelMismatch(
            f"none of the labels {', '.join(labels) or '(none)'} means a fracture",
            hint=f"name the class of fractures {' or '.join(sorted(FRACTURE_LABELS))}",
        )
    return numbers


def recognised(shape: Sequence[int], labels: Sequence[str]) -> Layout:
    """The layout of a detector's only output, batch axis included.

    Raises:
        ModelMismatch: no layout that is known, or another number of classes.

    >>> recognised((1, 5, 8400), ("fracture",)), recognised((1, 300, 6), ("fracture",))
    ('yolo', 'yolo-nms')
    """
    if len(shape) == 3 and shape[0] == 1:
        if shape[1] == 4 + len(labels):
            return "yolo"
        if shape[2] == 6:
            return "yolo-nms"
    raise ModelMismatch(
        f"the model gives {tuple(shape)}; expected (1, {4 + len(labels)}, n) for {len(labels)} labels, or (1, n, 6)",
        hint="name every class of the model in its order, or export it again as a detector",
    )


def boxes_and_scores(layout: Layout, output: Tensor, labels: Sequence[str]) -> list[Tensor]:
    """(n, 4) boxes in model pixels and (n,) scores of fractures, from an output without its batch axis.

    Raises:
        ModelMismatch: the output has another shape than the layout says.
    """
    chosen = fracture_classes(labels)
    if recognised((1, *output.shape), labels) != layout:
        raise ModelMismatch(f"the model's output is not '{layout}'", hint="register the model again")
    if layout == "yolo-nms":
        wanted = np.isin(output[:, 5].astype(np.int64), chosen)
        return [output[wanted, :4], output[wanted, 4]]
    middle, half = output[:2].T, output[2:4].T / 2
    return [np.concatenate([middle - half, middle + half], axis=1), output[4:][chosen].max(axis=0)]
