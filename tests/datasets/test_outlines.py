"""Masks as polygons and back."""

import cv2
import dataset_builders as build
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as reference

from osteon.datasets import outlines

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def tube(length_px: int = 300, width_px: int = 30, degrees: float = 23.0) -> NDArray[np.bool_]:
    canvas = np.zeros((length_px, length_px), np.uint8)
    box = ((length_px / 2, length_px / 2), (length_px * 0.8, width_px), degrees)
    cv2.fillPoly(canvas, [np.rint(cv2.boxPoints(box)).astype(np.int32)], 1)
    return canvas > 0


def by_coco(polygons: tuple[NDArray[np.float64], ...], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The polygons as pycocotools paints them."""
    codes = reference.frPyObjects([polygon.ravel().tolist() for polygon in polygons], *mask.shape)
    return reference.decode(reference.merge(codes)) > 0


def by_opencv(polygons: tuple[NDArray[np.float64], ...], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The polygons as OpenCV paints them: with the pixels that the line touches."""
    canvas = np.zeros(mask.shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(canvas, [np.rint((polygon - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return canvas > 0


def iou(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    return float((one & two).sum() / (one | two).sum())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_outline_comes_back_as_the_mask_within_2_percent(seed: int) -> None:
    noise = np.random.default_rng(seed).random((40, 30)).astype(np.float32)
    mask = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.5) > 0.5)
    if polygons := outlines.polygons_of(mask):
        assert iou(outlines.painted(polygons, 40, 30), mask) >= 0.98
        assert iou(by_coco(polygons, mask), mask) >= 0.97
        assert iou(by_opencv(polygons, mask), mask) >= 0.97
        assert not any(map(outlines.crossings, polygons))
    else:
        filled = cv2.drawContours(
            np.zeros(mask.shape, np.uint8), cv2.findContours(mask.astype(np.uint8), 0, 1)[0], -1, 1, -1
        )
        assert not mask.any() or iou(filled > 0, mask) < 0.98


def test_a_shaft_needs_few_points() -> None:
    (polygon,) = outlines.polygons_of(tube()) or ()
    assert len(polygon) <= 12
    assert iou(outlines.painted([polygon], 300, 300), tube()) >= 0.98


def test_a_small_bone_keeps_every_corner() -> None:
    mask = np.zeros((12, 12), bool)
    mask[3:9, 4:7] = True
    mask[8, 4] = False
    (polygon,) = outlines.polygons_of(mask) or ()
    assert (outlines.painted([polygon], 12, 12) == mask).all()
    assert (by_coco((polygon,), mask) == mask).all()


def test_coordinates_are_hundredths_as_cvat_writes_them() -> None:
    (polygon,) = outlines.polygons_of(tube()) or ()
    assert (np.round(polygon, 2) == polygon).all()


def test_parts_stay_parts_and_a_speck_is_one_of_them() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:20, 5:20], mask[30:50, 10:50], mask[57, 57] = True, True, True
    polygons = outlines.polygons_of(mask)
    assert polygons is not None and len(polygons) == 3
    assert (outlines.painted(polygons, 60, 60) == mask).all()


def test_a_hole_is_kept_as_pixels_and_a_pinhole_is_filled() -> None:
    assert outlines.polygons_of(build.blob()) is None
    mask = np.zeros((60, 60), bool)
    mask[5:55, 5:55], mask[30, 30] = True, False
    assert outlines.polygons_of(mask) is not None


@pytest.mark.parametrize("corner", [(0, 0), (17, 5), (-20, -7), (60, 80)])
def test_an_instance_lies_where_its_mask_lies(corner: tuple[int, int]) -> None:
    mask = tube(80, 20)
    item = outlines.outlined("ulna", mask, corner, size_px=(120, 100), score=0.123456)
    whole = np.zeros((300, 300), bool)
    x, y = corner[0] + 100, corner[1] + 100
    whole[y : y + 80, x : x + 80] = mask
    seen = whole[100:220, 100:200]
    assert item is not None and item.score == 0.1235
    assert iou(outlines.painted(item.polygons, 120, 100), seen) >= 0.98
    x0, y0, x1, y1 = item.box_xyxy_px
    assert min(x0, y0) >= 0 and x1 <= 100 and y1 <= 120


def test_a_mask_with_a_hole_becomes_an_instance_of_pixels() -> None:
    item = outlines.outlined("pelvis", build.blob(), (10, 4), size_px=(150, 130), score=0.9)
    assert item is not None and item.mask is not None and not item.polygons
    assert (item.mask[4:100, 10:90] == build.blob()).all()
    assert item.mask.sum() == build.blob().sum()
    assert item.box_xyxy_px == (13.0, 6.0, 70.0, 74.0)


@pytest.mark.parametrize(("mask", "corner"), [(np.zeros((5, 5), bool), (0, 0)), (np.ones((5, 5), bool), (-5, 0))])
def test_what_does_not_show_on_the_picture_is_none(mask: NDArray[np.bool_], corner: tuple[int, int]) -> None:
    assert outlines.outlined("ulna", mask, corner, size_px=(20, 20), score=0.5) is None


def test_crossings_are_counted_and_touches_are_not() -> None:
    bow = np.array([[0.0, 0.0], [4.0, 4.0], [4.0, 0.0], [0.0, 4.0]])
    touching = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [2.0, 0.0], [0.0, 4.0]])
    assert outlines.crossings(bow) == 1
    assert outlines.crossings(touching) == 0
