"""Miniature data sets and trainings on drawn pictures."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from osteon.datasets import synthetic
from osteon.datasets.case import Case, Manifest
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
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return replace(case, path=path)
