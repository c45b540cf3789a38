"""Killed at any moment, some dozens of times: what was accepted ends in one result, nothing twice, nothing lost."""

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
from forking import Forking, forking
from serving import form, png
from sqlalchemy import select

import models
from osteon.service.files import ORIGINAL
from osteon.service.retention import remove_orphans
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore
from osteon.service.tables import AuditRow, now

KILLS = 24
SENDERS = 3
SEED = 5


def film(number: int) -> bytes:
    """A small drawn radiograph like no other."""
    pixels = models.radiograph_pixels(90, 70)
    pixels[0, :8] = np.frombuffer(number.to_bytes(8, "little"), np.uint8)
    return png(pixels)


class Senders:
    """Clients that send one film after another, each until it is accepted, whatever happens to the server."""

    def __init__(self, url: str) -> None:
        self.accepted: dict[str, int] = {}
        self._url = url
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(SENDERS)]

    @contextmanager
    def sending(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join()

    def _work(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=20) as client:
            while not self._stopping.is_set():
                if self._sent(client, number):
                    number += SENDERS
                else:
                    time.sleep(0.05)

    def _sent(self, client: httpx.Client, number: int) -> bool:
        try:
            answer = client.post("/api/v1/analyses", files=form(film(number)))
        except httpx.TransportError:
            return False
        if answer.status_code in (429, 503):
            return False
        assert answer.status_code in (200, 202), answer.text
        self.accepted[answer.json()["id"]] = number
        return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(happened: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def kill_often(programs: Forking, commands: list[list[str]], accepted: Callable[[], int]) -> None:
    """Kill one of the programs after another, mostly while films come in, sometimes while it starts."""
    chance = random.Random(SEED)
    running = [programs.start(*command) for command in commands]
    for kill in range(KILLS):
        if kill % 3:
            enough = accepted() + chance.randint(1, 6)
            until(lambda enough=enough: accepted() >= enough, "nothing is accepted")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.2))
        struck = chance.randrange(len(commands))
        programs.kill(running[struck])
        running[struck] = programs.start(*commands[struck])


def until_done(store: AnalysisStore) -> None:
    until(lambda: not (store.page(status="queued", limit=1) or store.page(status="running", limit=1)), "all done")


def trails(store: AnalysisStore) -> dict[str, Counter[str]]:
    """Of each analysis, how often what was done with it."""
    found: dict[str, Counter[str]] = {}
    with store.database.reading() as session:
        for analysis_id, action in session.execute(select(AuditRow.analysis_id, AuditRow.action)):
            found.setdefault(analysis_id, Counter())[action] += 1
    return found


def test_killed_some_dozens_of_times_nothing_is_lost_or_done_twice(settings: Settings, tmp_path: Path) -> None:
    settings = settings.changed(
        queue_limit=12, max_attempts=1000, retry_seconds=0.01, lease_seconds=1, decoders=1, workers=2
    )
    port = free_port()
    commands = [["serve", "--port", str(port)]]
    if settings.queue_url:
        commands += [["worker"], ["worker"]]
    senders = Senders(f"http://127.0.0.1:{port}")
    with forking(settings, tmp_path / "log") as programs, closing(AnalysisStore.of(settings)) as store:
        with senders.sending():
            kill_often(programs, commands, lambda: len(senders.accepted))
        until_done(store)
        analyses = {analysis.id: analysis for analysis in store.page(limit=100_000)}
        assert senders.accepted.keys() <= analyses.keys(), "none is lost"
        assert {analysis.status for analysis in analyses.values()} == {"succeeded"}
        assert {analysis.decision for analysis in analyses.values()} == {"fracture"}
        assert len({analysis.sha256 for analysis in analyses.values()}) == len(analyses), "none was taken in twice"
        found = trails(store)
        assert found.keys() == analyses.keys()
        for analysis_id, analysis in analyses.items():
            trail = found[analysis_id]
            assert trail["accepted"] == trail["succeeded"] == 1, "none is done twice"
            assert trail["begun"] == analysis.attempts == 1 + trail["interrupted"]
            assert trail.keys() <= {"accepted", "begun", "interrupted", "succeeded"}
            assert {ORIGINAL, "page-1.png", "bone-1.png"} <= set(store.files.names(analysis_id))
        assert sum(trail["interrupted"] for trail in found.values()) > 0, "some kill struck what was running"
        assert len(senders.accepted) > KILLS, "films came in all the time"
        remove_orphans(store, age=timedelta(seconds=-60))
        assert set(store.files.ids(until=now() + timedelta(hours=1))) == analyses.keys()
