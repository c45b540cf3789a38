"""Radiograph -> model input and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from osteon.errors import InvalidImage
from osteon.geometry import Placement
from osteon.preprocess import letterbox, resize, stretch, unletterbox


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from((32, 64, 96)), st.integers(0, 9))
@settings(max_examples=60)
def test_letterbox_pads_right_and_below_with_black(height: int, width: int, side: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    boxed = letterbox(image, side_px=side)
    assert boxed.pixels.shape == (side, side)
    assert boxed.pixels.dtype == np.float32
    assert 0 <= boxed.pixels.min() <= boxed.pixels.max() <= 1
    assert not boxed.pixels[boxed.placement.placed_height_px :].any()
    assert not boxed.pixels[:, boxed.placement.placed_width_px :].any()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 256), st.integers(0, 99))
def test_stretching_is_to_the_last_bit_that_of_percentiles(height: int, width: int, levels: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, levels, (height, width), np.uint8)
    low, high = np.percentile(image, (0.5, 99.5))
    expected = np.zeros(image.shape, np.float32)
    if high > low:
        expected = np.clip((image.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    np.testing.assert_array_equal(stretch(image), expected)
    np.testing.assert_array_equal(
        stretch(np.tile(image, (1, 2))[:, ::2][:, : (width + 1) // 2]), stretch(image[:, ::2])
    )


def test_the_image_lies_upper_left() -> None:
    image = np.zeros((40, 20), np.uint8)
    image[:10, :10] = 255
    pixels = letterbox(image, side_px=80).pixels
    assert pixels[:18, :18].min() == 1
    assert pixels[22:].max() == 0


@pytest.mark.parametrize("side", [64, 224, 640])
def test_bit_depth_matters_less_than_a_grey_level(side: int, picture: builders.Picture) -> None:
    eight, sixteen = (letterbox(p, side_px=side).pixels for p in (picture, builders.deep(picture)))
    low, high = np.percentile(picture, (0.5, 99.5))
    assert np.abs(eight - sixteen).max() <= 1 / (high - low)
    assert np.abs(eight - sixteen).mean() <= 0.5 / 255


def test_sixteen_bits_are_not_cut_to_eight() -> None:
    """12 bits in a 16-bit file: 4096 of 65536 levels used."""
    ramp = np.tile(np.arange(0, 4096, 16, dtype=np.uint16), (64, 1))
    assert len(np.unique(letterbox(ramp, side_px=256).pixels)) > 200


@given(st.floats(0.3, 1), st.floats(0, 1))
@settings(max_examples=25)
def test_linear_exposure_does_not_matter(contrast: float, brightness: float) -> None:
    picture = builders.deep(builders.drawing().pixels)
    exposed = picture * contrast + brightness * (1 - contrast) * 65535
    changed = letterbox(np.rint(exposed).astype(np.uint16), side_px=96).pixels
    """To one grey level of 8 bits, which a weaker exposure spreads further."""
    assert np.abs(changed - letterbox(picture, side_px=96).pixels).max() < 3 / (255 * contrast)


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (30, 50)])
def test_a_flat_picture_becomes_black(shape: tuple[int, int], level: int) -> None:
    boxed = letterbox(np.full(shape, level, np.uint8), side_px=64)
    assert boxed.pixels.shape == (64, 64)
    assert not boxed.pixels.any()


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1)])
def test_a_line_of_pixels_keeps_its_grey_along_the_line(shape: tuple[int, int]) -> None:
    ramp = np.linspace(0, 255, 5000).astype(np.uint8).reshape(shape)
    boxed = letterbox(ramp, side_px=64)
    assert (boxed.placement.placed_height_px, boxed.placement.placed_width_px) == tuple(np.minimum(shape, 64))
    line = boxed.pixels[0] if shape[0] == 1 else boxed.pixels[:, 0]
    assert (np.diff(line) >= 0).all()
    assert line[-1] == 1
    assert boxed.placement.to_image(np.array([[0, 0, 64, 64]], np.float32)).tolist() == [[0, 0, shape[1], shape[0]]]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_no_pixels_are_an_invalid_image(shape: tuple[int, int]) -> None:
    with pytest.raises(InvalidImage) as caught:
        letterbox(np.zeros(shape, np.uint8), side_px=64)
    assert caught.value.hint


def test_stretch_leaves_a_half_percent_at_either_end() -> None:
    spread = stretch(np.arange(1000, dtype=np.uint16).reshape(20, 50))
    assert 4 <= (spread == 0).sum() <= 6
    assert 4 <= (spread == 1).sum() <= 6
    assert spread.flat[500] == pytest.approx(0.5, abs=0.01)


def test_shrinking_averages_and_growing_stays_within_range() -> None:
    board = np.indices((64, 64)).sum(0).astype(np.uint8) % 2 * 200
    assert np.unique(resize(board, 32, 32)).tolist() == [100]
    grown = resize(board, 100, 100)
    assert (grown.shape, grown.max()) == ((100, 100), 200)
    assert resize(board, 64, 64) is board


@pytest.mark.parametrize("grid", [224, 112, 56, 7])
@pytest.mark.parametrize("size", [(100, 50), (50, 100), (1, 3000), (77, 77)])
def test_a_coarser_map_is_cut_where_the_image_ends(size: tuple[int, int], grid: int) -> None:
    placement = Placement.fit(*size, side_px=224)
    over = unletterbox(np.zeros((grid, grid), np.float32), placement)
    expected = [max(1, side * grid / max(size)) for side in size]
    assert np.abs(np.array(over.shape) - expected).max() <= 0.51


def test_a_map_at_full_size_brings_the_placed_image_back(picture: builders.Picture) -> None:
    boxed = letterbox(picture, side_px=120)
    np.testing.assert_array_equal(unletterbox(boxed.pixels, boxed.placement), stretch(picture))
