"""A server of its own for each measurement, and what the system tells of it (Linux: /proc)."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from osteon.errors import ConfigurationError

_SERVE = "from osteon.cli import main; main()"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_MIB = 2**20


@dataclass(frozen=True)
class Server:
    """A running `osteon serve`."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def memory_mib(self) -> float:
        """Resident memory of the server and of all processes below it, MiB."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _alive(self.pid))
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB

    def cpu_seconds(self) -> float:
        """Processor time that the server and all processes below it have used."""
        return sum(_ticks(pid) for pid in _alive(self.pid)) / os.sysconf("SC_CLK_TCK")

    def counted(self, metric: str, **labels: str) -> float:
        """Sum of a metric over everything with these labels."""
        total = 0.0
        for line in self.asked("/metrics").decode().splitlines():
            name, _, value = line.rpartition(" ")
            wanted = all(f'{label}="{given}"' in name for label, given in labels.items())
            if re.match(rf"{metric}(\{{|$)", name) and wanted:
                total += float(value)
        return total

    def asked(self, path: str) -> bytes:
        """The body of a GET's answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Server]:
    """A server with these settings, its data and its log in the folder, ready to be asked; stopped afterwards.

    Raises:
        ConfigurationError: it does not start; what it said last is told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = {"data_dir": folder / "data", **settings}
    variables = [f"OSTEON_{name.upper()}={value}" for name, value in given.items()]
    port = _free_port()
    command = ["env", *variables, sys.executable, "-c", _SERVE, "serve", "--port", str(port)]
    log = folder / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    server = Server(port, process.pid)
    try:
        _await_ready(server, process, log)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_ready(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            if b"ready" in server.asked("/readyz"):
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > until:
            said = log.read_text("utf-8", errors="replace").strip().splitlines()
            raise ConfigurationError("the server does not start", hint=f"it said: {said[-1] if said else 'nothing'}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _alive(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return [pid for pid in found if _stat(pid)]


def _ticks(pid: int) -> int:
    """Clock ticks of a process, in user and system mode, its ended children included."""
    fields = _stat(pid)
    return sum(int(value) for value in fields[11:15]) if fields else 0


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on (state, parent ...); none where it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
