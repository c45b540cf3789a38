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
from osteon.service.claims import Claims
from osteon.service.files import ORIGINAL
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore, Upload
from osteon.web.service import Service


def taken_in(store: AnalysisStore, *contents: bytes) -> list[str]:
    uploads = [Upload(f"{number}.png", content) for number, content in enumerate(contents)]
    return [one.analysis.id for one in store.add(uploads, queue_limit=100)]


def claims_of(store: AnalysisStore, settings: Settings, worker: str = "earlier") -> Claims:
    return Claims(store.database, settings, worker)


class TestRestart:
    def test_takes_up_what_waits_and_what_was_interrupted(self, settings: Settings) -> None:
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
        files = [("file", (f"{number}.png", photograph(40, 40 + number))) for number in range(12)]
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
    def test_keeps_the_bytes_as_they_came(self, store: AnalysisStore) -> None:
        (analysis_id,) = taken_in(store, b"\x00any bytes")
        assert store.files.read(analysis_id, ORIGINAL) == b"\x00any bytes"

    def test_claim_is_for_one_only(self, store: AnalysisStore, settings: Settings) -> None:
        (analysis_id,) = taken_in(store, b"1")
        taken: list[bool] = []
        claims = claims_of(store, settings)
        threads = [threading.Thread(target=lambda: taken.append(bool(claims.take(analysis_id)))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == [False] * 7 + [True]

    def test_refuses_a_batch_whole(self, store: AnalysisStore, settings: Settings) -> None:
        store.add([Upload("a", b"1")], queue_limit=2)
        with pytest.raises(TooManyWaiting) as refused:
            store.add([Upload("b", b"2"), Upload("c", b"3")], queue_limit=2)
        assert refused.value.hint
        assert store.waiting() == 1
        assert len(list((settings.data_dir / "analyses").iterdir())) == 1

    def test_result_of_a_removed_analysis_is_not_kept(self, store: AnalysisStore, settings: Settings) -> None:
        (analysis_id,) = taken_in(store, b"1")
        claims = claims_of(store, settings)
        claim = claims.take(analysis_id)
        assert claim
        store.remove(analysis_id)
        assert claims.succeed(claim, []) is False
        with pytest.raises(AnalysisNotFound):
            store.find(analysis_id)

    def test_folder_is_never_outside(self, store: AnalysisStore) -> None:
        with pytest.raises(ValueError, match="UUID"):
            store.files.read("../../etc", "passwd")

    def test_folder_that_cannot_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(ConfigurationError, match="data folder") as refused:
            AnalysisStore.of(Settings(data_dir=tmp_path / "file"))
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
    for number in range(4):
        server.post(radiograph(spot=255 - number))
    assert busy.wait(10)
    assert server.client.post("/api/v1/previews", files=form(radiograph())).json()["wanted"] is True
    waiting = server.client.get("/api/v1/analyses", params={"status": "queued"}).json()["analyses"]
    assert waiting, "the queue was still long when the preview was answered"
