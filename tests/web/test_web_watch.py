"""Who waits for an analysis: one question to the store for all, and an answer soon after the end."""

import asyncio
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from serving import Running, png

import models
from osteon.inference import session
from osteon.service.store import AnalysisStore, Progress, Upload
from osteon.web import watch
from osteon.web.watch import Watch


class Counting:
    """A store that counts how often it is asked."""

    def __init__(self, store: AnalysisStore) -> None:
        self._store = store
        self.asked: list[set[str]] = []

    def progress(self, analysis_ids: Collection[str]) -> dict[str, Progress]:
        self.asked.append(set(analysis_ids))
        return self._store.progress(analysis_ids)


def test_everybody_who_waits_shares_one_question(store: AnalysisStore) -> None:
    taken = [store.add([Upload(f"{n}.png", bytes([n]))], queue_limit=99)[0].analysis.id for n in range(30)]
    counting: Any = Counting(store)

    async def all_look() -> list[Any]:
        shared = Watch(counting)
        return await asyncio.gather(*(shared.look([one]) for one in taken))

    for one, progress in zip(taken, asyncio.run(all_look()), strict=True):
        assert progress[one] == Progress("queued", 0.0) and not progress[one].finished
    assert counting.asked == [set(taken)]


def test_change_is_seen_at_once(store: AnalysisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 3600.0)
    [accepted] = store.add([Upload("a.png", b"a")], queue_limit=9)

    async def look() -> Any:
        shared = Watch(store)
        looking = asyncio.ensure_future(shared.look([accepted.analysis.id]))
        await asyncio.sleep(0)
        thread = threading.Thread(target=shared.stir)
        thread.start()
        return await asyncio.wait_for(looking, 60)

    assert asyncio.run(look())[accepted.analysis.id].status == "queued"


def test_removed_one_is_missing_and_others_who_wait_go_on_where_one_gives_up(store: AnalysisStore) -> None:
    async def look() -> Any:
        shared = Watch(store)
        impatient, patient = (asyncio.ensure_future(shared.look(["0" * 32])) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        return await patient

    assert asyncio.run(look()) == {}


def test_fifty_first_requests_at_once_load_each_model_once(
    serve: Any, model_files: models.ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = session._loaded

    def counted(content: bytes, options: Any, path: Any) -> Any:
        loaded.append(path.name)
        return load(content, options, path)

    monkeypatch.setattr(session, "_loaded", counted)
    server: Running = serve(queue_limit=100, workers=2)
    start = threading.Barrier(50)

    def ask(number: int) -> str:
        pixels = models.radiograph_pixels(90, 70)
        pixels[0, 0] = number
        start.wait()
        return str(server.analysed(png(pixels))["status"])

    with ThreadPoolExecutor(50) as crowd:
        assert list(crowd.map(ask, range(50))) == ["succeeded"] * 50
    assert sorted(loaded) == ["detector.onnx", "gate.onnx"]
