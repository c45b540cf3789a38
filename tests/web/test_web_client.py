"""The client, blocking and awaiting, against the real application; connections are broken on purpose on the way."""

import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Running, photograph, png, radiograph

import models
from osteon.client import Accepted, Analysis, AsyncClient, Client, Patience
from osteon.client.exchange import Ask, Pause, Reply
from osteon.client.exchange import asked as asking
from osteon.client.plans import Plans
from osteon.client.sources import pictures_in
from osteon.errors import ConfigurationError, InvalidImage, OsteonError, RequestRefused, ServiceUnreachable
from osteon.files.search import find

ROOT = Path(__file__).parents[2]
QUICK = Patience(busy_s=20, breaks=3, first_pause_s=0.01)
UNKNOWN = "0" * 32
Lose = Callable[[httpx.Request], str]
"""Told a request, says what happens to it: '' nothing, 'before' it never arrives, 'after' its answer is lost."""


class Breaking(httpx.HTTPTransport):
    def __init__(self, lose: Lose) -> None:
        super().__init__()
        self.lose = lose
        self.asked: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        fate = self.lose(request)
        if fate == "before":
            raise httpx.ConnectError("lost before", request=request)
        answer = super().handle_request(request)
        if fate == "after":
            answer.read()
            raise httpx.ReadError("lost after", request=request)
        return answer


class AsyncBreaking(httpx.AsyncHTTPTransport):
    def __init__(self, lose: Lose) -> None:
        super().__init__()
        self.lose = lose
        self.asked: list[tuple[str, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.url.path))
        fate = self.lose(request)
        if fate == "before":
            raise httpx.ConnectError("lost before", request=request)
        answer = await super().handle_async_request(request)
        if fate == "after":
            await answer.aread()
            raise httpx.ReadError("lost after", request=request)
        return answer


class Awaited:
    """An AsyncClient whose methods are awaited at once, so that one test speaks to both kinds."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self.client, self.runner = client, runner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def done(*words: Any, **named: Any) -> Any:
            result = method(*words, **named)
            return self.runner.run(_all(result) if inspect.isasyncgen(result) else result)

        return done


async def _all(iterator: Any) -> list[Any]:
    return [one async for one in iterator]


Connect = Callable[..., Any]


@pytest.fixture(params=["blocking", "awaiting"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes a client of either kind; `small` has files of a few bytes go up in parts."""
    with asyncio.Runner() as runner:
        opened: list[Any] = []

        def make(url: str, *, lose: Lose = lambda _: "", small: bool = False, **options: Any) -> Any:
            options = {"patience": QUICK, **options}
            if request.param == "blocking":
                client: Any = Client(url, transport=Breaking(lose), **options)
                shown = client
            else:
                client = AsyncClient(url, transport=AsyncBreaking(lose), **options)
                shown = Awaited(client, runner)
            if small:
                client._plans = Plans(options["patience"], in_one_bytes=0, part_bytes=300)
            opened.append(shown)
            return shown

        yield make
        for shown in opened:
            shown.close()


def asked(client: Any) -> list[tuple[str, str]]:
    transport = getattr(client, "client", client)._http._transport
    listed: list[tuple[str, str]] = transport.asked
    return listed


def once(method: str, ending: str, fate: str) -> Lose:
    """Loses the first such request."""
    left = [fate]

    def lose(request: httpx.Request) -> str:
        if left and request.method == method and request.url.path.endswith(ending):
            return left.pop()
        return ""

    return lose


def other(number: int) -> bytes:
    """A radiograph that is like no other."""
    pixels = models.radiograph_pixels(450, 350)
    pixels[0, :8] = [20 + (number >> bit & 1) for bit in range(8)]
    return png(pixels)


