import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.grey import luma, on_black, spread


@given(st.integers(0, 65535))
def test_equal_channels_keep_their_value(value: int) -> None:
    assert luma(np.full((1, 1, 3), value, np.uint16)).item() == value
    assert luma(np.full((1, 1, 3), value >> 8, np.uint8)).item() == value >> 8


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_transparency_never_brightens(value: int, alpha: int) -> None:
    grey = np.array([[value]], np.uint16)
    assert (
        on_black(
            grey,
            np.array(
                [
                    [
                        alpha,
                    ]
                ],
                np.uint16,
            ),
        ).item()
        <= value
    )
    assert on_black(grey, np.array([[65535]], np.uint16)).item() == value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 255]], np.int32), [[0, 255]]),
        (np.array([[0, 256]], np.int32), [[0, 256]]),
        (np.array([[0, 1 << 20]], np.int32), [[0, 65535]]),
        (np.array([[0.0, 0.5]], np.float32), [[0, 32768]]),
        (np.array([[5.0, 5.0]], np.float32), [[0, 0]]),
        (np.array([[np.nan, np.inf]], np.float32), [[0, 0]]),
    ],
)
def test_wide_values_fit_sixteen_bits(values: np.ndarray, expected: list[list[int]]) -> None:
    assert spread(values).tolist() == expected
