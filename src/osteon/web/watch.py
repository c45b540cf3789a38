"""How analyses stand, for all who wait for one: one question to the store for everybody, and soon after a change."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Protocol

from anyio import to_thread

from osteon.service.store import Progress

LOOK_SECONDS = 0.1
"""Between looks, for what other processes do; what this one does is seen at once."""


class Watched(Protocol):
    """A store that tells how far things have come."""

    def progress(self, analysis_ids: Collection[str]) -> Mapping[str, Progress]:
        """How these stand; those that are not there (any more) are left out."""


class Watch:
    """Looks into the store while somebody waits, and costs the same for one who waits as for a hundred."""

    def __init__(self, store: Watched) -> None:
        self._store = store
        self._asked: set[str] = set()
        self._round: asyncio.Task[Mapping[str, Progress]] | None = None
        self._stirred: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def look(self, analysis_ids: Collection[str]) -> Mapping[str, Progress]:
        """How these stand (and others, perhaps) after the next change, or soon; those that were removed are missing."""
        self._asked.update(analysis_ids)
        if self._stirred is None:
            self._loop, self._stirred = asyncio.get_running_loop(), asyncio.Event()
        if self._round is None:
            self._round = asyncio.create_task(self._look(self._stirred))
        return await asyncio.shield(self._round)

    def stir(self) -> None:
        """Something changed. From any thread."""
        if self._loop and self._stirred:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._stirred.set)

    async def _look(self, stirred: asyncio.Event) -> Mapping[str, Progress]:
        with suppress(TimeoutError):
            await asyncio.wait_for(stirred.wait(), LOOK_SECONDS)
        stirred.clear()
        asked, self._asked, self._round = self._asked, set(), None
        return await to_thread.run_sync(self._store.progress, asked)
