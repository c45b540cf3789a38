"""The HTTP interface, as interfaces.md has it."""

import asyncio
import json
import logging
import socket
import time
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image
from serving import PATIENT, Running, form, noise, photograph, png, radiograph

import models
from osteon.errors import OsteonError
from osteon.inference.pipeline import Lazy
from osteon.web.page import _all_errors

Serve = Callable[..., Running]
UNKNOWN = "0" * 32


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "hint"} <= problem.keys()
    assert problem["status"] == status
    assert problem["detail"] and problem["hint"]
    return problem


def decoded(content: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))


class TestPreviews:
    def test_radiograph_is_wanted_and_has_a_mask_over_its_bone(self, server: Running) -> None:
        answer = server.client.post("/api/v1/previews", files=form(radiograph())).json()
        assert answer["wanted"] is True and answer["reason"] is None
        assert answer["bone"]["present"] is True
        assert answer["cuts"] == {"area_fraction": 0.02, "confidence": 0.6}
        assert answer["models"]["gate"]["name"] == "osteon-gate-drawn"
        mask = decoded(b64decode(answer["mask"].removeprefix("data:image/png;base64,")))
        alpha = mask[..., 3] > 0
        assert alpha[:, alpha.shape[1] // 2].mean() > 0.8, "the bone runs down the middle"
        assert not alpha[:, : alpha.shape[1] // 5].any(), "nothing beside it"

    def test_photograph_is_not_wanted_and_the_reason_is_told(self, server: Running) -> None:
        answer = server.client.post("/api/v1/previews", files=form(photograph())).json()
        assert answer["wanted"] is False
        assert answer["reason"] == "no_bone"

    def test_gate_is_in_memory_from_the_start_and_previews_never_load_the_detector(self, server: Running) -> None:
        for content in (radiograph(), photograph()):
            assert server.client.post("/api/v1/previews", files=form(content)).status_code == 200
        assert server.client.get("/readyz").json() == {"status": "ready", "detector_loaded": False}
        server.analysed(radiograph())
        assert server.client.get("/readyz").json()["detector_loaded"] is True

    def test_larger_than_512_px_is_refused(self, server: Running) -> None:
        fits = png(models.radiograph_pixels(512, 400))
        assert server.client.post("/api/v1/previews", files=form(fits)).status_code == 200
        over = png(models.radiograph_pixels(513, 400))
        assert "512" in assert_problem(server.client.post("/api/v1/previews", files=form(over)), 413)["detail"]

    def test_nothing_is_kept(self, server: Running) -> None:
        server.client.post("/api/v1/previews", files=form(radiograph()))
        assert server.client.get("/api/v1/analyses").json()["analyses"] == []


class TestAnalyses:
    def test_accepted_then_succeeded_with_findings(self, server: Running) -> None:
        answer = server.post(radiograph(), name="wrist.png")
        assert answer.status_code == 202
        accepted = answer.json()
        assert accepted["id"] == accepted["analyses"][0]["id"]
        assert accepted["status"] in ("queued", "running", "succeeded")
        analysis = _until_finished(server, accepted["links"]["self"])
        assert analysis["status"] == "succeeded" and analysis["progress"] == 1
        assert analysis["decision"] == "fracture"
        findings = analysis["findings"]
        assert findings["source"] == "wrist.png"
        assert (findings["height_px"], findings["width_px"]) == (450, 350)
        (fracture,) = findings["fractures"]
        assert fracture["grade"] == "fracture"
        x0, y0, x1, y1 = fracture["box_xyxy_px"]
        assert x0 < 175 < x1 and y0 < 225 < y1
        assert findings["models"]["detector"]["name"] == "osteon-detector-drawn"
        assert analysis["pages"] == [findings]

    @pytest.mark.parametrize(("spot", "decision"), [(255, "fracture"), (200, "doubt"), (150, "no_fracture")])
    def test_wait_holds_the_answer(self, server: Running, spot: int, decision: str) -> None:
        answer = server.post(radiograph(spot=spot), wait=30)
        assert answer.status_code == 200
        assert answer.json()["status"] == "succeeded"
        assert answer.json()["findings"]["decision"] == decision

    def test_wait_that_is_too_short_gives_202(self, serve: Serve) -> None:
        server = serve()
        held = server.service.pipeline.gate
        with _slow(held, 0.6):
            answer = server.post(radiograph(), wait=0.1)
        assert answer.status_code == 202
        assert answer.json()["status"] in ("queued", "running")

    def test_photograph_is_analysed_without_the_detector(self, server: Running) -> None:
        analysis = server.analysed(photograph())
        assert analysis["decision"] == "not_a_radiograph"
        assert analysis["findings"]["models"]["detector"] is None
        assert not server.service.pipeline.detector.loaded

    def test_several_files_are_several_analyses_and_a_broken_one_is_named(self, server: Running) -> None:
        files = [
            ("file", ("a.png", radiograph())),
            ("file", ("b.txt", b"no picture at all")),
            ("file", ("c.png", photograph())),
        ]
        answer = server.client.post("/api/v1/analyses", files=files, params={"wait": 30})
        assert answer.status_code == 200
        body = answer.json()
        assert [(a["name"], a["decision"]) for a in body["analyses"]] == [
            ("a.png", "fracture"),
            ("c.png", "not_a_radiograph"),
        ]
        (error,) = body["errors"]
        assert error["source"] == "b.txt" and error["type"] == "InvalidImage" and error["hint"]
        assert "id" not in body

    def test_every_page_has_findings_and_pictures(self, server: Running) -> None:
        pages = [Image.fromarray(models.radiograph_pixels(300, 240, spot=spot)) for spot in (150, 255)]
        buffer = BytesIO()
        pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
        analysis = server.analysed(buffer.getvalue(), name="two.tif")
        assert analysis["page_count"] == 2
        assert [page["decision"] for page in analysis["pages"]] == ["no_fracture", "fracture"]
        assert analysis["decision"] == "fracture", "the gravest of all pages"
        assert analysis["findings"] == analysis["pages"][0]
        first, second = (server.client.get(analysis["links"]["image"], params={"page": n}).content for n in (1, 2))
        assert decoded(first)[150, 120] == 150 and decoded(second)[150, 120] == 255
        assert_problem(server.client.get(analysis["links"]["image"], params={"page": 3}), 404)
        assert_problem(server.client.get(analysis["links"]["overlay"], params={"page": 3}), 404)
        assert server.client.get(analysis["links"]["report"]).content.count(b"/Type /Page\n") == 2

    def test_sixteen_bit_picture_is_shown_in_eight(self, server: Running) -> None:
        deep = models.radiograph_pixels(300, 240).astype(np.uint16) * 257
        shown = decoded(server.client.get(server.analysed(png(deep))["links"]["image"]).content)
        assert shown.dtype == np.uint8
        assert np.array_equal(shown, models.radiograph_pixels(300, 240))


def _until_finished(server: Running, path: str) -> dict[str, Any]:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        analysis: dict[str, Any] = server.client.get(path).json()
        if analysis["status"] in ("succeeded", "failed"):
            return analysis
        time.sleep(0.02)
    raise AssertionError("the analysis did not finish")


class _slow:  # noqa: N801 - reads as a statement
    """Makes a session take longer."""

    def __init__(self, session: Any, seconds: float) -> None:
        self._session, self._seconds = session, seconds

    def __enter__(self) -> None:
        self._run = run = self._session.run

        def slowly(pixels: Any) -> Any:
            time.sleep(self._seconds)
            return run(pixels)

        self._session.run = slowly

    def __exit__(self, *_: object) -> None:
        del self._session.run


class TestPictures:
    def test_image_and_overlay_have_the_size_of_the_radiograph(self, server: Running) -> None:
        links = server.analysed(radiograph())["links"]
        image = server.client.get(links["image"])
        assert image.headers["content-type"] == "image/png"
        assert np.array_equal(decoded(image.content), models.radiograph_pixels(450, 350))
        drawn = decoded(server.client.get(links["overlay"]).content)
        assert drawn.shape == (450, 350, 3)
        assert not np.array_equal(drawn[..., 0], drawn[..., 2]), "boxes are coloured"

    def test_overlay_speaks_both_languages(self, server: Running) -> None:
        links = server.analysed(radiograph())["links"]
        english, russian = (
            server.client.get(links["overlay"], params={"language": language}).content for language in ("en", "ru")
        )
        assert english != russian
        assert_problem(server.client.get(links["overlay"], params={"language": "fr"}), 422)

    def test_bone_mask_lies_over_the_bone(self, server: Running) -> None:
        mask = decoded(server.client.get(server.analysed(radiograph())["links"]["bone"]).content)
        alpha = mask[..., 3] > 0
        assert 0.2 < alpha.mean() < 0.4

    def test_nothing_to_see_before_the_work_is_done(self, serve: Serve) -> None:
        server = serve()
        with _slow(server.service.pipeline.gate, 0.5):
            links = server.post(radiograph()).json()["links"]
            for name in ("image", "overlay", "report", "bone"):
                assert_problem(server.client.get(links[name]), 404)


class TestList:
    def test_pages_through_all_newest_first(self, serve: Serve) -> None:
        server = serve(immediate=True)
        for number in range(5):
            server.post(photograph(40, 40 + number), name=f"{number}.png")
        seen: list[str] = []
        cursor: str | None = None
        sizes: list[int] = []
        while True:
            params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            answer = server.client.get("/api/v1/analyses", params=params).json()
            seen += [analysis["name"] for analysis in answer["analyses"]]
            sizes.append(len(answer["analyses"]))
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        assert seen == ["4.png", "3.png", "2.png", "1.png", "0.png"]
        assert sizes == [2, 2, 1]

    def test_exactly_full_last_page_has_no_cursor(self, serve: Serve) -> None:
        server = serve(immediate=True)
        for number in range(2):
            server.post(photograph(40, 40 + number), name=f"{number}.png")
        assert server.client.get("/api/v1/analyses", params={"limit": 2}).json()["next_cursor"] is None

    def test_filters_by_status(self, serve: Serve) -> None:
        server = serve(immediate=True)
        server.post(radiograph())
        done = server.client.get("/api/v1/analyses", params={"status": "succeeded"}).json()["analyses"]
        assert len(done) == 1 and done[0]["decision"] == "fracture" and "findings" not in done[0]
        assert server.client.get("/api/v1/analyses", params={"status": "failed"}).json()["analyses"] == []

    @pytest.mark.parametrize("query", ["status=lost", "limit=0", "limit=101", "limit=x", "cursor=%00", "cursor=abc"])
    def test_wrong_query_is_a_problem(self, server: Running, query: str) -> None:
        assert_problem(server.client.get(f"/api/v1/analyses?{query}"), 422)


class TestDelete:
    def test_removes_row_and_all_files(self, server: Running) -> None:
        analysis = server.analysed(radiograph())
        folder = server.service.store.folder(analysis["id"])
        assert {path.name for path in folder.iterdir()} == {"original", "page-1.png", "bone-1.png", "thumbnail.jpg"}
        assert server.client.delete(analysis["links"]["self"]).status_code == 204
        assert not folder.exists()
        assert_problem(server.client.get(analysis["links"]["self"]), 404)
        assert_problem(server.client.delete(analysis["links"]["self"]), 404)

    def test_while_it_runs_leaves_nothing(self, serve: Serve) -> None:
        server = serve()
        with _slow(server.service.pipeline.gate, 0.4):
            accepted = server.post(radiograph()).json()
            while server.client.get(accepted["links"]["self"]).json()["status"] != "running":
                time.sleep(0.01)
            assert server.client.delete(accepted["links"]["self"]).status_code == 204
            server.service.runner.stop()
            if server.service.settings.queue_url:
                time.sleep(1.5)  # the worker, which the server cannot wait for, is done by then
        assert "failed" not in server.client.get("/metrics").text
        assert not server.service.store.folder(accepted["id"]).exists()
        assert server.client.get("/api/v1/analyses").json()["analyses"] == []


class TestEvents:
    def test_tell_each_change_until_finished(self, serve: Serve) -> None:
        server = serve()
        with _slow(server.service.pipeline.gate, 0.3):
            accepted = server.post(radiograph()).json()
            with server.client.stream("GET", accepted["links"]["events"]) as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                text = "".join(answer.iter_text())
        events = [block.split("\n") for block in text.strip().split("\n\n")]
        names = [lines[0].removeprefix("event: ") for lines in events]
        data = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
        assert names[-1] == "finished" and set(names[:-1]) == {"progress"}
        assert data[-1] == {"id": accepted["id"], "status": "succeeded", "progress": 1.0}
        assert [row["progress"] for row in data] == sorted(row["progress"] for row in data)

    def test_of_a_finished_analysis_end_at_once(self, server: Running) -> None:
        links = server.analysed(photograph())["links"]
        assert server.client.get(links["events"]).text.startswith("event: finished\n")

    def test_end_when_the_analysis_is_removed(self, serve: Serve) -> None:
        server = serve()
        with _slow(server.service.pipeline.gate, 1):
            links = server.post(radiograph()).json()["links"]
            with server.client.stream("GET", links["events"]) as answer:
                lines = answer.iter_lines()
                next(lines)
                httpx.delete(server.url + links["self"])
                assert all("finished" not in line for line in lines)


class TestRefusals:
    @pytest.mark.parametrize("path", ["/api/v1/analyses", "/api/v1/previews"])
    @pytest.mark.parametrize(
        "request_kind",
        [
            {"content": b""},
            {"content": radiograph(), "headers": {"content-type": "image/png"}},
            {"json": {"file": "x"}},
            {"data": {"file": "text, no file"}, "files": {"other": b"1"}},
            {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            {"content": b"garbage", "headers": {"content-type": "multipart/form-data"}},
            {"files": form(b"")},
            {"files": form(b"just text")},
            {"files": form(radiograph()[:900])},
            {"files": form(noise(0.01))},
        ],
        ids=["nothing", "bare", "json", "field", "garbage", "no-boundary", "empty", "text", "truncated", "noise"],
    )
    def test_no_picture_is_422(self, shared: Running, path: str, request_kind: dict[str, Any]) -> None:
        before = shared.client.get("/api/v1/analyses").json()["analyses"]
        assert_problem(shared.client.post(path, **request_kind), 422)
        assert shared.client.get("/api/v1/analyses").json()["analyses"] == before

    @pytest.mark.parametrize("suffix", ["", "/events", "/image.png", "/bone.png", "/overlay.png", "/report.pdf"])
    def test_unknown_id_is_404(self, shared: Running, suffix: str) -> None:
        assert_problem(shared.client.get(f"/api/v1/analyses/{UNKNOWN}{suffix}"), 404)

    @pytest.mark.parametrize("path", ["/api/v1/nothing", "/nothing", "/samples/nothing", "/static/nothing.js"])
    def test_unknown_address_is_404(self, shared: Running, path: str) -> None:
        assert_problem(shared.client.get(path), 404)

    @pytest.mark.parametrize("strange", ["x", "..%2f..%2fetc", "A" * 32, "0" * 33, "%00", "7f6a-51b0"])
    def test_strange_id_is_unknown(self, shared: Running, strange: str) -> None:
        assert_problem(shared.client.get(f"/api/v1/analyses/{strange}"), 404)
        assert_problem(shared.client.delete(f"/api/v1/analyses/{strange}"), 404)

    def test_wrong_method_is_405(self, shared: Running) -> None:
        answer = shared.client.put("/api/v1/analyses")
        assert_problem(answer, 405)
        assert answer.headers["allow"]

    @pytest.mark.parametrize("wait", ["-1", "301", "nan", "long"])
    def test_wrong_wait_is_422(self, shared: Running, wait: str) -> None:
        assert_problem(shared.client.post(f"/api/v1/analyses?wait={wait}", files=form(radiograph())), 422)

    def test_own_mistake_is_500_and_quotes_nothing(self, server: Running) -> None:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError(PATIENT)

        server.service.store.page = broken  # type: ignore[method-assign,assignment]
        answer = server.client.get("/api/v1/analyses")
        assert_problem(answer, 500)
        assert PATIENT not in answer.text

    def test_every_error_class_is_explained_where_its_type_points(self, shared: Running) -> None:
        page = shared.client.get("/docs").text
        for kind in _all_errors(OsteonError):
            assert f'id="{kind.__name__}"' in page
            assert 400 <= kind.http_status <= 599


class TestLimits:
    def test_announced_body_over_the_limit_is_413(self, serve: Serve) -> None:
        server = serve(max_upload_mb=0.5)
        assert_problem(server.post(noise(1)), 413)

    def test_body_at_the_limit_is_taken(self, serve: Serve) -> None:
        server = serve(max_upload_mb=0.5)
        padded = radiograph() + bytes(int(0.49 * 2**20) - len(radiograph()))
        assert server.post(padded).status_code == 202

    def test_without_content_length_is_413_while_the_body_still_comes(self, serve: Serve) -> None:
        server = serve(max_upload_mb=0.5)
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(
                b"POST /api/v1/analyses HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            )
            connection.sendall(b"%x\r\n%s\r\n" % (len(head), head))
            chunk = bytes(65536)
            for _ in range(12):
                connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            assert _received(connection).startswith(b"HTTP/1.1 413"), "the body has no end yet"

    @pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
    def test_huge_body_that_is_no_upload_is_413_whatever_it_claims_to_be(self, shared: Running, kind: str) -> None:
        body, headers = b" " * (2**20 + 1), {"content-type": kind}
        for path in ("/api/v1/session", "/api/v1/uploads", f"/api/v1/analyses/{'0' * 32}/answers"):
            assert_problem(shared.client.post(path, content=body, headers=headers), 413)

    def test_streamed_body_over_the_limit_is_413(self, serve: Serve) -> None:
        server = serve(max_upload_mb=0.01)

        def chunks() -> Any:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
            for _ in range(4):
                yield bytes(4096)
            yield b"\r\n--x--\r\n"

        headers = {"content-type": "multipart/form-data; boundary=x"}
        assert_problem(server.client.post("/api/v1/analyses", content=chunks(), headers=headers), 413)

    def test_content_length_that_says_less_is_no_way_around(self, serve: Serve) -> None:
        server = serve(max_upload_mb=0.01)
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + radiograph()
        body += b"\r\n--x--\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(
                b"POST /api/v1/analyses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + body
            )
            assert _received(connection).startswith(b"HTTP/1.1 4"), "the form, or what follows it, is refused"
        assert server.client.get("/api/v1/analyses").json()["analyses"] == []

    def test_bytes_are_counted_whatever_content_length_says(self, serve: Serve) -> None:
        """A proxy may hand on a false Content-Length: here the application is called without a server."""
        server = serve(max_upload_mb=0.01)
        messages = [{"type": "http.request", "body": bytes(8192), "more_body": True}] * 3
        status: list[int] = []

        async def receive() -> dict[str, Any]:
            return messages.pop()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/analyses",
            "scheme": "http",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"content-type", b"multipart/form-data; boundary=x"),
                (b"content-length", b"10"),
            ],
        }
        messages[-1] = {
            "type": "http.request",
            "body": b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + bytes(8000),
            "more_body": True,
        }
        asyncio.run(server.app(scope, receive, send))
        assert status == [413]

    def test_too_many_files_are_refused(self, serve: Serve) -> None:
        server = serve(max_files=2, immediate=True)
        files = [("file", (f"{n}.png", photograph(20, 20))) for n in range(3)]
        assert server.client.post("/api/v1/analyses", files=files[:2]).status_code == 202
        assert_problem(server.client.post("/api/v1/analyses", files=files), 422)

    def test_full_queue_is_429_with_retry_after(self, serve: Serve) -> None:
        server = serve(queue_limit=2)
        with _slow(server.service.pipeline.gate, 1.0):
            answers = [server.post(radiograph(spot=255 - number)) for number in range(6)]
            statuses = [answer.status_code for answer in answers]
            assert statuses.count(202) in (2, 3), "one running, two waiting"
            refused = next(answer for answer in answers if answer.status_code != 202)
            assert_problem(refused, 429)
            assert int(refused.headers["retry-after"]) > 0
            kept = server.client.get("/api/v1/analyses").json()["analyses"]
            assert len(kept) == statuses.count(202)
            folders = list((server.service.settings.data_dir / "analyses").iterdir())
            assert len(folders) == len(kept), "a refused file leaves nothing"


