"""Files taken in over HTTP: streamed to disk, decoded elsewhere, archives; pixels, studies, the live list."""

import json
import signal
import sys
import threading
import tracemalloc
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import PATIENT, Running, form, photograph, png, radiograph

import builders
import models
from osteon import files
from osteon.dicom import read as dicom_read
from osteon.files import raster
from osteon.service import archives, decoders
from osteon.service.intake import grouped

Serve = Callable[..., Running]
CHILD = (sys.executable, str(Path(__file__).parent / "decoder_child.py"))
PICTURE = models.radiograph_pixels(450, 350)


def dicom(picture: Any = PICTURE, **attributes: object) -> bytes:
    return builders.written(builders.grey12(picture, **attributes))


def archive(contents: Mapping[str, bytes], *, packed: bool = False) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as made:
        for name, content in contents.items():
            made.writestr(name, content)
    return buffer.getvalue()


def problem_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["hint"]
    return f"{problem['type'].partition('#')[2]}: {problem['detail']}"


@pytest.fixture
def harmed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A server whose decoders do harm where a file asks for it."""
    monkeypatch.setattr(decoders, "PROGRAM", CHILD)
    return serve(decode_seconds=2)


@pytest.fixture
def undecoding(server: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A server in whose own process nothing can be decoded."""

    def refuse(*_: object, **__: object) -> Iterator[object]:
        raise AssertionError("the web process parsed a file")

    monkeypatch.setattr(raster, "pages", refuse)
    monkeypatch.setattr(dicom_read, "pages", refuse)
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    return server