class TestBothKinds:
    def test_have_the_same_methods_with_the_same_arguments(self) -> None:
        def methods(kind: type) -> dict[str, Any]:
            public = {name: one for name, one in vars(kind).items() if not name.startswith("_")}
            return {name: inspect.signature(one).parameters for name, one in public.items()}

        assert {name: list(one.values()) for name, one in methods(Client).items()} == {
            name: list(one.values()) for name, one in methods(AsyncClient).items()
        }

    def test_analyse_waits_and_tells_the_findings(self, shared: Running, connect: Connect) -> None:
        analysis = connect(shared.url).analyse(radiograph(), name="hand.png", wait_s=30, again=True)
        assert analysis.finished and analysis.status == "succeeded" and analysis.decision == "fracture"
        assert analysis.name == "hand.png"
        findings = analysis.findings
        assert (findings.height_px, findings.width_px) == (450, 350)
        assert findings.gate.name == "osteon-gate-drawn"
        x0, y0, x1, y1 = findings.fractures[0].box_xyxy_px
        left, top, right, bottom = models.spot_box_px(450, 350)
        assert x0 < (left + right) / 2 < x1 and y0 < (top + bottom) / 2 < y1
        assert findings.fractures[0].grade == "fracture"
        assert analysis.created_at.tzinfo is not None and analysis.finished_at >= analysis.created_at

    def test_analyse_takes_a_path_and_no_wait_gives_it_as_it_stands(
        self, shared: Running, connect: Connect, tmp_path: Path
    ) -> None:
        (tmp_path / "foot.png").write_bytes(other(1))
        client = connect(shared.url)
        accepted = client.analyse(tmp_path / "foot.png")
        assert accepted.name == "foot.png"
        finished = client.wait_for(accepted.id, seconds=30)
        assert finished.id == accepted.id and finished.status == "succeeded"
        assert client.analysis(accepted.id) == finished

    def test_preview_tells_whether_the_rest_is_wanted(self, shared: Running, connect: Connect) -> None:
        client = connect(shared.url)
        wanted = client.preview(radiograph())
        assert wanted.wanted and wanted.bone.present and wanted.mask_png.startswith(b"\x89PNG")
        unwanted = client.preview(photograph())
        assert not unwanted.wanted and unwanted.reason == "no_bone"

    def test_list_goes_on_over_its_pages(
        self, server: Running, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = connect(server.url)
        ids = [client.analyse(other(number), wait_s=30).id for number in range(5)]
        for kind in ("blocking", "awaiting"):
            monkeypatch.setattr(f"osteon.client.{kind}.page_from", _by_two)
        listed = list(client.analyses(status="succeeded"))
        assert [one.id for one in listed] == ids[::-1]
        assert len([path for _, path in asked(client) if path == "/api/v1/analyses"]) == 5 + 3
        assert list(client.analyses(status="failed")) == []

    def test_pictures_and_report_come_as_bytes(self, shared: Running, connect: Connect) -> None:
        client = connect(shared.url)
        analysis = client.analyse(radiograph(), wait_s=30)
        for picture in (
            client.image(analysis.id),
            client.bone(analysis.id),
            client.overlay(analysis.id, language="ru"),
        ):
            assert picture.startswith(b"\x89PNG")
        assert client.report(analysis.id).startswith(b"%PDF")

    def test_bones_are_found_on_request(self, server: Running, connect: Connect) -> None:
        client = connect(server.url)
        analysis = client.analyse(radiograph(), wait_s=30)
        assert analysis.findings and analysis.findings.bones is None
        found = client.bones(analysis.id)
        assert found.status == "succeeded" and found.finished and found.error is None
        assert [bone.label for bone in found.bones] == ["radius", "carpals"]
        assert all(bone.damage and 0 < (bone.damage.probability or 0) < 1 for bone in found.bones)
        assert found.bones[0].names["ru"] == "лучевая кость" and found.bones[0].outlines
        assert found.bones[0].box_xyxy_px == pytest.approx((122, 22, 227, 360), abs=2) and found.bones[0].page == 1
        again = client.analysis(analysis.id).findings
        assert again and again.bones and again.bones[0].label == "radius"
        assert again.damage and again.damage.score == max(bone.damage.score for bone in again.bones if bone.damage)
        assert again.fractures[0].bone == "radius" and "radius" in again.fractures[0].text["en"]

    def test_remove_leaves_nothing(self, server: Running, connect: Connect) -> None:
        client = connect(server.url)
        analysis = client.analyse(radiograph(), wait_s=30)
        client.remove(analysis.id)
        with pytest.raises(RequestRefused) as refused:
            client.analysis(analysis.id)
        assert refused.value.status == 404


def _by_two(params: Any, cursor: str) -> Any:
    return {**params, "limit": "2"} | ({"cursor": cursor} if cursor else {})


class TestRefusals:
    def test_carry_the_problem(self, shared: Running, connect: Connect) -> None:
        with pytest.raises(RequestRefused) as refused:
            connect(shared.url).analyse(b"no picture at all", name="x.jpg")
        error = refused.value
        assert (error.kind, error.status) == ("InvalidImage", 422)
        assert error.message and error.hint
        assert isinstance(error, OsteonError)

    def test_unknown_id(self, shared: Running, connect: Connect) -> None:
        with pytest.raises(RequestRefused) as refused:
            connect(shared.url).overlay(UNKNOWN)
        assert (refused.value.kind, refused.value.status) == ("AnalysisNotFound", 404)

    def test_id_never_leads_elsewhere(self, shared: Running, connect: Connect) -> None:
        with pytest.raises(ValueError, match="letters and digits"):
            connect(shared.url).remove("../../healthz")

    def test_missing_file(self, shared: Running, connect: Connect, tmp_path: Path) -> None:
        with pytest.raises(InvalidImage, match=r"cannot read gone\.png"):
            connect(shared.url).analyse(tmp_path / "gone.png")

    def test_address_that_is_none(self) -> None:
        with pytest.raises(ConfigurationError, match="no web address"):
            Client("127.0.0.1:8010")

    def test_nothing_answers(self, connect: Connect) -> None:
        client = connect("http://127.0.0.1:9", patience=Patience(breaks=2, first_pause_s=0.001))
        with pytest.raises(ServiceUnreachable) as unreachable:
            client.analysis(UNKNOWN)
        assert "osteon serve" in unreachable.value.hint
        assert len(asked(client)) == 3

    def test_something_else_answers(self) -> None:
        page = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>It works!</html>"))
        other_json = httpx.MockTransport(lambda _: httpx.Response(200, json={"it": "works"}))
        for stranger in (page, other_json):
            with (
                Client(transport=stranger) as client,
                pytest.raises(ServiceUnreachable, match="no Osteon service"),
            ):
                client.analysis(UNKNOWN)

    def test_key_is_sent_as_bearer(self, shared: Running, connect: Connect) -> None:
        told: list[str | None] = []

        def lose(request: httpx.Request) -> str:
            told.append(request.headers.get("authorization"))
            return ""

        list(connect(shared.url, lose=lose, key="osteon_abc").analyses())
        list(connect(shared.url, lose=lose).analyses())
        assert told == ["Bearer osteon_abc", None]


class TestRepetition:
    @pytest.mark.parametrize("fate", ["before", "after"])
    def test_lost_upload_is_sent_again_and_analysed_once(self, server: Running, connect: Connect, fate: str) -> None:
        client = connect(server.url, lose=once("POST", "/analyses", fate))
        analysis = client.analyse(radiograph(), wait_s=30)
        assert analysis.status == "succeeded"
        assert [one.id for one in client.analyses()] == [analysis.id]
        assert [path for method, path in asked(client) if method == "POST"] == ["/api/v1/analyses"] * 2

    def test_anew_is_never_asked_twice_where_it_may_have_been_heard(self, server: Running, connect: Connect) -> None:
        client = connect(server.url, lose=once("POST", "/analyses", "after"))
        with pytest.raises(ServiceUnreachable):
            client.analyse(radiograph(), again=True)
        assert len(list(client.analyses())) == 1

    def test_anew_is_asked_again_where_it_cannot_have_been_heard(self, server: Running, connect: Connect) -> None:
        client = connect(server.url, lose=once("POST", "/analyses", "before"))
        first = client.analyse(radiograph(), wait_s=30)
        assert client.analyse(radiograph(), again=True, wait_s=30).id != first.id

    def test_removal_whose_answer_was_lost_is_a_removal(self, server: Running, connect: Connect) -> None:
        client = connect(server.url, lose=once("DELETE", "", "after"))
        client.remove(client.analyse(radiograph(), wait_s=30).id)
        assert list(client.analyses()) == []

    def test_busy_service_is_asked_later(self, serve: Callable[..., Running], connect: Connect) -> None:
        """Every file of a crowd is taken in the end, though only one may wait at a time."""
        server = serve(queue_limit=1)
        client = connect(server.url, patience=Patience(busy_s=120, first_pause_s=0.01))
        kinds = {client.analyse(other(number)).status for number in range(3)}
        assert kinds <= {"queued", "running", "succeeded"}

    def test_proxy_that_gave_up_is_not_asked_twice_for_what_may_be_done(self) -> None:
        gone = Reply(502, {}, b"<html>")
        plan = asking(Ask("POST", "/answers", repeatable=False), Patience())
        next(plan)
        with pytest.raises(RequestRefused):
            plan.send(gone)
        plan = asking(Ask("GET", "/answers"), Patience())
        next(plan)
        assert isinstance(plan.send(gone), Pause)

    def test_busy_for_too_long_is_told(self, connect: Connect) -> None:
        client = connect("http://127.0.0.1:9", patience=Patience(busy_s=4, first_pause_s=0.01))
        plan = Plans(Patience(busy_s=4)).analysis(UNKNOWN)
        busy = Reply(429, {"retry-after": "5"}, b'{"type": "/docs#TooManyWaiting", "detail": "full", "hint": "later"}')
        next(plan)
        with pytest.raises(RequestRefused) as refused:
            plan.send(busy)
        assert (refused.value.kind, refused.value.status, refused.value.hint) == ("TooManyWaiting", 429, "later")
        assert asked(client) == []


class TestLargeFiles:
    """Sent in parts: here of 300 bytes."""

    def test_go_up_in_parts(self, server: Running, connect: Connect, tmp_path: Path) -> None:
        content = radiograph()
        (tmp_path / "large.png").write_bytes(content)
        client = connect(server.url, small=True)
        analysis = client.analyse(tmp_path / "large.png", wait_s=30)
        assert analysis.status == "succeeded" and analysis.size_bytes == len(content)
        assert sum(method == "PATCH" for method, _ in asked(client)) == -(-len(content) // 300)

    @pytest.mark.parametrize("fate", ["before", "after"])
    def test_broken_part_is_taken_up_where_it_broke(self, server: Running, connect: Connect, fate: str) -> None:
        count = 0

        def lose(request: httpx.Request) -> str:
            nonlocal count
            count += request.method == "PATCH"
            return fate if request.method == "PATCH" and count == 2 else ""

        content = radiograph()
        client = connect(server.url, small=True, lose=lose)
        assert client.analyse(content, wait_s=30).size_bytes == len(content)
        parts = -(-len(content) // 300)
        assert count == (parts + 1 if fate == "before" else parts), "no part that arrived is sent twice"

    def test_lost_last_answer_gives_the_same_analysis(self, server: Running, connect: Connect) -> None:
        client = connect(server.url, small=True, lose=once("POST", "/analysis", "after"))
        analysis = client.analyse(radiograph(), wait_s=30)
        assert [one.id for one in client.analyses()] == [analysis.id]

    def test_lost_last_answer_is_no_second_analysis_where_one_was_asked_for_anew(
        self, server: Running, connect: Connect
    ) -> None:
        client = connect(server.url, small=True, lose=once("POST", "/analysis", "after"))
        with pytest.raises(ServiceUnreachable):
            client.analyse(radiograph(), wait_s=30, again=True)
        assert len(list(client.analyses())) == 1

    def test_preview_of_a_large_file_leaves_no_upload(self, server: Running, connect: Connect) -> None:
        client = connect(server.url)
        large = png(models.radiograph_pixels(900, 700))
        assert client.preview(large).wanted
        deleted = [path for method, path in asked(client) if method == "DELETE"]
        assert len(deleted) == 1
        assert server.client.get(deleted[0]).status_code == 404
        assert list(client.analyses()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    (root / "deeper").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "a.png").write_bytes(other(1))
    (root / "b.PNG").write_bytes(other(2))
    (root / "deeper" / "c.jpg").write_bytes(b"no picture")
    (root / "deeper" / "IM.0001").write_bytes(bytes(128) + b"DICM" + bytes(64))
    (root / "deeper" / "notes.txt").write_text("not for you")
    (root / ".hidden" / "d.png").write_bytes(other(3))
    return root


class TestFolders:
    def test_search_finds_what_predict_finds(self, folder: Path) -> None:
        found = list(pictures_in(folder))
        assert sorted(found) == sorted(find([folder]))
        assert [path.name for path in found] == ["a.png", "b.PNG", "IM.0001", "c.jpg"]

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidImage, match="no folder gone"):
            list(pictures_in(tmp_path / "gone"))

    def test_upload_tells_of_every_file(self, server: Running, connect: Connect, folder: Path) -> None:
        told: list[tuple[int, int, str]] = []
        sent = connect(server.url).upload_folder(
            folder, workers=2, wait_s=30, progress=lambda done, total, path: told.append((done, total, path.name))
        )
        assert [one.path.name for one in sent] == ["a.png", "b.PNG", "IM.0001", "c.jpg"]
        assert [one.error is None for one in sent] == [True, True, False, False]
        assert [[a.status for a in one.analyses] for one in sent] == [["succeeded"], ["succeeded"], [], []]
        assert [done for done, _, _ in told] == [1, 2, 3, 4] and {total for _, total, _ in told} == {4}
        assert {name for _, _, name in told} == {one.path.name for one in sent}

    def test_upload_stops_where_nothing_answers(self, connect: Connect, folder: Path) -> None:
        client = connect("http://127.0.0.1:9", patience=Patience(breaks=0))
        with pytest.raises(ServiceUnreachable):
            client.upload_folder(folder)


class TestRecords:
    def test_unknown_fields_are_ignored(self) -> None:
        value = {
            "id": UNKNOWN,
            "status": "queued",
            "mood": "fine",
            "error": {"type": "A", "message": "b", "hint": "c", "x": 1},
        }
        analysis = Analysis.of(value)
        assert analysis.error is not None and analysis.error.type == "A"

    def test_errors_of_a_batch_are_told(self) -> None:
        failed = {"source": "a.jpg", "type": "InvalidImage", "message": "empty", "hint": "send it"}
        assert Accepted.of({"analyses": [], "errors": [failed]}).errors[0].source == "a.jpg"


class TestWithoutHttpx:
    def test_import_says_what_to_install(self) -> None:
        code = "import sys; sys.modules['httpx'] = None\nimport osteon.client"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode
        assert "osteon[client]" in done.stderr or "needs httpx" in done.stderr

    def test_import_loads_nothing_heavy(self) -> None:
        code = "import osteon.client, sys; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not {"numpy", "cv2", "fastapi", "pydantic", "onnxruntime", "sqlalchemy"} & set(done.stdout.split())


class TestDocument:
    def test_its_examples_run(self, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text("utf-8"), re.DOTALL)
        assert len(blocks) >= 3
        monkeypatch.chdir(tmp_path)
        Path("wrist.png").write_bytes(radiograph())
        Path("films").mkdir()
        for number in range(2):
            Path("films", f"{number}.png").write_bytes(other(number))
        for block in blocks:
            exec(
                compile(block.replace("http://127.0.0.1:8010", server.url), "client.md", "exec"),
                {"__name__": "example"},
            )
        assert Path("overlay.png").read_bytes().startswith(b"\x89PNG")