def _received(connection: socket.socket) -> bytes:
    parts = b""
    try:
        while part := connection.recv(65536):
            parts += part
            if b"\r\n\r\n" in parts:
                break
    except OSError:
        pass
    return parts


class TestManyAtOnce:
    def test_fifty_first_requests_load_the_detector_once(self, serve: Serve) -> None:
        server = serve(workers=4, queue_limit=100)
        loads: list[int] = []
        lazy = server.service.pipeline.detector
        original = lazy._load

        def counted() -> Any:
            loads.append(1)
            time.sleep(0.2)
            return original()

        assert isinstance(lazy, Lazy)
        lazy._load = counted
        content = radiograph()

        def one(_: int) -> str:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                answer = client.post("/api/v1/analyses", files=form(content), params={"wait": 50})
                decision: str = answer.json()["findings"]["decision"]
                return decision

        with ThreadPoolExecutor(50) as pool:
            assert set(pool.map(one, range(50))) == {"fracture"}
        assert loads == [1]


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [f"{PATIENT}.png", f"../../{PATIENT}.png", f"..\\{PATIENT}.png", f"/etc/{PATIENT}.png", f"{PATIENT}\r\nX: 1"],
    )
    def test_are_shown_but_never_paths_nor_logged(
        self, server: Running, name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        caplog.set_level(logging.DEBUG)
        analysis = server.analysed(radiograph(), name=name)
        assert analysis["name"].startswith(PATIENT)
        assert analysis["findings"]["source"] == analysis["name"]
        assert_problem(server.post(radiograph()[:500], name=name), 422)
        server.client.get(analysis["links"]["report"])
        server.client.delete(analysis["links"]["self"])
        assert "POST /api/v1/analyses" in caplog.text, "requests are logged"
        written = "\n".join(record.getMessage() for record in caplog.records if record.name.split(".")[0] != "httpcore")
        assert "Canary" not in written
        assert "Canary" not in server.client.get("/metrics").text
        assert not [path for path in tmp_path.rglob("*") if "Canary" in path.name]

    def test_missing_name_has_a_stand_in(self, server: Running) -> None:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="/"\r\n\r\n'
            + radiograph()
            + b"\r\n--x--\r\n"
        )
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = server.client.post("/api/v1/analyses?wait=30", content=body, headers=headers)
        assert answer.json()["analyses"][0]["name"] == "image"