class TestDecodingElsewhere:
    def test_web_process_parses_nothing(self, undecoding: Running) -> None:
        for content in (dicom(), radiograph(), _PACKED):
            analysis = undecoding.analysed(content)
            assert analysis["status"] == "succeeded"
        pixels = undecoding.client.get(analysis["links"]["pixels"])
        assert pixels.status_code == 200
        assert undecoding.client.post("/api/v1/previews", files=form(radiograph())).status_code == 200
        for name in ("image", "thumbnail", "bone", "overlay", "report"):
            assert undecoding.client.get(analysis["links"][name]).status_code == 200

    @pytest.mark.parametrize(("harm", "kind"), [(b"CRASH", "DecoderCrashed"), (b"HANG", "DecoderTimedOut")])
    def test_harmful_file_is_accepted_fails_alone_and_says_why(
        self, harmed: Running, harm: bytes, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        sent = [
            ("file", ("a.png", radiograph())),
            ("file", (f"{PATIENT}.png", radiograph(spot=200) + harm)),
            ("file", ("c.png", photograph())),
        ]
        answer = harmed.client.post("/api/v1/analyses", files=sent, params={"wait": 60})
        assert answer.status_code == 200
        assert [one["status"] for one in answer.json()["analyses"]] == ["succeeded", "failed", "succeeded"]
        error = answer.json()["analyses"][1]["error"]
        assert error["type"] == kind and error["hint"]
        assert PATIENT not in caplog.text

    def test_decoder_that_is_ended_from_outside_is_no_fault_of_the_file(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = serve(retry_seconds=0.1)
        answer = decoders._Process.answer
        ended: list[int] = []

        def killed(self: decoders._Process, order: Mapping[str, Any], *, seconds: float) -> Mapping[str, Any]:
            if len(ended) < 3:
                ended.append(1)
                self.kill()
                self._popen.wait()
            return answer(self, order, seconds=seconds)

        monkeypatch.setattr(decoders._Process, "answer", killed)
        analysis = server.analysed(radiograph())
        assert analysis["status"] == "succeeded"
        assert server.service.store.find(analysis["id"]).attempts == 3, "refused neither when it came nor later"

    def test_harmful_preview_is_refused_and_the_next_is_answered(self, harmed: Running) -> None:
        refused = harmed.client.post("/api/v1/previews", files=form(radiograph() + b"CRASH"))
        assert problem_of(refused, 422).startswith("DecoderCrashed")
        assert harmed.client.post("/api/v1/previews", files=form(radiograph())).json()["wanted"] is True

    def test_preview_is_answered_while_all_other_decoders_are_busy(
        self, embedded: None, serve: Serve, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(decoders, "PROGRAM", CHILD)
        server = serve(decode_seconds=300)
        threads = [
            threading.Thread(
                target=lambda: httpx.post(
                    f"{server.url}/api/v1/analyses", files=form(radiograph() + b"HANG"), timeout=90
                )
            )
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        while not server.service.reading.decoders._files._busy:
            assert any(thread.is_alive() for thread in threads)
        assert server.client.post("/api/v1/previews", files=form(radiograph())).json()["wanted"] is True
        assert server.client.get("/api/v1/analyses").status_code == 200
        assert all(thread.is_alive() for thread in threads)
        server.service.reading.decoders.stop()
        for thread in threads:
            thread.join(30)

    def test_file_is_decoded_once_for_its_acceptance_and_its_analysis(
        self, embedded: None, server: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Path] = []
        decode = decoders.Decoders.decode

        def counted(self: decoders.Decoders, source: Path, **options: Any) -> decoders.DecodedFile:
            asked.append(source)
            return decode(self, source, **options)

        monkeypatch.setattr(decoders.Decoders, "decode", counted)
        server.analysed(radiograph())
        assert len(asked) == 1

    def test_nothing_is_left_in_the_scratch_folder(self, server: Running) -> None:
        server.analysed(radiograph())
        server.post(b"text")
        server.post(radiograph()[:800])
        server.post(_PACKED, wait=30)
        server.client.post("/api/v1/previews", files=form(radiograph()))
        scratch = server.service.reading.scratch.path
        assert [path.name for path in scratch.iterdir()] == ["lock"]


_PACKED = archive({"a/wrist.png": radiograph(spot=200)})


class TestStreaming:
    def test_large_body_never_lies_in_memory(self, serve: Serve) -> None:
        server = serve(max_upload_mb=64)
        megabytes = 40
        piece = np.random.default_rng(1).bytes(2**16)

        def body() -> Iterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
            for _ in range(megabytes * 16):
                yield piece
            yield b"\r\n--x--\r\n"

        headers = {"content-type": "multipart/form-data; boundary=x"}
        tracemalloc.start()
        try:
            answer = server.client.post("/api/v1/analyses", content=body(), headers=headers)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert problem_of(answer, 422).startswith("InvalidImage")
        assert peak < 12 * 2**20

    def test_form_without_an_end_is_refused(self, server: Running) -> None:
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + radiograph()
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = server.client.post("/api/v1/analyses", content=body, headers=headers)
        assert "ends too early" in problem_of(answer, 422)
        assert server.client.get("/api/v1/analyses").json()["analyses"] == []

    @pytest.mark.parametrize(
        "body",
        [
            b"--x\r\n" + b"A: b\r\n" * 1000,
            b"--x\r\nContent-Disposition: " + b"a" * 100_000,
            b'--x\r\nContent-Disposition: form-data; name="study"\r\n\r\n' + b"a" * 5000 + b"\r\n--x--\r\n",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 100,
        ],
        ids=["headers", "header", "text", "fields"],
    )
    def test_overgrown_form_is_refused(self, shared: Running, body: bytes) -> None:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        problem_of(shared.client.post("/api/v1/analyses", content=body, headers=headers), 422)

    def test_same_file_again_is_the_same_analysis_unless_asked_anew(self, server: Running) -> None:
        first = server.analysed(radiograph())
        assert server.analysed(radiograph())["id"] == first["id"]
        anew = server.client.post("/api/v1/analyses?again=true&wait=30", files=form(radiograph())).json()
        assert anew["id"] != first["id"] and anew["status"] == "succeeded"
        assert server.analysed(radiograph())["id"] == anew["id"]

    def test_known_file_is_not_decoded_again(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        first = server.analysed(radiograph())

        def decode(*_: object, **__: object) -> None:
            raise AssertionError("decoded again")

        monkeypatch.setattr(decoders.Decoders, "decode", decode)
        assert server.analysed(radiograph())["id"] == first["id"]

    def test_decoder_that_is_not_to_be_had_is_no_fault_of_the_preview(
        self, server: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lost(*_: object, **__: object) -> None:
            raise ChildProcessError("a decoder process did not start")

        monkeypatch.setattr(decoders.Decoders, "preview", lost)
        answer = server.client.post("/api/v1/previews", files=form(radiograph()))
        assert problem_of(answer, 503).startswith("DecoderUnavailable")
        assert int(answer.headers["retry-after"]) > 0


class TestArchives:
    def test_are_a_batch_of_their_pictures(self, server: Running) -> None:
        content = archive(
            {
                "folder/": b"",
                "folder/wrist.png": radiograph(),
                f"../../{PATIENT}.png": photograph(),
                "C:\\scans\\hand.dcm": dicom(),
                "__MACOSX/._wrist.png": b"junk",
                "folder/.DS_Store": b"junk",
                "Thumbs.db": b"junk",
            },
            packed=True,
        )
        answer = server.post(content, name="all.zip", wait=30).json()
        assert [(one["name"], one["status"]) for one in answer["analyses"]] == [
            ("wrist.png", "succeeded"),
            (f"{PATIENT}.png", "succeeded"),
            ("hand.dcm", "succeeded"),
        ]
        assert answer["errors"] == []
        folder = server.service.settings.data_dir
        assert not [path for path in folder.parent.rglob("*") if "Canary" in path.name or "wrist" in path.name]

    def test_what_is_no_picture_in_it_is_named(self, server: Running) -> None:
        answer = server.post(archive({"a.png": radiograph(), "read me.txt": b"hello"}), wait=30).json()
        assert [one["name"] for one in answer["analyses"]] == ["a.png"]
        assert [one["source"] for one in answer["errors"]] == ["read me.txt"]

    def test_several_and_lone_files_in_one_request(self, server: Running) -> None:
        sent = [
            ("file", ("one.zip", archive({"a.png": radiograph(spot=150), "b.png": radiograph(spot=200)}))),
            ("file", ("c.png", radiograph())),
            ("file", ("two.zip", archive({"d.png": photograph()}))),
        ]
        answer = server.client.post("/api/v1/analyses", files=sent, params={"wait": 30}).json()
        assert [one["name"] for one in answer["analyses"]] == ["a.png", "b.png", "c.png", "d.png"]

    @pytest.mark.parametrize(
        ("contents", "changes", "status", "why"),
        [
            ({}, {}, 422, "without files"),
            ({"folder/": b""}, {}, 422, "without files"),
            ({"inner.zip": _PACKED, "a.png": b"x"}, {}, 422, "an archive within"),
            ({f"{number}.png": b"x" for number in range(5)}, {"max_files": 4}, 413, "at most 4"),
            ({"a.png": bytes(5 * 2**20)}, {}, 413, "200 times its size"),
            (
                {f"{number}.png": np.random.default_rng(number).bytes(2**18) * 2 for number in range(9)},
                {"max_upload_mb": 1},
                413,
                "more than 4.0 MiB",
            ),
        ],
        ids=["empty", "folders", "nested", "many", "ratio", "total"],
    )
    def test_that_go_too_far_are_refused(
        self, serve: Serve, contents: dict[str, bytes], changes: dict[str, Any], status: int, why: str
    ) -> None:
        server = serve(**changes)
        content = archive(contents, packed=why != "more than 4.0 MiB")
        if why == "more than 4.0 MiB":
            content = _repeated(content)
        assert why in problem_of(server.post(content, name=f"{PATIENT}.zip"), status)
        assert server.client.get("/api/v1/analyses").json()["analyses"] == []
        scratch = server.service.reading.scratch.path
        assert [path.name for path in scratch.iterdir()] == ["lock"]

    @pytest.mark.parametrize("cut", [30, 200, -40])
    def test_damaged_one_is_refused(self, shared: Running, cut: int) -> None:
        assert "cannot be unpacked" in problem_of(shared.post(_PACKED[:cut]), 422)

    def test_encrypted_one_is_refused(self, shared: Running) -> None:
        content = bytearray(_PACKED)
        for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(magic) + flags] |= 1
        assert "encrypted" in problem_of(shared.post(bytes(content)), 422)

    def test_sizes_that_an_archive_claims_are_not_believed(self, tmp_path: Path) -> None:
        content = bytearray(archive({"a.png": bytes(2**23)}, packed=True))
        for magic, size in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            start = content.index(magic) + size
            content[start : start + 4] = (1000).to_bytes(4, "little")
        (tmp_path / "a.zip").write_bytes(content)
        (tmp_path / "out").mkdir()
        with pytest.raises(archives.InvalidImage):
            archives.unpack(tmp_path / "a.zip", tmp_path / "out", most_entries=5, most_bytes=2**20)
        assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 2**20

    def test_crash_while_unpacking_costs_one_request(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        server = serve(decode_seconds=20)
        server.analysed(photograph())
        answer = decoders._Process.answer

        def killed(self: decoders._Process, order: Mapping[str, Any], *, seconds: float) -> Mapping[str, Any]:
            if order["do"] == "unpack":
                self._popen.send_signal(signal.SIGABRT)
                self._popen.wait()
            return answer(self, order, seconds=seconds)

        monkeypatch.setattr(decoders._Process, "answer", killed)
        assert problem_of(server.post(_PACKED), 422).startswith("DecoderCrashed")
        assert server.analysed(radiograph())["status"] == "succeeded"


def _repeated(content: bytes) -> bytes:
    """A small archive of large files: its entries all share the bytes of the first."""
    directory = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    first = content.index(b"PK\x03\x04", 4)
    entries = content[directory:end].split(b"PK\x01\x02")[1:]
    same = [b"PK\x01\x02" + entries[0] for _ in entries]
    table = b"".join(same)
    tail = bytearray(content[end:])
    tail[12:16] = len(table).to_bytes(4, "little")
    tail[16:20] = first.to_bytes(4, "little")
    return content[:first] + table + bytes(tail)


class TestPixels:
    @pytest.mark.parametrize(
        "content",
        [radiograph(), dicom(), png(builders.deep(PICTURE)), builders.raster(PICTURE, "JPEG", quality=90)],
        ids=["png-8", "dicom-12", "png-16", "jpeg"],
    )
    @pytest.mark.parametrize("encoding", ["gzip", "identity"])
    def test_are_those_that_reading_gives(self, server: Running, content: bytes, encoding: str) -> None:
        links = server.analysed(content)["links"]
        answer = server.client.get(links["pixels"], headers={"accept-encoding": encoding})
        assert answer.headers.get("content-encoding", "identity") == encoding
        assert answer.headers["content-type"] == "application/octet-stream"
        expected = files.read(content)[0].pixels
        about = json.loads(answer.headers["x-osteon-pixels"])
        assert about["bits"] == expected.itemsize * 8
        got = np.frombuffer(answer.content, f"<u{expected.itemsize}").reshape(about["height_px"], about["width_px"])
        assert np.array_equal(got, expected)
        assert (about["low"], about["high"]) == (0, 255 if expected.itemsize == 1 else 65535)

    def test_each_page_has_its_own(self, server: Running) -> None:
        pages = [PICTURE, PICTURE[::2]]
        links = server.analysed(builders.pages(*pages))["links"]
        for number, page in enumerate(pages, start=1):
            answer = server.client.get(links["pixels"], params={"page": number})
            assert answer.content == page.tobytes()
        problem_of(server.client.get(links["pixels"], params={"page": 3}), 404)

    def test_little_used_range_is_told(self, server: Running) -> None:
        twelve = models.radiograph_pixels(300, 240).astype(np.uint16) * 16
        links = server.analysed(png(twelve))["links"]
        about = json.loads(server.client.get(links["pixels"]).headers["x-osteon-pixels"])
        assert (about["low"], about["high"]) == (twelve.min(), twelve.max())

    def test_of_a_removed_analysis_are_gone_from_the_disk(self, server: Running) -> None:
        analysis = server.analysed(radiograph())
        server.client.get(analysis["links"]["pixels"])
        scratch = server.service.reading.scratch.path
        assert len(list(scratch.iterdir())) == 2, "kept for the next page"
        server.client.delete(analysis["links"]["self"])
        assert len(list(scratch.iterdir())) == 1
        problem_of(server.client.get(analysis["links"]["pixels"]), 404)

    def test_thumbnail_is_small_and_the_same_picture(self, server: Running) -> None:
        answer = server.client.get(server.analysed(dicom())["links"]["thumbnail"])
        assert answer.headers["content-type"] == "image/jpeg"
        (small,) = files.read(answer.content)
        assert small.pixels.shape == (160, 124)
        assert abs(float(small.pixels.mean()) - float(PICTURE.mean())) < 4

    def test_thumbnail_of_an_analysis_of_version_0_1_is_made_when_asked_for(self, server: Running) -> None:
        analysis = server.analysed(dicom())
        kept = server.client.get(analysis["links"]["thumbnail"]).content
        (server.service.store.folder(analysis["id"]) / "thumbnail.jpg").unlink()
        assert server.client.get(analysis["links"]["thumbnail"]).content == kept


class TestStudies:
    def test_views_of_a_dicom_study_are_grouped_with_the_gravest_decision(self, server: Running) -> None:
        uid = "1.2.826.0.1.3680043.8.498.7"
        views = [
            server.analysed(dicom(models.radiograph_pixels(450, 350, spot=spot), StudyInstanceUID=uid))
            for spot in (150, 255)
        ]
        (study,) = {view["study"] for view in views}
        assert study and uid not in study
        alone = server.analysed(dicom(models.radiograph_pixels(450, 350, spot=200)))
        assert alone["study"] == ""
        together = server.client.get(f"/api/v1/studies/{study}").json()
        assert [view["id"] for view in together["analyses"]] == [view["id"] for view in views]
        assert together["decision"] == "fracture" and together["finished"] is True
        listed = server.client.get("/api/v1/analyses", params={"study": study}).json()["analyses"]
        assert len(listed) == 2

    def test_batch_is_grouped_by_the_senders_word_which_is_not_kept(self, server: Running) -> None:
        sent = [("file", ("a.png", radiograph())), ("file", ("b.png", photograph()))]
        answer = server.client.post("/api/v1/analyses", files=sent, data={"study": PATIENT}, params={"wait": 30}).json()
        (study,) = {one["study"] for one in answer["analyses"]}
        assert study == grouped(PATIENT, salt="")
        assert PATIENT not in json.dumps(answer)
        assert server.client.get(f"/api/v1/studies/{study}").json()["decision"] == "fracture"

    def test_unknown_one_is_404(self, shared: Running) -> None:
        problem_of(shared.client.get("/api/v1/studies/none"), 404)
        problem_of(shared.client.get("/api/v1/studies/%00"), 422)


class TestWorklist:
    def test_filters(self, server: Running) -> None:
        for name, content in (("Wrist.png", radiograph()), ("hand.png", radiograph(spot=150)), ("x.png", photograph())):
            server.analysed(content, name=name)

        def names(**query: object) -> list[str]:
            listed = server.client.get("/api/v1/analyses", params=query).json()["analyses"]
            return [one["name"] for one in listed]

        assert names(decision="fracture") == ["Wrist.png"]
        assert names(search="WRI") == ["Wrist.png"]
        assert names(search="%") == []
        assert names(unseen=True) == ["x.png", "hand.png", "Wrist.png"]
        first = server.client.get("/api/v1/analyses", params={"decision": "fracture"}).json()["analyses"][0]
        assert first["seen"] is False
        assert server.client.patch(first["links"]["self"], json={"seen": True}).json()["seen"] is True
        assert names(unseen=True) == ["x.png", "hand.png"]
        assert server.client.patch(first["links"]["self"], json={"seen": False}).json()["seen"] is False
        assert server.client.patch(first["links"]["self"], json={"name": "x"}).status_code == 422

    def test_cancelled_while_it_waits(self, serve: Serve) -> None:
        server = serve()
        held = threading.Event()
        run = server.service.pipeline.gate.run

        def holding(pixels: Any) -> Any:
            held.wait(20)
            return run(pixels)

        server.service.pipeline.gate.run = holding  # type: ignore[method-assign]
        server.post(radiograph())
        waiting = server.post(photograph()).json()
        assert server.client.post(f"{waiting['links']['self']}/cancel").json()["status"] == "cancelled"
        held.set()

    def test_live_list_tells_changes_and_removals(self, server: Running) -> None:
        told: list[tuple[str, dict[str, Any]]] = []
        with httpx.Client(base_url=server.url, timeout=30) as client, client.stream("GET", "/api/v1/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == ": listening"
            analysis = server.analysed(radiograph())
            server.client.delete(analysis["links"]["self"])
            name = ""
            for line in lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                if line.startswith("data: "):
                    told.append((name, json.loads(line.removeprefix("data: "))))
                    if name == "removed":
                        break
        assert told[-1] == ("removed", {"id": analysis["id"]})
        assert all(one["id"] == analysis["id"] for _, one in told)


def test_preview_made_by_the_server_has_its_picture_and_mask(server: Running) -> None:
    content = dicom()
    made = server.client.post("/api/v1/uploads", json={"name": "a.dcm", "size_bytes": len(content)}).json()
    server.client.patch(made["links"]["self"], content=content, headers={"upload-offset": "0"})
    answer = server.client.post(made["links"]["preview"]).json()
    assert answer["wanted"] is True
    (picture,) = files.read(b64decode(answer["image"].removeprefix("data:image/jpeg;base64,")))
    assert picture.pixels.shape == (450, 350)
    assert answer["mask"].startswith("data:image/png;base64,")
