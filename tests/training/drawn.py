"""Miniature data sets and trainings on drawn pictures."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from osteon.datasets import synthetic
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.split import Split
from osteon.training.config import DetectorSettings, GateSettings, LoopSettings

LOOP = LoopSettings(epochs=2, batch=4, warmup_steps=2, evaluate_every=1, learning_rate=2e-3)
GATE = GateSettings(arch="segnet", side_px=64)
DETECTOR = DetectorSettings(side_px=96, canvas_px=64, settle_epochs=1)


def films(folder: Path, *, train: int = 8, valid: int = 4) -> tuple[Manifest, Split]:
    """Drawn radiographs, every second one fractured, and a few bright pictures that are none."""
    cases: list[Case] = []
    for index in range(train + valid):
        pixels, case = synthetic.draw(index, height_px=110, width_px=90, fractures=index % 2)
        cases.append(_written(folder, replace(case, fractured=bool(index % 2)), pixels))
    for index in range((train + valid) // 2):
        pixels = np.random.default_rng(index).integers(150, 256, (60, 80), np.uint8)
        cases.append(_written(folder, Case(f"photo-{index}.png", Path(), radiograph=False), pixels))
    return Manifest("drawn", tuple(cases)), split(cases, [*range(train), *range(train + valid, len(cases) - 2)])


def split(cases: list[Case], train: list[int]) -> Split:
    """A split by index."""
    parts = {"train": [], "valid": []}
    for index, case in enumerate(cases):
        parts["train" if index in train else "valid"].append(case.name)
    return Split("drawn", {part: tuple(sorted(names)) for part, names in parts.items()}, 0, "by hand")


def _written(folder: Path, case: Case, pixels: np.ndarray) -> Case:
    path = folder / case.name
    content = cv2.imencode(".png", pixels)[1].tobytes()
    if not path.is_file() or path.read_bytes() != content:  # another process may be reading it
        path.write_bytes(content)
    return replace(case, path=path)


def marks(folder: Path, kind: str, *, train: int = 12, valid: int = 8, seed: int = 0) -> tuple[Manifest, Split]:
    """Pictures of noise, every second one with a mark as its "fracture": a bright square, or a dark ring on light."""
    cases: list[Case] = []
    for index in range(train + valid):
        rng = np.random.default_rng([seed, index, len(kind)])
        square = kind == "square"
        pixels = rng.normal(50 if square else 190, 12, (96, 96)).clip(1, 255).astype(np.uint8)
        side = int(rng.integers(20, 32))
        x, y = (int(value) for value in rng.integers(2, 94 - side, 2))
        if index % 2 and square:
            pixels[y : y + side, x : x + side] = 230
        elif index % 2:
            cv2.circle(pixels, (x + side // 2, y + side // 2), side // 2 - 2, 20, 4)
        box = Instance("fracture", (float(x), float(y), float(x + side), float(y + side)))
        case = Case(f"{kind}-{index}.png", Path(), fractured=bool(index % 2), instances=(box,) if index % 2 else ())
        cases.append(_written(folder, case, pixels))
    return Manifest(kind, tuple(cases)), split(cases, [*range(train)])
