"""What is queued is done: in order, once, again after a restart or a passing fault, and not after a cancellation."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from serving import PATIENT, Running, form, photograph, radiograph, running
from sqlalchemy.exc import OperationalError
from test_web_claims import set_row

import models
from osteon.errors import ConfigurationError
from osteon.service.claims import Claims
from osteon.service.database import Hold
from osteon.service.jobs import Job
from osteon.service.retention import Upkeep
from osteon.service.runners import PoolRunner
from osteon.service.settings import Settings
from osteon.service.store import Analysis, AnalysisStore, Upload
from osteon.web.service import Service


def taken_in(store: AnalysisStore, *contents: bytes) -> list[str]:
    uploads = [Upload(f"{number}.png", content) for number, content in enumerate(contents)]
    return [one.analysis.id for one in store.add(uploads, queue_limit=100)]


def claims_of(store: AnalysisStore, settings: Settings, worker: str = "earlier") -> Claims:
    return Claims(store.database, settings, worker)


def pages(count: int) -> bytes:
    """A TIFF file of so many pages."""
    drawn = [Image.fromarray(models.radiograph_pixels(120, 100, spot=250 - number)) for number in range(count)]
    buffer = BytesIO()
    drawn[0].save(buffer, "TIFF", save_all=True, append_images=drawn[1:])
    return buffer.getvalue()


@contextmanager
def service_of(settings: Settings) -> Iterator[Service]:
    """A service that analyses when it is told, in the test's own thread."""
    service = Service.of(settings.changed(immediate=True))
    try:
        yield service
    finally:
        service.stop()


def each_run(session: Any, step: Callable[[], None]) -> None:
    """Have a model session do something before each run."""
    run = session.run

    def stepping(pixels: object) -> object:
        step()
        return run(pixels)

    session.run = stepping


