"""Servers for the tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from serving import Running, running

import models
from osteon.service.settings import Settings


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> models.ModelFiles:
    return models.model_files(tmp_path_factory.mktemp("models"))


@pytest.fixture
def settings(tmp_path: Path, model_files: models.ModelFiles) -> Settings:
    return Settings(data_dir=tmp_path / "data", gate=model_files.gate, detector=model_files.detector)


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., Running]]:
    """Starts a server with some settings changed."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running(settings.changed(**changes)))


@pytest.fixture
def server(serve: Callable[..., Running]) -> Running:
    return serve()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, model_files: models.ModelFiles) -> Iterator[Running]:
    """One server for all tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("shared")
    with running(Settings(data_dir=folder, gate=model_files.gate, detector=model_files.detector)) as server:
        yield server
