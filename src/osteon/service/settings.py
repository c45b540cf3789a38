"""What the web application can be told, and the only place that reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from osteon.errors import ConfigurationError
from osteon.inference.pipeline import DETECTOR_FILE, GATE_FILE

PREFIX = "OSTEON_"


@dataclass(frozen=True)
class Settings:
    """Settings of one application; the environment variable of each is its name in capitals after `OSTEON_`.

    Attributes:
        data_dir: folder of the database and of all uploaded files; made where it is missing.
        max_upload_mb: largest body of a request, in MiB.
        max_files: most files in one request.
        queue_limit: most analyses waiting; beyond it the answer is 429.
        workers: radiographs analysed side by side, 1 to 8.
        max_attempts: an analysis that was interrupted this often (the process died) is given up.
        immediate: analyse within the request, without a pool; for tests.
        gate: model file of the gate.
        detector: model file of the detector.
    """

    data_dir: Path = Path("osteon-data")
    max_upload_mb: float = 64.0
    max_files: int = 32
    queue_limit: int = 100
    workers: int = 1
    max_attempts: int = 3
    immediate: bool = False
    gate: Path = GATE_FILE
    detector: Path = DETECTOR_FILE

    def __post_init__(self) -> None:
        _check("max_upload_mb", self.max_upload_mb, 0 < self.max_upload_mb <= 4096, "above 0 and up to 4096")
        _check("max_files", self.max_files, self.max_files >= 1, "at least 1")
        _check("queue_limit", self.queue_limit, self.queue_limit >= 1, "at least 1")
        _check("workers", self.workers, 1 <= self.workers <= 8, "1 to 8")
        _check("max_attempts", self.max_attempts, self.max_attempts >= 1, "at least 1")

    @property
    def max_upload_bytes(self) -> int:
        """Largest body in bytes."""
        return int(self.max_upload_mb * 2**20)

    @property
    def threads(self) -> int:
        """Processor threads of one model run: two for a lone worker, one where several work side by side."""
        return 2 if self.workers == 1 else 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Self:
        """The settings of the environment; what is given outright comes before it.

        Raises:
            ConfigurationError: a variable whose value cannot be read or cannot work.

        >>> Settings.from_environment({"OSTEON_QUEUE_LIMIT": "5"}, workers=2).queue_limit
        5
        """
        values = os.environ if environment is None else environment
        found = {
            field.name: _parsed(field.name, values[variable], type(field.default))
            for field in fields(cls)
            if (variable := PREFIX + field.name.upper()) in values
        }
        return cls(**found | given)


def _parsed(name: str, text: str, kind: type[Any]) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.strip().lower()]
        return Path(text).expanduser() if issubclass(kind, Path) else kind(text)
    except (ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{PREFIX}{name.upper()} is '{text}', expected {'true or false' if kind is bool else kind.__name__}",
            hint="correct the environment variable or remove it",
        ) from error


def _check(name: str, value: object, fits: bool, expected: str) -> None:
    if not fits:
        raise ConfigurationError(
            f"{name} is {value}, expected {expected}", hint=f"set {PREFIX}{name.upper()} to such a value"
        )
