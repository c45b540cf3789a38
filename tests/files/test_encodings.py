"""The same picture in every encoding."""

import numpy as np
import pytest

import builders
from osteon.files import read


@pytest.mark.parametrize("encoding", builders.EXACT)
def test_a_lossless_encoding_gives_the_same_pixels(encoding: str, picture: builders.Picture) -> None:
    (radiograph,) = read(builders.EXACT[encoding](picture), name=encoding)
    np.testing.assert_array_equal(radiograph.as_uint8(), picture)


@pytest.mark.parametrize("encoding", builders.LOSSY)
def test_a_lossy_encoding_gives_nearly_the_same_pixels(encoding: str, picture: builders.Picture) -> None:
    encode, levels = builders.LOSSY[encoding]
    (radiograph,) = read(encode(picture), name=encoding)
    difference = np.abs(radiograph.as_uint8().astype(int) - picture)
    assert difference.max() <= 4 * levels, difference.max()
    assert difference.mean() <= levels / 4, difference.mean()
