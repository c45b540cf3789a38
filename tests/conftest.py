"""What every test may use."""

from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

import builders

settings.register_profile("house", deadline=None)  # a busy machine is no failure
settings.load_profile("house")

collect_ignore_glob = ["conftest.py", "*/conftest.py"]
"""Not searched for doctests: several modules of one name would clash."""


SERVICE = ("tests/web/", "tests/test_load.py")
"""Tests that start servers, browsers and load stay in one process, one after the other."""


class ServiceTogether(LoadScopeScheduling):
    """Side by side (`-n 2`): the service's tests in one process, the other files, each whole, in any."""

    def _split_scope(self, nodeid: str) -> str:
        return "service" if nodeid.startswith(SERVICE) else nodeid.split("::", 1)[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ServiceTogether:
    """Used where pytest is started with `-n`."""
    return ServiceTogether(config, log)


@pytest.fixture(scope="session")
def picture() -> builders.Picture:
    """A drawn radiograph, 120 by 90."""
    return builders.drawing().pixels
