"""`AsyncClient`: runs the plans over httpx, awaiting."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from osteon.client.connection import (
    LOCAL,
    PATIENCE,
    Connection,
    Language,
    Progress,
    broken_of,
    page_from,
    reply_of,
    tell,
    wanted,
)
from osteon.client.exchange import Ask, Broken, Patience, Pause, Plan, Reply
from osteon.client.records import Accepted, Analysis, Answer, Bones, BoxAnswer, Decision, Preview, Sent, Status, Verdict
from osteon.client.sources import Source, pictures_in

T = TypeVar("T")


class AsyncClient(Connection):
    """`Client` with methods to await: the same names, arguments, answers and errors.

    Files are read between requests, part by part, by the event loop's own thread.
    """

    def __init__(
        self,
        url: str = LOCAL,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        patience: Patience = PATIENCE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(url, key=key, timeout_s=timeout_s, patience=patience)
        self._http = httpx.AsyncClient(**self._options, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def preview(self, source: Source, *, name: str | None = None) -> Preview:
        """As `Client.preview`."""
        return await self._run(self._plans.preview(source, name=name))

    async def analyse(
        self, source: Source, *, name: str | None = None, wait_s: float = 0.0, study: str = "", again: bool = False
    ) -> Analysis:
        """As `Client.analyse`."""
        return await self._run(self._plans.analyse(source, name=name, wait_s=wait_s, study=study, again=again))

    async def analyse_archive(
        self, source: Source, *, name: str | None = None, wait_s: float = 0.0, study: str = "", again: bool = False
    ) -> Accepted:
        """As `Client.analyse_archive`."""
        return await self._run(self._plans.submit(source, name=name, wait_s=wait_s, study=study, again=again))

    async def upload_folder(
        self,
        folder: str | Path,
        *,
        progress: Progress | None = None,
        workers: int = 4,
        wait_s: float = 0.0,
        study: str = "",
    ) -> list[Sent]:
        """As `Client.upload_folder`."""
        paths = list(pictures_in(folder))
        sent: dict[Path, Sent] = {}
        turns = asyncio.Semaphore(workers)

        async def send(path: Path) -> None:
            async with turns:
                sent[path] = await self._run(self._plans.sent(path, wait_s=wait_s, study=study))
                tell(progress, len(sent), len(paths), path)

        todo = [asyncio.ensure_future(send(path)) for path in paths]
        try:
            await asyncio.gather(*todo)
        finally:
            for task in todo:
                task.cancel()
        return [sent[path] for path in paths]

    async def analysis(self, analysis_id: str) -> Analysis:
        """As `Client.analysis`."""
        return await self._run(self._plans.analysis(analysis_id))

    async def analyses(
        self,
        *,
        status: Status | None = None,
        decision: Decision | None = None,
        search: str | None = None,
        study: str | None = None,
        unseen: bool = False,
    ) -> AsyncIterator[Analysis]:
        """As `Client.analyses`, to be used with `async for`."""
        params = wanted(status=status, decision=decision, search=search, study=study, unseen=unseen)
        cursor: str | None = ""
        while cursor is not None:
            page, cursor = await self._run(self._plans.analyses(page_from(params, cursor)))
            for analysis in page:
                yield analysis

    async def wait_for(self, analysis_id: str, *, seconds: float = 300.0) -> Analysis:
        """As `Client.wait_for`."""
        return await self._run(self._plans.wait_for(analysis_id, seconds=seconds))

    async def cancel(self, analysis_id: str) -> Analysis:
        """As `Client.cancel`."""
        return await self._run(self._plans.cancel(analysis_id))

    async def remove(self, analysis_id: str) -> None:
        """As `Client.remove`."""
        await self._run(self._plans.remove(analysis_id))

    async def mark_seen(self, analysis_id: str, *, seen: bool = True) -> Analysis:
        """As `Client.mark_seen`."""
        return await self._run(self._plans.seen(analysis_id, seen=seen))

    async def image(self, analysis_id: str, *, page: int = 1) -> bytes:
        """As `Client.image`."""
        return await self._run(self._plans.file(analysis_id, "image.png", page=page))

    async def bone(self, analysis_id: str, *, page: int = 1) -> bytes:
        """As `Client.bone`."""
        return await self._run(self._plans.file(analysis_id, "bone.png", page=page))

    async def bones(self, analysis_id: str, *, wait_s: float = 60.0, again: bool = False) -> Bones:
        """As `Client.bones`."""
        return await self._run(self._plans.bones(analysis_id, wait_s=wait_s, again=again))

    async def overlay(self, analysis_id: str, *, page: int = 1, language: Language = "en") -> bytes:
        """As `Client.overlay`."""
        return await self._run(self._plans.file(analysis_id, "overlay.png", page=page, language=language))

    async def report(self, analysis_id: str, *, language: Language = "en") -> bytes:
        """As `Client.report`."""
        return await self._run(self._plans.file(analysis_id, "report.pdf", language=language))

    async def answers(self, analysis_id: str) -> tuple[Answer, ...]:
        """As `Client.answers`."""
        return await self._run(self._plans.answers(analysis_id))

    async def answer(
        self, analysis_id: str, verdict: Verdict, *, page: int = 1, comment: str = "", boxes: Sequence[BoxAnswer] = ()
    ) -> Answer:
        """As `Client.answer`."""
        plan = self._plans.answer(analysis_id, page=page, verdict=verdict, comment=comment, boxes=boxes)
        return await self._run(plan)

    async def _run(self, plan: Plan[T]) -> T:
        reply: Reply | Broken | None = None
        while True:
            try:
                step = plan.send(reply)
            except StopIteration as done:
                result: T = done.value
                return result
            reply = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            else:
                reply = await self._asked(step)

    async def _asked(self, ask: Ask) -> Reply | Broken:
        try:
            return reply_of(await self._http.send(self.request(self._http, ask)))
        except httpx.RequestError as error:
            return broken_of(error)
