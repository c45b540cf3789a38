"""Pictures of boxes and ellipses that stand for bones, with known overlaps."""

from collections.abc import Sequence

import cv2
import numpy as np

from osteon.evaluation.instances import Outlined
from osteon.evaluation.records import Facts
from osteon.findings import Bone

HEIGHT_PX, WIDTH_PX = 60, 50
Box = tuple[int, int, int, int]


def bone(box: Box, *, label: str = "bone", score: float = 1.0) -> Bone:
    """A full rectangle."""
    x0, y0, x1, y1 = box
    return Bone(label, score, (float(x0), float(y0), float(x1), float(y1)), (x0, y0), np.ones((y1 - y0, x1 - x0), bool))


def region(*boxes: Box) -> np.ndarray:
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def picture(
    found: Sequence[Bone],
    truth: Sequence[Bone],
    *,
    ignored: Sequence[Box] = (),
    name: str = "drawn",
    part: str = "hand",
    gate: np.ndarray | None = None,
    gate_saw: bool | None = None,
) -> Outlined:
    """One picture; found bones best first."""
    ordered = tuple(sorted(found, key=lambda one: -one.score))
    facts = Facts(HEIGHT_PX, WIDTH_PX, part)
    return Outlined(name, facts, ordered, tuple(truth), region(*ignored), gate, gate_saw)


def random_pictures(
    seed: int, *, count: int = 12, labels: Sequence[str] = ("radius", "ulna", "implant")
) -> list[Outlined]:
    """Ellipses, detections near them, twice, elsewhere and in ignored regions, some of another label."""
    rng = np.random.default_rng(seed)
    pictures = []
    for number in range(count):
        truth = [_ellipse(rng, str(rng.choice(labels)), 1.0) for _ in range(int(rng.integers(0, 5)))]
        found = [_near(rng, one, str(rng.choice(labels)) if rng.random() < 0.2 else one.label) for one in truth * 2]
        found += [_ellipse(rng, str(rng.choice(labels)), round(float(rng.random()), 3)) for _ in range(4)]
        x, y = (int(value) for value in rng.integers(0, 30, 2))
        ignored = [(x, y, x + 18, y + 25)] if rng.random() < 0.7 else []
        pictures.append(picture(found, truth, ignored=ignored, name=f"{number}", part=str(rng.choice(["hand", "leg"]))))
    return pictures


def _ellipse(rng: np.random.Generator, label: str, score: float) -> Bone:
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    centre, axes = rng.integers(12, 40, 2), rng.integers(3, 12, 2)
    cv2.ellipse(mask, centre.tolist(), axes.tolist(), float(rng.integers(0, 180)), 0, 360, 1, -1)
    return _of(mask > 0, label, score)


def _near(rng: np.random.Generator, one: Bone, label: str) -> Bone:
    x, y = rng.integers(-2, 3, 2)
    moved = np.roll(one.on(HEIGHT_PX, WIDTH_PX), (int(y), int(x)), (0, 1))
    return _of(moved, label, round(float(rng.random()), 3))


def _of(mask: np.ndarray, label: str, score: float) -> Bone:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1] + 1), int(rows[-1] + 1)
    return Bone(label, score, (float(x0), float(y0), float(x1), float(y1)), (x0, y0), mask[y0:y1, x0:x1].copy())
