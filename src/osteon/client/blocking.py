"""`Client`: runs the plans over httpx, blocking."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
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


class Client(Connection):
    """Asks a service and waits for its answers. Use it as a context, or `close` it. Safe to use from several threads.

    A request is repeated while the service is busy (429 with Retry-After) or the connection breaks; that is safe,
    since the service knows a file by its content and gives the same analysis for it. Every method raises
    RequestRefused with the service's problem, and ServiceUnreachable where no service answers.

    Args:
        url: where the service is.
        key: an API key, where the service asks for one.
        timeout_s: longest silence of a connection.
        patience: how long to keep trying.
        transport: another way to the service than the network, such as `httpx.MockTransport`.
    """

    def __init__(
        self,
        url: str = LOCAL,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        patience: Patience = PATIENCE,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, key=key, timeout_s=timeout_s, patience=patience)
        self._http = httpx.Client(**self._options, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def preview(self, source: Source, *, name: str | None = None) -> Preview:
        """The gate alone, at once: is the picture a radiograph, and worth a full analysis? Nothing is kept."""
        return self._run(self._plans.preview(source, name=name))

    def analyse(
        self, source: Source, *, name: str | None = None, wait_s: float = 0.0, study: str = "", again: bool = False
    ) -> Analysis:
        """The analysis of a picture: bytes, or the path of a file; large ones go up in parts.

        Args:
            name: what the service shall call it; None: the file's name.
            wait_s: seconds to wait until it is finished; then it is given as it stands (see `finished`).
            study: groups the views of one study.
            again: analyse anew what was analysed before; else the same content gives the same analysis.

        Raises:
            InvalidImage: the file cannot be read, or holds several images.
        """
        return self._run(self._plans.analyse(source, name=name, wait_s=wait_s, study=study, again=again))

    def analyse_archive(
        self, source: Source, *, name: str | None = None, wait_s: float = 0.0, study: str = "", again: bool = False
    ) -> Accepted:
        """As `analyse`, of a ZIP archive: an analysis for each of its images, and what could not be taken."""
        return self._run(self._plans.submit(source, name=name, wait_s=wait_s, study=study, again=again))

    def upload_folder(
        self,
        folder: str | Path,
        *,
        progress: Progress | None = None,
        workers: int = 4,
        wait_s: float = 0.0,
        study: str = "",
    ) -> list[Sent]:
        """Send every picture below a folder; what came of each, in the order of their paths.

        Args:
            progress: told after each file.
            workers: files on their way side by side.
            wait_s: as in `analyse`, for each file.

        Raises:
            ServiceUnreachable: the files before it were sent; sent again, they give the same analyses.
        """
        paths = list(pictures_in(folder))
        sent: dict[Path, Sent] = {}
        with ThreadPoolExecutor(workers, thread_name_prefix="osteon-client") as pool:
            todo = [pool.submit(self._run, self._plans.sent(path, wait_s=wait_s, study=study)) for path in paths]
            try:
                for done in as_completed(todo):
                    one = done.result()
                    sent[one.path] = one
                    tell(progress, len(sent), len(paths), one.path)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [sent[path] for path in paths]

    def analysis(self, analysis_id: str) -> Analysis:
        """An analysis as it stands, with its findings once it succeeded."""
        return self._run(self._plans.analysis(analysis_id))

    def analyses(
        self,
        *,
        status: Status | None = None,
        decision: Decision | None = None,
        search: str | None = None,
        study: str | None = None,
        unseen: bool = False,
    ) -> Iterator[Analysis]:
        """All analyses, newest first and without their findings, asked for page by page."""
        params = wanted(status=status, decision=decision, search=search, study=study, unseen=unseen)
        cursor: str | None = ""
        while cursor is not None:
            page, cursor = self._run(self._plans.analyses(page_from(params, cursor)))
            yield from page

    def wait_for(self, analysis_id: str, *, seconds: float = 300.0) -> Analysis:
        """The analysis once it is finished, or as it stands when the time is over (see `finished`)."""
        return self._run(self._plans.wait_for(analysis_id, seconds=seconds))

    def cancel(self, analysis_id: str) -> Analysis:
        """Have an analysis that is not finished not be done."""
        return self._run(self._plans.cancel(analysis_id))

    def remove(self, analysis_id: str) -> None:
        """Remove an analysis and all its files."""
        self._run(self._plans.remove(analysis_id))

    def mark_seen(self, analysis_id: str, *, seen: bool = True) -> Analysis:
        """Mark an analysis as looked at, or not."""
        return self._run(self._plans.seen(analysis_id, seen=seen))

    def image(self, analysis_id: str, *, page: int = 1) -> bytes:
        """A page (from 1) as a person sees it: PNG, 8-bit grey, bone bright."""
        return self._run(self._plans.file(analysis_id, "image.png", page=page))

    def bone(self, analysis_id: str, *, page: int = 1) -> bytes:
        """The bone mask to lay over a page: RGBA PNG, coarser than the page."""
        return self._run(self._plans.file(analysis_id, "bone.png", page=page))

    def bones(self, analysis_id: str, *, wait_s: float = 60.0, again: bool = False) -> Bones:
        """Each bone of an analysis by itself: they are looked for when this is asked for the first time, then kept.

        Args:
            wait_s: seconds to wait until they are found; then it is given as it stands (see `finished`).
            again: look for them anew.

        Raises:
            RequestRefused: `NoBonesModel` where the service has no model for it, `BonesImpossible` of an analysis
                that failed.
        """
        return self._run(self._plans.bones(analysis_id, wait_s=wait_s, again=again))

    def overlay(self, analysis_id: str, *, page: int = 1, language: Language = "en") -> bytes:
        """A page with its findings drawn on it: PNG."""
        return self._run(self._plans.file(analysis_id, "overlay.png", page=page, language=language))

    def report(self, analysis_id: str, *, language: Language = "en") -> bytes:
        """The report of all pages: PDF."""
        return self._run(self._plans.file(analysis_id, "report.pdf", language=language))

    def answers(self, analysis_id: str) -> tuple[Answer, ...]:
        """The readers' answers to an analysis; the newest of a page counts."""
        return self._run(self._plans.answers(analysis_id))

    def answer(
        self, analysis_id: str, verdict: Verdict, *, page: int = 1, comment: str = "", boxes: Sequence[BoxAnswer] = ()
    ) -> Answer:
        """Add a reader's answer to a page (from 1). It is not repeated once it may have been heard."""
        plan = self._plans.answer(analysis_id, page=page, verdict=verdict, comment=comment, boxes=boxes)
        return self._run(plan)

    def _run(self, plan: Plan[T]) -> T:
        reply: Reply | Broken | None = None
        while True:
            try:
                step = plan.send(reply)
            except StopIteration as done:
                result: T = done.value
                return result
            reply = None
            if isinstance(step, Pause):
                time.sleep(step.seconds)
            else:
                reply = self._asked(step)

    def _asked(self, ask: Ask) -> Reply | Broken:
        try:
            return reply_of(self._http.send(self.request(self._http, ask)))
        except httpx.RequestError as error:
            return broken_of(error)