def until(happened: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class TestRestart:
    def test_takes_up_what_waits_and_what_was_interrupted(self, settings: Settings) -> None:
        settings = settings.changed(lease_seconds=1)
        store = AnalysisStore.of(settings)
        waiting, interrupted, done = taken_in(store, radiograph(), photograph(), radiograph())
        claims = claims_of(store, settings)
        ended = claims.take(done)
        assert claims.take(interrupted) and ended
        claims.fail(ended, {"type": "InvalidImage", "message": "m", "hint": "h"})
        store.close()
        with running(settings) as server:
            for analysis_id in (waiting, interrupted):
                assert _finished(server, analysis_id)["status"] == "succeeded"
            assert server.client.get(f"/api/v1/analyses/{done}").json()["status"] == "failed"
            assert server.service.store.find(interrupted).attempts == 2
            assert server.service.store.find(waiting).attempts == 1

    def test_gives_up_what_was_interrupted_too_often(self, settings: Settings) -> None:
        settings = settings.changed(max_attempts=2)
        store = AnalysisStore.of(settings)
        (poison,) = taken_in(store, radiograph())
        for _ in range(2):
            assert claims_of(store, settings).take(poison)
            assert claims_of(store, settings, "later").release_all() == 1
        analysis = store.find(poison)
        assert analysis.status == "failed" and analysis.attempts == 2
        assert analysis.error is not None and analysis.error["type"] == "Interrupted"
        store.close()

    def test_findings_outlive_the_process(self, settings: Settings) -> None:
        with running(settings) as server:
            before = server.analysed(radiograph())
        with running(settings) as server:
            assert server.client.get(before["links"]["self"]).json() == before
            assert server.client.get(before["links"]["overlay"]).status_code == 200

    def test_another_server_on_the_same_folder_is_refused(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("osteon.service.database._HOLD_SECONDS", 0.1)
        settings = settings.changed(queue_url="", database_url="")
        refused = pytest.raises(ConfigurationError, match="another process")
        with running(settings), service_of(settings) as second, refused:
            second.start()
        Hold(settings.data_dir).release()


def _finished(server: Running, analysis_id: str) -> dict[str, object]:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        analysis: dict[str, object] = server.client.get(f"/api/v1/analyses/{analysis_id}").json()
        if analysis["status"] in ("succeeded", "failed", "cancelled"):
            return analysis
        time.sleep(0.02)
    raise AssertionError("not finished")


class TestJob:
    def test_file_that_turns_bad_fails_with_the_reason_and_the_next_goes_on(self, settings: Settings) -> None:
        with service_of(settings) as service:
            bad, good = taken_in(service.store, radiograph()[:400], radiograph())
            for analysis_id in (bad, good):
                service.runner.submit(analysis_id)
            failed = service.store.find(bad)
            assert failed.status == "failed" and failed.error is not None and failed.attempts == 1
            assert failed.error["type"] == "InvalidImage" and failed.error["hint"]
            assert service.store.find(good).status == "succeeded"

    def test_own_mistake_fails_one_analysis_and_is_logged_without_its_text(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken() -> None:
            raise RuntimeError(PATIENT)

        with service_of(settings) as service:
            each_run(service.pipeline.gate, broken)
            (analysis_id,) = taken_in(service.store, radiograph())
            service.runner.submit(analysis_id)
            analysis = service.store.find(analysis_id)
        assert analysis.status == "failed" and analysis.error is not None and analysis.attempts == 1
        assert analysis.error["type"] == "OsteonError"
        assert analysis_id in caplog.text and "RuntimeError" in caplog.text
        assert PATIENT not in caplog.text and PATIENT not in str(analysis.error)

    def test_submitted_twice_is_done_once(self, settings: Settings) -> None:
        with service_of(settings) as service:
            (analysis_id,) = taken_in(service.store, radiograph())
            service.runner.submit(analysis_id)
            service.runner.submit(analysis_id)
            assert service.store.find(analysis_id).attempts == 1

    def test_several_workers_do_each_once(self, serve: Callable[..., Running]) -> None:
        server = serve(workers=2)
        files = [("file", (f"{number}.png", photograph(40, 40 + number))) for number in range(12)]
        answer = server.client.post("/api/v1/analyses", files=files, params={"wait": 30}).json()
        stored = [server.service.store.find(analysis["id"]) for analysis in answer["analyses"]]
        assert [(one.status, one.attempts) for one in stored] == [("succeeded", 1)] * 12


class TestPassingFaults:
    @pytest.mark.parametrize(
        "fault", [OSError(28, PATIENT), MemoryError(PATIENT), OperationalError(PATIENT, {}, Exception(PATIENT))]
    )
    def test_are_tried_again_and_given_up_in_the_end(
        self, settings: Settings, fault: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        def failing() -> None:
            raise fault

        with service_of(settings.changed(max_attempts=2)) as service:
            each_run(service.pipeline.gate, failing)
            (analysis_id,) = taken_in(service.store, radiograph())
            service.runner.submit(analysis_id)
            assert service.store.find(analysis_id).status == "queued"
            service.runner.submit(analysis_id)
            assert service.store.find(analysis_id).attempts == 1, "not before its time"
            set_row(service.store, analysis_id, not_before=None)
            service.runner.submit(analysis_id)
            analysis = service.store.find(analysis_id)
        assert analysis.status == "failed" and analysis.attempts == 2 and analysis.error
        assert analysis.error["hint"]
        assert type(fault).__name__ in caplog.text
        assert PATIENT not in caplog.text + str(analysis.error)

    def test_pass(self, serve: Callable[..., Running]) -> None:
        server = serve(retry_seconds=0.01)
        faults = [OSError(5, "Input/output error"), OSError(5, "Input/output error")]

        def failing_twice() -> None:
            if faults:
                raise faults.pop()

        each_run(server.service.pipeline.gate, failing_twice)
        analysis = server.analysed(radiograph())
        assert analysis["decision"] == "fracture"
        assert server.service.store.find(analysis["id"]).attempts == 3

    def test_of_the_database_end_no_worker(self, settings: Settings, store: AnalysisStore) -> None:
        class Unreachable(Claims):
            def succeed(self, claim: Analysis, pages: object) -> bool:
                raise OperationalError("", {}, Exception())

            def retry(self, claim: Analysis) -> bool:
                raise OperationalError("", {}, Exception())

        with service_of(settings) as service:
            claims = Unreachable(store.database, settings.changed(lease_seconds=1), "unlucky")
            job = Job(store, claims, service.pipeline, service.metrics, service.reading)
            runner, upkeep = PoolRunner(job, workers=1), Upkeep(store, claims)
            (analysis_id,) = taken_in(store, radiograph())
            runner.start()
            until(lambda: store.find(analysis_id).attempts == 1, "it is begun")
            upkeep.start()
            until(lambda: store.find(analysis_id).attempts == 2, "its lease ends and it is begun again")
            assert runner.answers(), "the thread lives"
            upkeep.stop()
            runner.stop()


class TestCancellation:
    def test_stops_the_work_at_the_next_page(self, serve: Callable[..., Running]) -> None:
        server = serve()
        begun, go_on = threading.Event(), threading.Event()
        runs: list[int] = []

        def hold() -> None:
            runs.append(1)
            begun.set()
            go_on.wait(20)

        each_run(server.service.pipeline.gate, hold)
        analysis_id = server.post(pages(4), name="four.tif").json()["id"]
        assert begun.wait(20)
        server.service.store.cancel(analysis_id)
        go_on.set()
        assert _finished(server, analysis_id)["status"] == "cancelled"
        assert len(runs) == 1


class TestTimeLimit:
    def test_ends_one_analysis_and_is_not_tried_again(self, settings: Settings) -> None:
        with service_of(settings.changed(time_limit_seconds=0.05)) as service:
            each_run(service.pipeline.gate, lambda: time.sleep(0.06))
            (analysis_id,) = taken_in(service.store, pages(3))
            service.runner.submit(analysis_id)
            analysis = service.store.find(analysis_id)
        assert analysis.status == "failed" and analysis.attempts == 1 and analysis.error
        assert analysis.error["type"] == "AnalysisTimedOut" and "OSTEON_TIME_LIMIT_SECONDS" in analysis.error["hint"]


class TestStop:
    def test_hands_back_what_runs_and_leaves_what_waits(self, settings: Settings) -> None:
        begun = threading.Event()

        def slow() -> None:
            begun.set()
            time.sleep(0.3)

        with running(settings) as server:
            each_run(server.service.pipeline.gate, slow)
            ids = [server.post(content).json()["id"] for content in (pages(20), photograph())]
            assert begun.wait(20)
        with service_of(settings) as later:
            assert [(one.status, one.attempts) for one in map(later.store.find, ids)] == [("queued", 0)] * 2
        with running(settings) as server:
            assert [_finished(server, one)["status"] for one in ids] == ["succeeded"] * 2
            assert [server.service.store.find(one).attempts for one in ids] == [1, 1]


def test_preview_goes_before_a_long_queue(serve: Callable[..., Running]) -> None:
    server = serve()
    gate = server.service.pipeline.gate
    run = gate.run
    busy = threading.Event()

    def slowly(pixels: object) -> object:
        if not threading.current_thread().name.startswith("AnyIO"):
            busy.set()
            time.sleep(0.3)
        return run(pixels)  # type: ignore[arg-type]

    gate.run = slowly  # type: ignore[method-assign,assignment]
    for number in range(4):
        server.post(radiograph(spot=255 - number))
    assert busy.wait(10)
    assert server.client.post("/api/v1/previews", files=form(radiograph())).json()["wanted"] is True
    waiting = server.client.get("/api/v1/analyses", params={"status": "queued"}).json()["analyses"]
    assert waiting, "the queue was still long when the preview was answered"
