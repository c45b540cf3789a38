"""Programs of ours that are started and killed often: what they import is imported once, each is a fork of that."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from osteon.service.settings import Settings

_CODE = """
import os, sys
import osteon.web.app, osteon.service.worker, uvicorn
from osteon.cli import main
if "--cluster" in sys.argv:
    import osteon.service.cluster
orders = os.fdopen(os.dup(0))
for line in iter(orders.readline, ""):
    words = line.split()
    if words[0] == "reap":
        os.waitpid(int(words[1]), 0)
        print("reaped", flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        main(words)
        os._exit(0)
    print(pid, flush=True)
"""


@dataclass(frozen=True)
class Forking:
    """Starts and kills programs."""

    _process: "subprocess.Popen[str]"
    log: Path

    def start(self, *words: str) -> int:
        """Start `osteon WORDS`; its process id."""
        return int(self._told(" ".join(words)))

    def kill(self, pid: int) -> None:
        """SIGKILL; returns once it is gone."""
        self._end(pid, signal.SIGKILL)

    def stop(self, pid: int) -> None:
        """SIGTERM; returns once it has ended by itself."""
        self._end(pid, signal.SIGTERM)

    def _end(self, pid: int, number: signal.Signals) -> None:
        os.kill(pid, number)
        assert self._told(f"reap {pid}") == "reaped"

    def _told(self, order: str) -> str:
        assert self._process.stdin and self._process.stdout
        print(order, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@contextmanager
def forking(settings: Settings, log: Path) -> Iterator[Forking]:
    """Programs that run with these settings and write to a log file; the group of all is killed in the end."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    changed = {name: value for name, value in values.items() if value != getattr(Settings(), name)}
    ours = {f"OSTEON_{name.upper()}": str(value) for name, value in changed.items()}
    others = {name: value for name, value in os.environ.items() if not name.startswith("OSTEON_")}
    words = [sys.executable, "-c", _CODE, *(["--cluster"] if settings.queue_url else [])]
    pipe = subprocess.PIPE
    with log.open("w") as stream:
        process = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=stream, text=True, env=others | ours, start_new_session=True
        )
        try:
            yield Forking(process, log)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
