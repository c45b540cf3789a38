"""Server-sent events: what changes of one analysis, or of all that a caller sees."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from threading import Event

from anyio import to_thread

from osteon.service.store import Analysis, AnalysisStore, Progress
from osteon.service.tables import now
from osteon.web.schemas import AnalysisSummary
from osteon.web.watch import Watch

_LOOK_AT_ALL_SECONDS = 0.5
_OVERLAP = timedelta(seconds=10)
"""What is committed now may bear a moment that is a little past."""

_HEARTBEAT_SECONDS = 15.0
_MOST_SECONDS = 600.0
"""A browser comes again by itself."""


class _Clock:
    """When a stream shall end, and when it has been silent for too long."""

    def __init__(self, stopping: Event) -> None:
        self._stopping = stopping
        self._started = self._spoken = time.monotonic()

    def runs(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() - self._started < _MOST_SECONDS and not self._stopping.is_set()

    def spoken(self) -> None:
        """Something was sent."""
        self._spoken = time.monotonic()

    def heartbeat(self) -> str:
        """A comment where nothing was sent for long, else nothing."""
        if time.monotonic() - self._spoken < _HEARTBEAT_SECONDS:
            return ""
        self.spoken()
        return ": still here\n\n"


async def of_one(watch: Watch, analysis: Analysis, stopping: Event) -> AsyncIterator[str]:
    """`progress` at each change, `finished` last; it ends where the analysis is removed."""
    clock, told = _Clock(stopping), ""
    current: Progress | None = Progress(analysis.status, analysis.progress)
    while current and clock.runs():
        data = json.dumps({"id": analysis.id, "status": current.status, "progress": round(current.progress, 3)})
        if data != told:
            told = data
            clock.spoken()
            yield _event("finished" if current.finished else "progress", data)
        elif beat := clock.heartbeat():
            yield beat
        if current.finished:
            return
        current = (await watch.look([analysis.id])).get(analysis.id)


async def of_all(store: AnalysisStore, owner: str | None, stopping: Event) -> AsyncIterator[str]:
    """`changed` with the analysis as in lists, `removed` with its id; only what happens from now on."""
    clock = _Clock(stopping)
    begun = looked = now()
    told: dict[str, datetime] = {}
    gone: set[int] = set()
    yield ": listening\n\n"
    while clock.runs():
        moment = now()
        since = max(begun, looked - _OVERLAP)
        analyses, removals = await to_thread.run_sync(partial(store.changed, since=since, owner=owner))
        looked = moment
        for analysis in analyses:
            if told.get(analysis.id) != analysis.changed_at:
                told[analysis.id] = analysis.changed_at
                clock.spoken()
                yield _event("changed", AnalysisSummary.of(analysis).model_dump_json())
        for number, analysis_id in removals:
            if number not in gone:
                gone.add(number)
                clock.spoken()
                yield _event("removed", json.dumps({"id": analysis_id}))
        told = {key: changed for key, changed in told.items() if changed >= since}
        if beat := clock.heartbeat():
            yield beat
        await asyncio.sleep(_LOOK_AT_ALL_SECONDS)


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
