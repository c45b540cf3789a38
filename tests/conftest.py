"""What every test may use."""

import pytest

import builders


@pytest.fixture(scope="session")
def picture() -> builders.Picture:
    """A drawn radiograph, 120 by 90."""
    return builders.drawing().pixels
