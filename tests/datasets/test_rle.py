"""The run-length codes against pycocotools, and their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as reference

from osteon.datasets.rle import box_of_mask, coco_mask, coco_runs, compress, decompress, runs_of, values_of

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(masks)
def test_the_compressed_string_is_that_of_pycocotools(mask: np.ndarray) -> None:
    expected = reference.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert compress(coco_runs(mask)) == expected


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=12))
def test_long_runs_agree_with_pycocotools(runs: list[int]) -> None:
    mask = values_of(runs, sum(runs))[:, None]
    expected = reference.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert compress(coco_runs(mask)) == expected
    assert decompress(expected) == runs


@given(masks)
def test_masks_come_back(mask: np.ndarray) -> None:
    text = compress(coco_runs(mask))
    assert (coco_mask(decompress(text), *mask.shape) == mask).all()
    assert (values_of(runs_of(mask.ravel()), mask.size).reshape(mask.shape) == mask).all()


@given(masks)
def test_the_box_is_the_tightest(mask: np.ndarray) -> None:
    box = box_of_mask(mask)
    if box is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = map(int, box)
    inside = mask[y0:y1, x0:x1]
    assert inside.sum() == mask.sum()
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


@pytest.mark.parametrize("text", ["~~\x7f", "P", "0 1"])
def test_a_damaged_string_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="run"):
        decompress(text)


@pytest.mark.parametrize("runs", [[3, 2], [7], [-1, 7]])
def test_runs_that_do_not_fill_the_picture_are_refused(runs: list[int]) -> None:
    with pytest.raises(ValueError, match="pixels"):
        coco_mask(runs, 2, 3)
