"""What every test may use."""

import pytest
from hypothesis import settings

import builders

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

collect_ignore_glob = ["conftest.py", "*/conftest.py"]
"""Not searched for doctests: several modules of one name would clash."""


@pytest.fixture(scope="session")
def picture() -> builders.Picture:
    """A drawn radiograph, 120 by 90."""
    return builders.drawing().pixels
