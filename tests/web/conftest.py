"""Servers for the tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from serving import JUDGE, Running, lent, running

import bone_judges
import cluster
import models
from osteon.service.claims import Claims
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore


@pytest.fixture(scope="session")
def instances() -> Iterator[cluster.Instances | None]:
    """PostgreSQL and Redis where the tests shall run on them, else None: SQLite and a pool in the server's process."""
    if not cluster.ASKED:
        yield None
        return
    if lacking := cluster.missing():
        pytest.skip(f"not installed: {', '.join(lacking)}")
    with cluster.running() as running:
        yield running


@pytest.fixture
def embedded(instances: cluster.Instances | None) -> None:
    """For tests of what only a server that analyses itself does."""
    if instances:
        pytest.skip("only where the server analyses itself")


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> models.ModelFiles:
    return models.model_files(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def bones_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bones")
    bone_judges.write_judge(folder / JUDGE, bone_judges.joined())
    return models.bones_file(folder)


@pytest.fixture
def settings(
    tmp_path: Path, model_files: models.ModelFiles, bones_model: Path, instances: cluster.Instances | None
) -> Iterator[Settings]:
    with lent(tmp_path / "data", model_files, bones_model, instances) as settings:
        yield settings


@pytest.fixture
def store(settings: Settings) -> Iterator[AnalysisStore]:
    with closing(AnalysisStore.of(settings)) as store:
        yield store


@pytest.fixture
def claims(store: AnalysisStore, settings: Settings) -> Claims:
    return Claims(store.database, settings, "worker")


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., Running]]:
    """Starts a server with some settings changed."""
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running(settings.changed(**changes)))


@pytest.fixture
def server(serve: Callable[..., Running]) -> Running:
    return serve()


@pytest.fixture(scope="session")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
    model_files: models.ModelFiles,
    bones_model: Path,
    instances: cluster.Instances | None,
) -> Iterator[Running]:
    """One server for all tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("shared")
    with lent(folder, model_files, bones_model, instances) as settings, running(settings) as server:
        yield server
