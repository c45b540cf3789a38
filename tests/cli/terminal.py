"""The command `osteon` as a person runs it: the installed script, in a process of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from osteon.cli import main

SCRIPT = Path(sys.executable).with_name("osteon")


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


def osteon(*words: str | Path, folder: Path | None = None) -> Done:
    """Runs a command; its exit status and what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OSTEON_")}
    done = subprocess.run(
        [SCRIPT, *map(str, words)],
        cwd=folder,
        env=environment | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def osteon_here(*words: str | Path) -> Done:
    """Runs a command in this process, which is quicker; its exit status and what it said."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Done(done.exit_code, done.stdout, done.stderr)
