"""Operation: log, metrics, probes, stopping, settings, back-up."""

import io
import json
import logging
import re
import socket
import sqlite3
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from programs import Program
from serving import PATIENT, Running, form, photograph, radiograph

import models
from osteon.cli import main
from osteon.errors import ConfigurationError, InvalidBackup
from osteon.service import logs, settings
from osteon.service.backup import MANIFEST, backup, restore
from osteon.service.keys import SCOPES
from osteon.service.metrics import Metrics
from osteon.service.settings import Settings

Serve = Callable[..., Running]
API = "/api/v1"
ROOT = Path(__file__).parents[2]


@contextmanager
def logged(form: logs.Form = "json") -> Iterator[io.StringIO]:
    """What a server would write to its log, whose handlers and levels are put back afterwards."""
    names = ("", "osteon", "uvicorn", "uvicorn.error", "uvicorn.access")
    kept = [(logger := logging.getLogger(name), logger.handlers[:], logger.level, logger.propagate) for name in names]
    stream = io.StringIO()
    try:
        logs.configure(form, stream=stream)
        yield stream
    finally:
        logging.captureWarnings(False)
        for logger, handlers, level, propagate in kept:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestLog:
    def test_event_is_one_json_object_with_its_fields(self) -> None:
        with logged() as stream, logs.during("abc"):
            logs.event(logging.getLogger("osteon.somewhere"), "request", status=200, ms=1.5)
        (line,) = lines(stream)
        assert line["event"] == "request" and line["level"] == "info"
        assert (line["status"], line["ms"], line["request_id"]) == (200, 1.5, "abc")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])

    def test_text_is_the_same_for_people(self) -> None:
        with logged("text") as stream:
            logs.event(logging.getLogger("osteon.somewhere"), "listening", url="http://a b", port=1)
        assert stream.getvalue().endswith(' info listening url="http://a b" port=1\n')

    def test_exception_is_its_class_and_place(self) -> None:
        with logged() as stream:
            try:
                raise ValueError(PATIENT)
            except ValueError:
                logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
        (line,) = lines(stream)
        assert line["error"] == "ValueError" and "test_web_operation.py:" in line["at"]
        assert PATIENT not in stream.getvalue()

    def test_words_of_other_libraries_are_left_out(self) -> None:
        with logged() as stream:
            logging.getLogger("pydicom").error("Invalid value for VR PN: %s", PATIENT)
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn(f"strange name {PATIENT}", stacklevel=1)
            logging.getLogger("osteonlike").error(PATIENT)
        assert len(lines(stream)) == 3
        assert PATIENT not in stream.getvalue()
        assert lines(stream)[0]["from"].startswith("pydicom test_web_operation.py:")

    def test_request_is_logged_by_its_pattern(self, serve: Serve) -> None:
        server = serve()
        with logged() as stream:
            server.client.get(f"{API}/analyses/{'0' * 32}", params={"search": PATIENT})
            server.client.get(f"/{PATIENT}")
            server.client.request("PURGE", f"{API}/analyses")
        found, unknown, strange = [line for line in lines(stream) if line["event"] == "request"]
        assert (found["method"], found["route"], found["status"]) == ("GET", f"{API}/analyses/{{analysis_id}}", 404)
        assert found["ms"] > 0
        assert (unknown["route"], unknown["status"]) == ("other", 404)
        assert strange["method"] == "other"
        assert "Ivanov" not in stream.getvalue()

    def test_request_id_comes_and_goes(self, serve: Serve) -> None:
        server = serve()
        with logged() as stream:
            sent = server.client.get("/docs", headers={"X-Request-ID": "4bf92f35-77b3"})
            fresh = server.client.get("/docs")
            foreign = server.client.get("/docs", headers={"X-Request-ID": "Ivanov Ivan 1950"})
        ids = [answer.headers["x-request-id"] for answer in (sent, fresh, foreign)]
        assert ids[0] == "4bf92f35-77b3"
        assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids[1:]) and ids[1] != ids[2]
        assert [line["request_id"] for line in lines(stream) if line["event"] == "request"] == ids

    def test_probes_do_not_fill_it(self, serve: Serve) -> None:
        server = serve()
        with logged() as stream:
            server.client.get("/healthz")
            server.client.get("/static/icon.svg")
        assert lines(stream) == []


