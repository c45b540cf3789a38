"""What is queued is done: in order, once, again after a restart; and what a store keeps."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import PATIENT, Running, form, photograph, radiograph, running

from osteon import files
from osteon.errors import AnalysisNotFound, ConfigurationError, TooManyWaiting
from osteon.service import decoded
from osteon.service.jobs import PoolRunner
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore, Upload
from osteon.web.service import Service


def taken_in(store: AnalysisStore, *contents: bytes) -> list[str]:
    uploads = [Upload(f"{number}.png", content) for number, content in enumerate(contents)]
    return [analysis.id for analysis in store.add(uploads, queue_limit=100)]


class TestRestart:
    def test_takes_up_what_waits_and_what_was_interrupted(self, settings: Settings) -> None:
        store = AnalysisStore(settings.data_dir)
        waiting, interrupted, done = taken_in(store, radiograph(), photograph(), radiograph())
        assert store.claim(interrupted) and store.claim(done)
        store.fail(done, {"type": "InvalidImage", "message": "m", "hint": "h"})
        store.close()
        with running(settings) as server:
            for analysis_id in (waiting, interrupted):
                assert _finished(server, analysis_id)["status"] == "succeeded"
            assert server.client.get(f"/api/v1/analyses/{done}").json()["status"] == "failed"
            assert server.service.store.find(interrupted).attempts == 2
            assert server.service.store.find(waiting).attempts == 1

    def test_gives_up_what_was_interrupted_too_often(self, settings: Settings) -> None:
        store = AnalysisStore(settings.data_dir)
        (poison,) = taken_in(store, radiograph())
        for _ in range(2):
            assert store.claim(poison)
            assert store.resume(max_attempts=2) in ([poison], [])
        analysis = store.find(poison)
        assert analysis.status == "failed" and analysis.attempts == 2
        assert analysis.error is not None and analysis.error["type"] == "Interrupted"
        store.close()

    def test_stop_leaves_what_waits_in_the_queue(self, settings: Settings) -> None:
        started, go_on = threading.Event(), threading.Event()
        seen: list[str] = []

        def job(analysis_id: str) -> None:
            seen.append(analysis_id)
            started.set()
            go_on.wait(10)

        runner = PoolRunner(job, workers=1)
        for analysis_id in ("first", "second", "third"):
            runner.submit(analysis_id)
        started.wait(10)
        threading.Timer(0.05, go_on.set).start()
        runner.stop()
        assert seen == ["first"]

    def test_findings_outlive_the_process(self, settings: Settings) -> None:
        with running(settings) as server:
            before = server.analysed(radiograph())
        with running(settings) as server:
            assert server.client.get(before["links"]["self"]).json() == before
            assert server.client.get(before["links"]["overlay"]).status_code == 200


def _finished(server: Running, analysis_id: str) -> dict[str, object]:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        analysis: dict[str, object] = server.client.get(f"/api/v1/analyses/{analysis_id}").json()
        if analysis["status"] in ("succeeded", "failed"):
            return analysis
        time.sleep(0.02)
    raise AssertionError("not finished")


class TestJob:
    def test_file_that_turns_bad_fails_with_the_reason_and_the_next_goes_on(self, settings: Settings) -> None:
        service = Service.of(settings.changed(immediate=True))
        bad, good = taken_in(service.store, radiograph()[:400], radiograph())
        for analysis_id in (bad, good):
            service.runner.submit(analysis_id)
        failed = service.store.find(bad)
        assert failed.status == "failed" and failed.error is not None
        assert failed.error["type"] == "InvalidImage" and failed.error["hint"]
        assert service.store.find(good).status == "succeeded"
        service.stop()

    def test_own_mistake_fails_one_analysis_and_is_logged_without_its_text(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        service = Service.of(settings.changed(immediate=True))

        def broken(_: object) -> None:
            raise RuntimeError(PATIENT)

        service.pipeline.gate.run = broken  # type: ignore[method-assign,assignment]
        (analysis_id,) = taken_in(service.store, radiograph())
        service.runner.submit(analysis_id)
        analysis = service.store.find(analysis_id)
        assert analysis.status == "failed" and analysis.error is not None
        assert analysis.error["type"] == "OsteonError"
        assert analysis_id in caplog.text and "RuntimeError" in caplog.text
        assert PATIENT not in caplog.text and PATIENT not in str(analysis.error)
        service.stop()

    def test_submitted_twice_is_done_once(self, settings: Settings) -> None:
        service = Service.of(settings.changed(immediate=True))
        (analysis_id,) = taken_in(service.store, radiograph())
        service.runner.submit(analysis_id)
        service.runner.submit(analysis_id)
        assert service.store.find(analysis_id).attempts == 1
        service.stop()

    def test_several_workers_do_each_once(self, serve: Callable[..., Running]) -> None:
        server = serve(workers=2)
        files = [("file", (f"{number}.png", photograph(40, 40))) for number in range(12)]
        answer = server.client.post("/api/v1/analyses", files=files, params={"wait": 30}).json()
        stored = [server.service.store.find(analysis["id"]) for analysis in answer["analyses"]]
        assert [(one.status, one.attempts) for one in stored] == [("succeeded", 1)] * 12


class TestDecodedPages:
    def test_file_is_decoded_once(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        decodings: list[object] = []
        read_pages = files.read_pages

        def counted(source: bytes | Path, *, name: str) -> object:
            decodings.append(source)
            return read_pages(source, name=name)

        monkeypatch.setattr(decoded, "read_pages", counted)
        service = Service.of(settings.changed(immediate=True))
        ((analysis,), _) = service.accept([Upload("a.png", radiograph())])
        assert service.store.find(analysis.id).status == "succeeded"
        assert len(decodings) == 1
        service.stop()

    def test_what_does_not_fit_is_decoded_again(self) -> None:
        shelf = decoded.DecodedPages(most_bytes=450 * 350)
        pages = shelf.checked(radiograph(), name="a.png")
        assert len(pages) == 1
        shelf.put("first", pages)
        shelf.put("second", pages)
        assert shelf.take("second") == []
        assert shelf.take("first") == pages
        assert shelf.take("first") == []
        shelf.put("second", pages)
        assert shelf.take("second") == pages, "there is room again"
        assert decoded.DecodedPages(most_bytes=450 * 350 - 1).checked(radiograph(), name="a.png") == []


class TestStore:
    def test_keeps_the_bytes_as_they_came(self, tmp_path: Path) -> None:
        store = AnalysisStore(tmp_path)
        (analysis_id,) = taken_in(store, b"\x00any bytes")
        assert (store.folder(analysis_id) / "original").read_bytes() == b"\x00any bytes"
        store.close()

    def test_claim_is_for_one_only(self, tmp_path: Path) -> None:
        store = AnalysisStore(tmp_path)
        (analysis_id,) = taken_in(store, b"1")
        claims: list[bool] = []
        threads = [threading.Thread(target=lambda: claims.append(bool(store.claim(analysis_id)))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claims) == [False] * 7 + [True]
        store.close()

    def test_refuses_a_batch_whole(self, tmp_path: Path) -> None:
        store = AnalysisStore(tmp_path)
        store.add([Upload("a", b"1")], queue_limit=2)
        with pytest.raises(TooManyWaiting) as refused:
            store.add([Upload("b", b"2"), Upload("c", b"3")], queue_limit=2)
        assert refused.value.hint
        assert store.waiting() == 1
        assert len(list((tmp_path / "analyses").iterdir())) == 1
        store.close()

    def test_result_of_a_removed_analysis_is_not_kept(self, tmp_path: Path) -> None:
        store = AnalysisStore(tmp_path)
        (analysis_id,) = taken_in(store, b"1")
        assert store.claim(analysis_id)
        store.remove(analysis_id)
        assert store.succeed(analysis_id, []) is False
        with pytest.raises(AnalysisNotFound):
            store.find(analysis_id)
        store.close()

    def test_folder_is_never_outside(self, tmp_path: Path) -> None:
        store = AnalysisStore(tmp_path)
        with pytest.raises(ValueError, match="UUID"):
            store.folder("../../etc")
        store.close()

    def test_folder_that_cannot_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(ConfigurationError, match="data folder") as refused:
            AnalysisStore(tmp_path / "file")
        assert "OSTEON_DATA_DIR" in refused.value.hint


def test_preview_goes_before_a_long_queue(serve: Callable[..., Running]) -> None:
    server = serve()
    gate = server.service.pipeline.gate
    run = gate.run
    busy = threading.Event()

    def slowly(pixels: object) -> object:
        if threading.current_thread().name.startswith("osteon-job"):
            busy.set()
            time.sleep(0.3)
        return run(pixels)  # type: ignore[arg-type]

    gate.run = slowly  # type: ignore[method-assign,assignment]
    for _ in range(4):
        server.post(radiograph())
    assert busy.wait(10)
    assert server.client.post("/api/v1/previews", files=form(radiograph())).json()["wanted"] is True
    waiting = server.client.get("/api/v1/analyses", params={"status": "queued"}).json()["analyses"]
    assert waiting, "the queue was still long when the preview was answered"
