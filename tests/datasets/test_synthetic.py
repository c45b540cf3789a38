"""Drawn radiographs keep to their truth."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from osteon.datasets.case import Case
from osteon.datasets.recognise import open_dataset
from osteon.datasets.synthetic import draw, write_dataset


def marked(case: Case, label: str) -> list[tuple[float, float, float, float]]:
    return [item.box_xyxy_px for item in case.instances or () if item.label == label]


def bone_mask(case: Case) -> np.ndarray:
    mask = np.zeros((case.height_px or 0, case.width_px or 0), np.uint8)
    for item in case.instances or ():
        for polygon in item.polygons:
            cv2.fillPoly(mask, [np.floor(polygon).astype(np.int32)], 1)
    return mask.astype(bool)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("fractures", [0, 1, 2])
def test_as_many_fractures_are_marked_as_asked_for_and_lie_on_bone(seed: int, fractures: int) -> None:
    pixels, case = draw(seed, fractures=fractures)
    boxes = marked(case, "fracture")
    assert pixels.shape == (case.height_px, case.width_px) == (454, 373)
    assert len(boxes) == fractures
    assert case.fractured is (fractures > 0)
    bone = bone_mask(case)
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= 373
        assert 0 <= y0 < y1 <= 454
        assert min(x1 - x0, y1 - y0) >= 8
        assert bone[int(y0) : int(y1), int(x0) : int(x1)].mean() > 0.3


@pytest.mark.parametrize("seed", range(6))
def test_bone_is_brighter_than_what_is_around_it(seed: int) -> None:
    pixels, case = draw(seed, fractures=0)
    bone = bone_mask(case)
    inner = slice(40, -40)
    assert 0.08 < bone.mean() < 0.5
    assert pixels[inner][bone[inner]].mean() > pixels[inner][~bone[inner]].mean() + 60


@pytest.mark.parametrize("seed", range(6))
def test_the_cortex_is_brighter_than_the_marrow(seed: int) -> None:
    pixels, case = draw(seed, height_px=908, width_px=746, fractures=0)
    long_bone = max((item for item in case.instances or ()), key=lambda item: item.box_xyxy_px[3] - item.box_xyxy_px[1])
    mask = np.zeros(pixels.shape, np.uint8)
    cv2.fillPoly(mask, [long_bone.polygons[0].astype(np.int32)], 1)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    y0, y1 = int(long_bone.box_xyxy_px[1]), int(long_bone.box_xyxy_px[3])
    shaft = slice(y0 + (y1 - y0) // 4, y0 + (y1 - y0) // 2)
    deepest = depth[shaft].max()
    cortex = (depth[shaft] > 0.2 * deepest) & (depth[shaft] < 0.45 * deepest)
    assert pixels[shaft][cortex].mean() > pixels[shaft][depth[shaft] > 0.85 * deepest].mean()


@pytest.mark.parametrize("seed", range(6))
def test_the_gap_is_darker_than_the_bone_around_it(seed: int) -> None:
    broken, case = draw(seed, fractures=1)
    (box,) = marked(case, "fracture")
    x0, y0, x1, y1 = (int(value) for value in box)
    core = cv2.erode(bone_mask(case).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    inside = broken[y0:y1, x0:x1][core[y0:y1, x0:x1]]
    assert np.percentile(inside, 3) < np.median(inside) - 25


def test_the_same_seed_draws_the_same_picture_and_another_another() -> None:
    assert (draw(3)[0] == draw(3)[0]).all()
    assert (draw(3)[0] != draw(4)[0]).mean() > 0.5


def test_a_written_set_is_read_back(tmp_path: Path) -> None:
    written = write_dataset(tmp_path, count=10, seed=2, height_px=120, width_px=100)
    read = open_dataset(tmp_path)
    assert [case.name for case in read] == [case.name for case in written]
    assert [case.fractured for case in read] == [False, True] * 5
    assert [case.split for case in read] == ["train"] * 8 + ["valid"] * 2
    for case, again in zip(written, read, strict=True):
        assert np.allclose(marked(case, "fracture"), marked(again, "fracture"))
        pixels = cv2.imread(str(again.path), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        assert pixels.shape == (again.height_px, again.width_px) == (120, 100)
