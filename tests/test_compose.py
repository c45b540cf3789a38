"""compose.yaml names what there is: commands of ours, settings of ours, the port of the work we build on."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from osteon.cli import main
from osteon.service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
    return services


def test_starts_app_workers_database_and_queue(services: dict[str, Any]) -> None:
    assert services.keys() == {"app", "worker", "database", "queue"}
    assert services["app"]["ports"] == ["8010:8000"]


@pytest.mark.parametrize("name", ["app", "worker"])
def test_commands_and_settings_are_known(services: dict[str, Any], name: str) -> None:
    command, *options = services[name]["command"]
    found = main.get_command(None, command)  # type: ignore[arg-type]
    assert found is not None
    assert found.make_context(command, [str(option) for option in options])
    environment = services[name]["environment"]
    assert {variable.removeprefix(PREFIX).lower() for variable in environment} <= Settings.model_fields.keys()
    settings = Settings.from_environment({key: str(value) for key, value in environment.items()})
    assert make_url(settings.database_url.replace("${POSTGRES_PASSWORD:-osteon}", "x")).host in services
    assert make_url(settings.queue_url).host in services


def test_all_see_the_same_files(services: dict[str, Any]) -> None:
    assert services["app"]["volumes"] == services["worker"]["volumes"]


def test_only_the_app_is_reached_from_outside(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["app"]
    assert all(service["networks"] == ["inside"] for name, service in services.items() if name != "app")
