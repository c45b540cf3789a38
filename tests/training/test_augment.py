"""Pictures and points move together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteon.training.augment import Motion, erase, move, random_affine, shade, visible_box, warp

CANVAS = 96
ANY = Motion(rotation_degrees=180, scale_low=0.7, scale_high=1.5, quarter_turn=0.5)
STILL = Motion(0, 1, 1, flips=False)


@given(st.integers(0, 10_000), st.integers(8, 55), st.integers(8, 71))
@settings(max_examples=80)
def test_a_bright_dot_moves_to_the_moved_point(seed: int, x: int, y: int) -> None:
    image = np.zeros((80, 64), np.uint8)
    image[y - 1 : y + 2, x - 1 : x + 2] = 120
    image[y, x] = 255
    affine = random_affine(np.random.default_rng(seed), ANY, centre_xy=(32, 40), canvas_px=CANVAS)
    (goal,) = move(np.array([[x + 0.5, y + 0.5]]), affine)
    canvas = warp(image, affine, CANVAS)
    if (goal > 2).all() and (goal < CANVAS - 2).all():
        row, column = np.unravel_index(canvas.argmax(), canvas.shape)
        assert np.hypot(column + 0.5 - goal[0], row + 0.5 - goal[1]) <= 1


def test_the_centre_comes_to_the_middle_of_the_canvas() -> None:
    for seed in range(20):
        affine = random_affine(np.random.default_rng(seed), ANY, centre_xy=(20, 50), canvas_px=CANVAS)
        assert move(np.array([[20.0, 50.0]]), affine)[0] == pytest.approx([CANVAS / 2] * 2)


@given(st.integers(0, 10_000))
def test_scale_and_angle_stay_within_the_motion(seed: int) -> None:
    motion = Motion(25, 0.7, 1.45, quarter_turn=0.0)
    matrix = random_affine(np.random.default_rng(seed), motion, centre_xy=(0, 0), canvas_px=0)[:, :2]
    scale = np.sqrt(abs(np.linalg.det(matrix)))
    assert 0.7 - 1e-9 <= scale <= 1.45 + 1e-9
    assert matrix @ matrix.T == pytest.approx(np.eye(2) * scale**2)
    assert abs(matrix[0, 0]) >= scale * np.cos(np.radians(25)) - 1e-9


def test_standing_still_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (CANVAS, CANVAS), np.uint8)
    affine = random_affine(np.random.default_rng(0), STILL, centre_xy=(CANVAS / 2, CANVAS / 2), canvas_px=CANVAS)
    np.testing.assert_array_equal(warp(image, affine, CANVAS), image)


def test_flips_mirror_picture_and_points_to_the_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (CANVAS, CANVAS), np.uint8)
    motion = Motion(0, 1, 1)
    seen = set()
    for seed in range(30):
        affine = random_affine(
            np.random.default_rng(seed), motion, centre_xy=(CANVAS / 2, CANVAS / 2), canvas_px=CANVAS
        )
        signs = int(affine[0, 0]), int(affine[1, 1])
        seen.add(signs)
        np.testing.assert_array_equal(warp(image, affine, CANVAS), image[:: signs[1], :: signs[0]])
        point = move(np.array([[10.0, 20.0]]), affine)[0]
        assert point == pytest.approx([10 if signs[0] > 0 else CANVAS - 10, 20 if signs[1] > 0 else CANVAS - 20])
    assert len(seen) == 4


def test_a_visible_box_is_cut_at_the_canvas_or_dropped() -> None:
    def corners(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])

    assert visible_box(corners(10, 10, 30, 20), 50) == (10, 10, 30, 20)
    assert visible_box(corners(-10, 10, 10, 20), 50) == (0, 10, 10, 20)
    assert visible_box(corners(-13, 10, 7, 20), 50) is None
    assert visible_box(corners(-13, 10, 7, 20), 50, least=0.3) == (0, 10, 7, 20)
    assert visible_box(corners(60, 60, 90, 90), 50) is None
    assert visible_box(corners(10, 10, 11, 40), 50) is None


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=60)
def test_shading_stays_within_black_and_white_and_black_stays_black(seed: int, strength: float) -> None:
    image = np.random.default_rng(seed).integers(1, 256, (48, 40), np.uint8)
    image[:, 25:] = 0
    grey = shade(np.random.default_rng(seed), image, strength=strength)
    assert grey.dtype == np.float32
    assert grey.shape == image.shape
    assert 0 <= grey.min() <= grey.max() <= 1
    assert not grey[:, 25:].any()
    assert grey[:, :25].any()


def test_shading_without_strength_only_changes_the_type() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 40), np.uint8)
    grey = shade(np.random.default_rng(1), image, strength=0)
    np.testing.assert_allclose(grey, image / 255, atol=1e-6)


def test_the_same_seed_changes_alike_and_another_does_not() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)

    def changed(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        grey = shade(rng, warp(image, random_affine(rng, ANY, centre_xy=(32, 32), canvas_px=64), 64))
        erase(rng, grey)
        return grey

    for seed in range(8):
        np.testing.assert_array_equal(changed(seed), changed(seed))
        assert not np.array_equal(changed(seed), changed(seed + 1))


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 60))
def test_erasing_covers_a_small_part(seed: int, height: int, width: int) -> None:
    image = np.full((height, width), 2.0, np.float32)
    erase(np.random.default_rng(seed), image)
    covered = image != 2
    assert covered.mean() <= 3 * 0.15**2 + 1e-9
    assert (image[covered] <= 1).all()
