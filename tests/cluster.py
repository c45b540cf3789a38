"""Private instances of Debian's PostgreSQL and Redis, for tests: everything in a temporary folder, gone afterwards.

with cluster.running() as instances:
    settings = instances.lent(settings)
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from osteon.service.settings import Settings

ASKED = os.environ.get("OSTEON_TEST_CLUSTER", "") not in ("", "0")
"""Whether the tests shall run on the cluster (`make test-cluster`)."""

_DATABASES = 64


def missing() -> list[str]:
    """Programs that are not installed."""
    programs = {"initdb": _program("initdb"), "postgres": _program("postgres"), "redis-server": _redis()}
    return [name for name, path in programs.items() if path is None]


@dataclass(frozen=True)
class Instances:
    postgres_port: int
    redis_port: int
    user: str
    _free: list[int]

    @contextmanager
    def lent(self, settings: Settings) -> Iterator[Settings]:
        """The settings with a schema and a queue of their own, both empty."""
        number = self._free.pop()
        schema = f"t{number}"
        with psycopg.connect(self._postgres, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        url = f"postgresql+psycopg{self._postgres.removeprefix('postgresql')}?options=-csearch_path%3D{schema}"
        try:
            yield settings.changed(database_url=url, queue_url=f"redis://127.0.0.1:{self.redis_port}/{number}")
        finally:
            self._empty(schema, number)
            self._free.append(number)

    def await_answers(self) -> None:
        """Return once both answer."""
        until = time.monotonic() + 60
        while True:
            try:
                with psycopg.connect(self._postgres), redis.Redis(port=self.redis_port) as queue:
                    queue.ping()
                return
            except (psycopg.OperationalError, redis.ConnectionError):
                assert time.monotonic() < until, "PostgreSQL or Redis did not start"
                time.sleep(0.05)

    @property
    def _postgres(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.postgres_port}/postgres"

    def _empty(self, schema: str, number: int) -> None:
        """Tables stay, which is quicker than to make them anew for each test."""
        with psycopg.connect(self._postgres, autocommit=True) as connection:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename <> 'alembic_version'"
            for (table,) in connection.execute(query, [schema]).fetchall():
                connection.execute(f"TRUNCATE {schema}.{table} RESTART IDENTITY")
        with redis.Redis(port=self.redis_port, db=number) as queue:
            queue.flushdb()


@contextmanager
def running() -> Iterator[Instances]:
    """Both, started and answering."""
    folder = Path(tempfile.mkdtemp(prefix="osteon-cluster-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            shutil.chown(folder, user, user)
        instances = Instances(_free_port(), _free_port(), user or "osteon", list(range(_DATABASES)))
        _start(stack, [str(_redis()), *_redis_options(instances.redis_port, folder)], user=None)
        data = folder / "data"
        initdb = [str(_program("initdb")), "-D", str(data), "-U", instances.user, "-A", "trust", "-E", "UTF8", "-N"]
        subprocess.run([*initdb, "--locale=C.UTF-8"], check=True, capture_output=True, user=user, cwd=folder)
        _start(stack, [str(_program("postgres")), *_postgres_options(instances.postgres_port, data)], user=user)
        instances.await_answers()
        yield instances


def _start(stack: ExitStack, words: list[str], *, user: str | None) -> None:
    groups = {"group": user, "extra_groups": []} if user else {}
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/", **groups
    )

    def stop() -> None:
        process.send_signal(signal.SIGQUIT)  # nothing is worth keeping
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # Redis now and then does not hear it
            process.kill()
            process.wait(20)

    stack.callback(stop)


def _redis_options(port: int, folder: Path) -> list[str]:
    options = {
        "port": port,
        "bind": "127.0.0.1",
        "save": "",
        "appendonly": "no",
        "databases": _DATABASES,
        "dir": folder,
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def _postgres_options(port: int, data: Path) -> list[str]:
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": data.parent, "max_connections": 300}
    quick = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    words = [f"{name}={value}" for name, value in (settings | quick).items()]
    return ["-D", str(data), "-p", str(port), *(part for word in words for part in ("-c", word))]


def _program(name: str) -> Path | None:
    newest_first = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return newest_first[0] if newest_first else None


def _redis() -> str | None:
    return shutil.which("redis-server")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