class TestMetrics:
    @pytest.mark.usefixtures("embedded")
    def test_tell_of_requests_stages_decisions_queue_and_models(self, serve: Serve) -> None:
        server = serve()
        before = server.client.get("/metrics").text
        assert 'osteon_model_loaded{task="gate"} 1.0' in before
        assert 'osteon_model_loaded{task="detector"} 0.0' in before
        server.analysed(radiograph())
        server.analysed(photograph())
        text = server.client.get("/metrics").text
        for line in (
            'osteon_requests_total{method="POST",route="/api/v1/analyses",status="200"} 2.0',
            'osteon_request_seconds_count{route="/api/v1/analyses"} 2.0',
            'osteon_gate_decisions_total{bone="yes"} 1.0',
            'osteon_gate_decisions_total{bone="no"} 1.0',
            'osteon_stage_seconds_count{stage="gate"} 2.0',
            'osteon_model_loaded{task="detector"} 1.0',
            "osteon_queue_length 0.0",
            "osteon_queue_oldest_seconds 0.0",
            "osteon_retries_total 0.0",
            "osteon_decoders_lost 0.0",
        ):
            assert line in text, line

    def test_what_senders_write_is_no_label(self, serve: Serve) -> None:
        server = serve()
        server.client.get(f"/{PATIENT}")
        server.client.request("PURGE", f"/{PATIENT}")
        text = server.client.get("/metrics").text
        assert 'method="other",route="other"' in text
        assert "ivanov" not in text.lower()

    def test_are_shown_at_a_port_of_their_own(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        numbers = Metrics(waiting=lambda: 7, detector_loaded=lambda: False)
        end = numbers.serve(port)
        try:
            assert "osteon_queue_length 7.0" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
            with pytest.raises(ConfigurationError, match="cannot be used"):
                numbers.serve(port)
        finally:
            end()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/metrics")


class TestProbes:
    def test_are_well(self, shared: Running) -> None:
        assert shared.client.get("/healthz").json() == {"status": "ok"}
        assert shared.client.get("/readyz").json()["status"] == "ready"

    def test_not_ready_without_free_space(self, serve: Serve) -> None:
        answer = serve(min_free_mb=2**30).client.get("/readyz")
        assert answer.status_code == 503
        assert "free" in answer.json()["detail"] and answer.json()["hint"]

    def test_not_ready_without_database(self, serve: Serve) -> None:
        server = serve()
        server.service.store.database.answers = lambda: False  # type: ignore[method-assign]
        answer = server.client.get("/readyz")
        assert answer.status_code == 503 and "database" in answer.json()["detail"]


class TestHeaders:
    @pytest.mark.parametrize(
        "path", ["/", "/docs", "/healthz", "/static/icon.svg", f"{API}/analyses", "/nothing", "/sign-in"]
    )
    def test_are_strict_everywhere(self, shared: Running, path: str) -> None:
        headers = shared.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in headers or "uvicorn" in headers["server"]
        assert "strict-transport-security" not in headers


class TestSettings:
    def test_table_of_the_document_is_theirs(self) -> None:
        written = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
        assert settings.table() in written, "paste the output of: python -m osteon.service.settings"

    def test_each_is_described_and_read(self) -> None:
        for name, field in Settings.model_fields.items():
            assert field.description, name
            assert f"`OSTEON_{name.upper()}`" in settings.table()
        read = Settings.from_environment({"OSTEON_REQUIRE_KEYS": "true", "OSTEON_LOG": "text", "OSTEON_WORKERS": ""})
        assert (read.require_keys, read.log, read.workers) == (True, "text", 2)

    def test_hosts_are_separated_by_commas(self) -> None:
        assert Settings(allowed_hosts=" A.example ,b.example,").hosts == {"a.example", "b.example"}


@pytest.mark.usefixtures("embedded")
class TestBackup:
    @pytest.fixture
    def filled(self, serve: Serve) -> Running:
        server = serve()
        for spot in (255, 150):
            server.analysed(radiograph(spot=spot))
        return server

    def test_comes_back_as_it_was(self, filled: Running, serve: Serve, tmp_path: Path) -> None:
        shown = filled.client.get(f"{API}/analyses").json()
        pictures = [filled.client.get(one["links"]["image"]).content for one in shown["analyses"]]
        contents = backup(filled.service.settings, tmp_path / "b.tar")
        assert contents.analyses == 2 and contents.size_bytes > sum(map(len, pictures))
        elsewhere = filled.service.settings.changed(data_dir=tmp_path / "elsewhere")
        assert restore(elsewhere, tmp_path / "b.tar") == contents
        other = serve(data_dir=tmp_path / "elsewhere")
        assert other.client.get(f"{API}/analyses").json() == shown
        assert [other.client.get(one["links"]["image"]).content for one in shown["analyses"]] == pictures

    def test_is_consistent_while_analyses_come_and_go(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(queue_limit=1000)
        stop = threading.Event()

        def busy() -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                while not stop.is_set():
                    sent = client.post(f"{API}/analyses?again=true", files=form(radiograph())).json()
                    if len(client.get(f"{API}/analyses").json()["analyses"]) > 4:
                        client.delete(f"{API}/analyses/{sent['id']}")

        threads = [threading.Thread(target=busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(4):
                backup(server.service.settings, tmp_path / f"{number}.tar")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        for number in range(4):
            place = tmp_path / str(number)
            restore(server.service.settings.changed(data_dir=place), tmp_path / f"{number}.tar")
            with sqlite3.connect(place / "osteon.sqlite3") as connection:
                rows = dict(connection.execute("SELECT id, status FROM analyses"))
            connection.close()
            assert {path.name for path in (place / "analyses").iterdir()} == rows.keys()
            for analysis_id, status in rows.items():
                files = {path.name for path in (place / "analyses" / analysis_id).iterdir()}
                assert "original" in files
                assert status != "succeeded" or len(files) > 1

    def test_leaves_sign_ins_out_and_keeps_keys(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(require_keys=True)
        _, token = server.app.state.access.keys.create("reader")
        server.client.post(f"{API}/session", json={"key": token})
        backup(server.service.settings, tmp_path / "b.tar")
        place = tmp_path / "elsewhere"
        restore(server.service.settings.changed(data_dir=place), tmp_path / "b.tar")
        with sqlite3.connect(place / "osteon.sqlite3") as connection:
            assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
            assert connection.execute("SELECT name FROM keys").fetchone() == ("reader",)
        connection.close()

    def test_nobody_else_can_read_it(self, filled: Running, tmp_path: Path) -> None:
        backup(filled.service.settings, tmp_path / "b.tar")
        assert (tmp_path / "b.tar").stat().st_mode & 0o077 == 0
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".osteon", "b.tar"))] == ["b.tar"]

    def test_filled_folder_is_replaced_only_when_told(self, filled: Running, tmp_path: Path) -> None:
        target = filled.service.settings.changed(data_dir=tmp_path / "elsewhere")
        backup(filled.service.settings, tmp_path / "two.tar")
        filled.client.delete(f"{API}/analyses/{filled.client.get(f'{API}/analyses').json()['analyses'][0]['id']}")
        backup(filled.service.settings, tmp_path / "one.tar")
        restore(target, tmp_path / "two.tar")
        with pytest.raises(ConfigurationError, match="holds a store") as refused:
            restore(target, tmp_path / "one.tar")
        assert "--replace" in refused.value.hint
        assert restore(target, tmp_path / "one.tar", replace=True).analyses == 1
        assert len(list((tmp_path / "elsewhere" / "analyses").iterdir())) == 1
        assert not list((tmp_path / "elsewhere").glob(".restoring*"))

    def test_running_server_is_not_replaced(
        self, filled: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("osteon.service.database._HOLD_SECONDS", 0.1)
        backup(filled.service.settings, tmp_path / "b.tar")
        with pytest.raises(ConfigurationError, match="serves from"):
            restore(filled.service.settings, tmp_path / "b.tar", replace=True)

    @pytest.mark.parametrize("harm", ["cut", "changed", "text", "stranger", "outside", "link", "later"])
    def test_damaged_one_is_refused_and_nothing_is_touched(self, filled: Running, tmp_path: Path, harm: str) -> None:
        good = tmp_path / "good.tar"
        backup(filled.service.settings, good)
        bad = tmp_path / "bad.tar"
        bad.write_bytes(_harmed(good, harm))
        target = filled.service.settings.changed(data_dir=tmp_path / "elsewhere")
        restore(target, good)
        before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "elsewhere" / "analyses").rglob("*"))
        with pytest.raises(InvalidBackup):
            restore(target, bad, replace=True)
        after = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "elsewhere" / "analyses").rglob("*"))
        assert after == before
        assert not (tmp_path / "escaped").exists()

    def test_other_stores_have_their_own_tools(self, tmp_path: Path) -> None:
        away = Settings(data_dir=tmp_path, database_url="postgresql+psycopg://nowhere/osteon")
        with pytest.raises(ConfigurationError, match="embedded") as refused:
            backup(away, tmp_path / "b.tar")
        assert "pg_dump" in refused.value.hint
        with pytest.raises(ConfigurationError, match="no store"):
            backup(Settings(data_dir=tmp_path / "nothing"), tmp_path / "b.tar")

    def test_on_the_command_line(self, filled: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OSTEON_DATA_DIR", str(filled.service.settings.data_dir))
        done = CliRunner().invoke(main, ["backup", str(tmp_path / "b.tar")])
        assert done.exit_code == 0 and done.stderr.startswith("2 analyses,")
        monkeypatch.setenv("OSTEON_DATA_DIR", str(tmp_path / "elsewhere"))
        done = CliRunner().invoke(main, ["restore", str(tmp_path / "b.tar")])
        assert done.exit_code == 0 and done.stderr.startswith("2 analyses,")
        done = CliRunner().invoke(main, ["restore", str(tmp_path / "b.tar")])
        assert done.exit_code == 2 and "hint: give --replace" in done.stderr


def _harmed(good: Path, harm: str) -> bytes:
    content = good.read_bytes()
    if harm == "cut":
        return content[: len(content) // 2]
    if harm == "text":
        return b"no back-up at all"
    entries = []
    with tarfile.open(good) as tar:
        for entry in tar:
            file = tar.extractfile(entry)
            assert file
            entries.append((entry, file.read()))
    first, content = entries[0]
    if harm == "changed":
        entries[0] = (first, bytes([content[0] ^ 1]) + content[1:])
    if harm == "later":
        about = json.loads(entries[-1][1])
        entries[-1] = (tarfile.TarInfo(MANIFEST), json.dumps({**about, "format": 99}).encode())
    names = {"stranger": "evil.py", "outside": "../escaped", "link": "analyses/link"}
    if harm in names:
        extra = tarfile.TarInfo(names[harm])
        if harm == "link":
            extra.type, extra.linkname = tarfile.SYMTYPE, "/etc/passwd"
        entries.insert(0, (extra, b""))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for entry, data in entries:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def start(tmp_path: Path, model_files: models.ModelFiles) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def begin(*words: str, **variables: str) -> Program:
        started.append(Program(tmp_path / "data", model_files, *words, **variables))
        return started[-1]

    yield begin
    for program in started:
        program.kill()


class TestServe:
    @pytest.mark.parametrize("variables", [{}, {"require_keys": "true"}])
    def test_refuses_another_address_without_keys(
        self, start: Callable[..., Program], variables: dict[str, str]
    ) -> None:
        program = start("--host", "0.0.0.0", "--port", "0", **variables)
        assert program.wait() == 2
        told = program.text()
        assert "no key exists" in told and "osteon keys create" in told and "127.0.0.1" in told

    def test_refuses_another_address_where_keys_are_turned_off(self, start: Callable[..., Program]) -> None:
        program = start("--host", "0.0.0.0", "--port", "0", require_keys="false", first_key="x" * 40)
        assert program.wait() == 2
        assert "OSTEON_REQUIRE_KEYS" in program.text()

    def test_first_key_is_made_once_and_lets_in(self, start: Callable[..., Program]) -> None:
        words = ("--host", "0.0.0.0", "--port", "0", "--first-key", "--workers", "2")
        program = start(*words, public_url="http://localhost:8010")
        told = program.until("first key, shown only now")
        assert told["sign_in"] == f"http://localhost:8010/sign-in#key={told['key']}"
        assert httpx.get(f"{program.url}{API}/analyses").status_code == 401
        headers = {"Authorization": f"Bearer {told['key']}"}
        assert httpx.get(f"{program.url}{API}/session", headers=headers).json()["scopes"] == sorted(SCOPES)
        program.end()
        assert program.text().count(f"{told['key']}") == 2, "once as it is and once in the link"
        again = start(*words)
        again.until("listening")
        assert not [line for line in again.lines() if "key" in line]
        again.end()

    def test_first_key_of_the_operator_is_never_shown(self, start: Callable[..., Program]) -> None:
        key = "operators-" + "k" * 40
        program = start("--host", "0.0.0.0", "--port", "0", first_key=key)
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{program.url}{API}/analyses", headers=headers).status_code == 200
        program.end()
        assert "operators-" not in program.text()

    def test_stops_though_somebody_listens_and_what_waits_is_done_after_the_next_start(
        self, start: Callable[..., Program]
    ) -> None:
        program = start("--port", "0", shutdown_seconds="600")
        url = program.url
        sent = [
            httpx.post(f"{url}{API}/analyses?again=true", files=form(radiograph()), timeout=60).json()["id"]
            for _ in range(5)
        ]
        with httpx.stream("GET", f"{url}{API}/events", timeout=60) as stream:
            assert stream.status_code == 200
            program.end()
        assert {line["level"] for line in program.lines()} == {"info"}
        again = start("--port", "0")
        with httpx.Client(base_url=again.url, timeout=60) as client:
            for analysis_id in sent:
                with client.stream("GET", f"{API}/analyses/{analysis_id}/events") as events:
                    assert "event: finished" in "".join(events.iter_text())
                assert client.get(f"{API}/analyses/{analysis_id}").json()["status"] == "succeeded"
        again.end()

    def test_says_what_holds_the_folder(self, start: Callable[..., Program]) -> None:
        first = start("--port", "0")
        first.until("listening")
        second = start("--port", "0")
        assert second.wait() == 3
        assert "another process serves from" in second.text()