class TestOperation:
    def test_health_and_readiness(self, server: Running) -> None:
        assert server.client.get("/healthz").json() == {"status": "ok"}
        assert server.client.get("/readyz").status_code == 200

    def test_not_ready_without_a_database(self, server: Running) -> None:
        server.service.store.answers = lambda: False  # type: ignore[method-assign]
        assert_problem(server.client.get("/readyz"), 503)

    @pytest.mark.usefixtures("embedded")
    def test_metrics_count_requests_stages_and_decisions(self, server: Running) -> None:
        server.analysed(radiograph())
        text = server.client.get("/metrics").text
        assert 'osteon_requests_total{method="POST",route="/api/v1/analyses",status="200"} 1.0' in text
        assert 'osteon_decisions_total{decision="fracture"} 1.0' in text
        assert 'osteon_analyses_total{status="succeeded"} 1.0' in text
        assert 'osteon_stage_seconds_count{stage="detect"} 1.0' in text
        assert "osteon_queue_length 0.0" in text
        assert 'osteon_model_loaded{task="detector"} 1.0' in text

    @pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/api/v1/analyses", "/nothing", "/static/page.js"])
    def test_every_answer_has_strict_headers(self, shared: Running, path: str) -> None:
        headers = shared.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")

    def test_openapi_describes_every_address_and_answer(self, shared: Running) -> None:
        document = shared.client.get("/openapi.json").json()
        assert set(document["paths"]) >= {
            "/api/v1/previews",
            "/api/v1/uploads",
            "/api/v1/uploads/{upload_id}",
            "/api/v1/uploads/{upload_id}/preview",
            "/api/v1/uploads/{upload_id}/analysis",
            "/api/v1/events",
            "/api/v1/studies/{study}",
            "/api/v1/analyses",
            "/api/v1/analyses/{analysis_id}",
            "/api/v1/analyses/{analysis_id}/cancel",
            "/api/v1/analyses/{analysis_id}/events",
            "/api/v1/analyses/{analysis_id}/pixels",
            "/api/v1/analyses/{analysis_id}/thumbnail.jpg",
            "/api/v1/analyses/{analysis_id}/image.png",
            "/api/v1/analyses/{analysis_id}/bone.png",
            "/api/v1/analyses/{analysis_id}/bones",
            "/api/v1/analyses/{analysis_id}/bones.png",
            "/api/v1/analyses/{analysis_id}/overlay.png",
            "/api/v1/analyses/{analysis_id}/report.pdf",
            "/healthz",
            "/readyz",
            "/metrics",
        }
        post = document["paths"]["/api/v1/analyses"]["post"]
        assert set(post["responses"]) == {"200", "202", "413", "422", "429", "501", "default"}
        assert "application/problem+json" in post["responses"]["422"]["content"]
        assert "HTTPValidationError" not in document["components"]["schemas"]

    def test_pages_name_no_other_host(self, shared: Running) -> None:
        for path in ("/", "/docs", "/static/page.css", "/static/page.js", "/static/viewer.js", "/static/server.js"):
            text = shared.client.get(path).text
            foreign = [part for part in text.split("://")[1:] if not part.startswith(("127.0.0.1", "www.w3.org"))]
            assert foreign == [], path
