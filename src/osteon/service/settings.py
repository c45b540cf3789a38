"""What the service can be told, and the only place that reads the environment."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from osteon.errors import ConfigurationError
from osteon.inference.pipeline import BONE_JUDGE_FILE, BONES_FILE, DETECTOR_FILE, GATE_FILE
from osteon.limits import Limits

PREFIX = "OSTEON_"

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Settings(BaseSettings):
    """Settings of one application; the environment variable of each is its name in capitals after `OSTEON_`.

    Only `from_environment` reads the environment: `Settings(workers=2)` is the defaults and what is given.

    >>> Settings(workers=2).changed(queue_limit=5).workers
    2
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", validate_default=True
    )

    data_dir: Path = Field(
        Path("osteon-data"), description="folder of the database (SQLite) and of all uploaded files; made where missing"
    )
    database_url: str = Field(
        "", repr=False, description="`postgresql+psycopg://user:password@host/name`; empty: SQLite in the data folder"
    )
    queue_url: str = Field(
        "", repr=False, description="`redis://host:6379/0` where `osteon worker` analyses; empty: this process analyses"
    )
    files_url: str = Field(
        "", description="`s3://bucket/folder`, or a folder that all machines share; empty: in the data folder"
    )
    max_upload_mb: _Finite = Field(64.0, gt=0, le=4096, description="largest body of a request, MiB")
    max_files: int = Field(32, ge=1, description="most files in one request, and most images in one ZIP archive")
    max_pixels: int = Field(Limits.max_pixels, ge=1, description="most pixels of one page; larger ones are refused")
    queue_limit: int = Field(100, ge=1, description="most analyses waiting before 429")
    workers: int = Field(2, ge=1, le=8, description="radiographs analysed side by side in one process, 1 to 8")
    model_threads: int = Field(
        0, ge=0, le=16, description="processor threads of one model run; 0: two for a lone worker, else one"
    )
    decoders: int = Field(2, ge=1, le=16, description="processes that decode files side by side, 1 to 16")
    decoder_memory_mb: int = Field(2048, ge=256, description="most memory of one of them, MiB")
    decode_seconds: _Finite = Field(30.0, gt=0, description="most seconds to decode one file")
    time_limit_seconds: _Finite = Field(300.0, gt=0, description="most seconds of one analysis; then it fails")
    max_attempts: int = Field(3, ge=1, description="an analysis begun this often without an end is given up")
    retry_seconds: _Finite = Field(
        2.0, gt=0, le=3600, description="wait before the second attempt after a passing fault; doubled each time"
    )
    lease_seconds: _Finite = Field(
        30.0, ge=1, description="a worker silent for so long is taken for dead and its analysis queued again"
    )
    retention_days: _Finite = Field(0.0, ge=0, description="finished analyses are removed after so many days; 0: kept")
    require_keys: bool | None = Field(
        None,
        description="`true`: nobody gets in without a key; `false`: on this machine nobody needs one; unset: keys are "
        "needed as soon as one was made. Set it to `true` behind a reverse proxy",
    )
    first_key: str = Field(
        "", repr=False, description="a key of at least 32 characters, made at the first start with every scope"
    )
    public_url: str = Field(
        "", description="the address that people open, such as `https://osteon.example`; for links in messages"
    )
    allowed_hosts: str = Field(
        "", description="host names besides this machine's own that are answered where no key is needed; with commas"
    )
    trusted_proxies: str = Field(
        "127.0.0.1", description="addresses of reverse proxies whose `X-Forwarded-For` and `-Proto` count; with commas"
    )
    session_hours: _Finite = Field(12.0, gt=0, le=24 * 365, description="how long a sign-in lasts")
    requests_per_minute: int = Field(
        6000, ge=0, description="most requests of one key, or of one address without a key, before 429; 0: no limit"
    )
    refusals_per_minute: int = Field(
        60, ge=0, description="most requests of one address with a key that does not work, before 429; 0: no limit"
    )
    log: Literal["auto", "json", "text"] = Field(
        "auto", description="form of the log on standard error: `json`, `text`; `auto`: text on a terminal, else JSON"
    )
    shutdown_seconds: int = Field(
        10, ge=0, le=600, description="how long open requests may take to end when the server is told to stop"
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port, on all addresses, at which `osteon worker` shows its metrics; 0: nowhere",
    )
    min_free_mb: int = Field(256, ge=0, description="less free disk space than this, MiB, and `/readyz` says 503")
    immediate: bool = Field(False, description="analyse within the request, without a pool (for tests)")
    gate: Path = Field(GATE_FILE, description="model file of the gate")
    detector: Path = Field(DETECTOR_FILE, description="model file of the detector")
    bones: Path = Field(
        BONES_FILE, description="model file of single bones; where there is none, nobody is shown bones"
    )
    bone_judge: Path = Field(
        BONE_JUDGE_FILE, description="model file that judges single bones; where there is none, no bone is judged"
    )

    def __init__(self, **given: Any) -> None:
        """The defaults and what is given.

        Raises:
            ConfigurationError: a value that cannot work; the message names the setting, not a password in it.
        """
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise _refused(error) from None

    @field_validator("data_dir", "gate", "detector", "bones", "bone_judge")
    @classmethod
    def _at_home(cls, path: Path) -> Path:
        return path.expanduser()

    @property
    def max_upload_bytes(self) -> int:
        """Largest body in bytes."""
        return int(self.max_upload_mb * 2**20)

    @property
    def hosts(self) -> frozenset[str]:
        """The host names of `allowed_hosts`, in lower case."""
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip())

    @property
    def threads(self) -> int:
        """Processor threads of one model run: two for a lone worker, one where several work side by side."""
        return self.model_threads or (2 if self.workers == 1 else 1)

    def make_data_dir(self) -> Path:
        """The data folder, made where it is missing; raises ConfigurationError where that fails."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the data folder {self.data_dir}: {error.strerror}",
                hint=f"set {PREFIX}DATA_DIR to another folder",
            ) from error
        return self.data_dir

    def changed(self, **changes: Any) -> Self:
        """The same settings but for the changes; raises ConfigurationError."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Self:
        """The settings of the environment; what is given outright comes before it.

        Raises:
            ConfigurationError: a variable whose value cannot be read or cannot work.

        >>> Settings.from_environment({"OSTEON_QUEUE_LIMIT": "5"}, workers=2).queue_limit
        5
        """
        source = EnvSettingsSource(cls)
        if environment is not None:
            source.env_vars = {name.lower(): value for name, value in environment.items() if value}
        try:
            found = source()
        except SettingsError as error:
            raise ConfigurationError(f"the environment: {error}", hint="correct that variable") from error
        return cls(**found | given)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what is given: the environment is read where that is asked for."""
        return (init_settings,)


def _refused(error: ValidationError) -> ConfigurationError:
    faults = error.errors(include_url=False, include_input=False)
    names = [str(fault["loc"][0]) for fault in faults]
    message = "; ".join(f"{name}: {fault['msg']}" for name, fault in zip(names, faults, strict=True))
    variables = ", ".join(PREFIX + name.upper() for name in names)
    return ConfigurationError(message, hint=f"set {variables} to a value that fits, or leave it out")


def table() -> str:
    """All settings as a Markdown table, for docs/http.md."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_default(name, field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _default(name: str, value: object) -> str:
    if name in ("gate", "detector", "bones", "bone_judge"):
        return "the released model"
    if value is None or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    sys.stdout.write(table())
