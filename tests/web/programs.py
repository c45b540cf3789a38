"""`osteon serve` as people start it: a process of its own."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import models

_numbers = itertools.count()
_PATIENCE_SECONDS = 60


class Program:
    """A server whose log goes to a file beside its data folder."""

    def __init__(self, folder: Path, files: models.ModelFiles, *words: str, **variables: str) -> None:
        own = {
            "OSTEON_DATA_DIR": str(folder),
            "OSTEON_GATE": str(files.gate),
            "OSTEON_DETECTOR": str(files.detector),
            **{f"OSTEON_{name.upper()}": value for name, value in variables.items()},
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OSTEON_")}
        command = [str(Path(sys.executable).with_name("osteon")), "serve", *words]
        self.log = folder.parent / f"server-{next(_numbers)}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env={**kept, **own}, stdout=log, stderr=log)

    def text(self) -> str:
        """All that it has written."""
        return self.log.read_text(encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        """Its log, each whole line of which must be JSON."""
        return [json.loads(line) for line in self.text().splitlines(keepends=True) if line.endswith("\n")]

    def until(self, event: str) -> dict[str, Any]:
        """The first line of the log with this event, once it is there."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            ended = self.process.poll() is not None
            for line in self.lines():
                if line["event"] == event:
                    return line
            assert not ended, f"the server ended: {self.text()}"
            time.sleep(0.05)
        raise AssertionError(f"no {event}: {self.text()}")

    @property
    def url(self) -> str:
        """Where it can be asked."""
        return str(self.until("listening")["url"]).replace("0.0.0.0", "127.0.0.1")

    def wait(self) -> int:
        """Its exit status, once it has ended by itself."""
        return self.process.wait(_PATIENCE_SECONDS)

    def end(self) -> None:
        """Tell it to stop, and wait until it has."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_PATIENCE_SECONDS)

    def kill(self) -> None:
        """Whatever it does, it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
