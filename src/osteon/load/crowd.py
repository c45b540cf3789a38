"""Those who ask: a crowd of clients with films, and a person who has the page open meanwhile."""

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context

from osteon.client import Client, Patience
from osteon.load.films import film, film_name

PATIENCE = Patience(busy_s=600.0)
_GLANCE_SECONDS = 0.03
_PICTURES = 6


@dataclass(frozen=True)
class Sent:
    """One film: its analysis, how that stood at last, and the seconds until the answer."""

    number: int
    id: str
    status: str
    seconds: float


@contextmanager
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """A process for those who ask, so that they do not measure each other's waiting."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def send(url: str, numbers: Sequence[int], clients: int, wait_s: float, most_seconds: float = 3600.0) -> list[Sent]:
    """Send films from so many clients at once, each with the next one; none is begun after `most_seconds`."""
    todo = iter(numbers)
    taking = threading.Lock()
    until = time.monotonic() + most_seconds
    sent: list[Sent] = []
    film(0)  # drawn once, before everybody asks for it at the same time

    def work() -> None:
        with Client(url, patience=PATIENCE, timeout_s=120) as client:
            while time.monotonic() < until:
                with taking:
                    number = next(todo, None)
                if number is None:
                    return
                started = time.perf_counter()
                analysis = client.analyse(film(number), name=film_name(number), wait_s=wait_s)
                sent.append(Sent(number, analysis.id, analysis.status, time.perf_counter() - started))

    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(work) for _ in range(clients)]:
            done.result()
    return sent


@dataclass
class Onlooker:
    """A person who has the page open: asks for it and all it loads, over one connection, again and again."""

    port: int
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    refused: int = 0

    @contextmanager
    def looking(self) -> Iterator["Onlooker"]:
        """Looks on until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._look, args=(stop,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    @property
    def all_milliseconds(self) -> list[float]:
        """Of every request."""
        return [one for several in self.milliseconds.values() for one in several]

    def _look(self, stop: threading.Event) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        page = self._asked(connection, "page", "/")
        assets = re.findall(rb'(?:src|href)="(/static/[^"]+)"', page)
        while not stop.is_set():
            self._asked(connection, "page", "/")
            for asset in assets:
                self._asked(connection, "asset", asset.decode())
            self._asked(connection, "health", "/healthz")
            listed = json.loads(self._asked(connection, "list", "/api/v1/analyses?limit=50"))
            done = [one for one in listed["analyses"] if one["status"] == "succeeded"][:_PICTURES]
            for analysis in done:
                links = analysis["links"]
                self._asked(connection, "thumbnail", links.get("thumbnail") or links["image"])
        connection.close()

    def _asked(self, connection: http.client.HTTPConnection, kind: str, path: str) -> bytes:
        time.sleep(_GLANCE_SECONDS)
        started = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        self.milliseconds.setdefault(kind, []).append((time.perf_counter() - started) * 1000)
        self.refused += answer.status >= 400
        return content
