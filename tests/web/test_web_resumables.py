"""Uploads in pieces: they go on after a broken connection and a restart, and end as analyses like any other."""

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import PATIENT, Running, form, photograph, png, radiograph, running
from sqlalchemy import update

import models
from osteon.errors import OffsetMismatch, TooManyWaiting, UploadIncomplete, UploadNotFound
from osteon.service import decoders, resumables
from osteon.service.resumables import Resumables
from osteon.service.retention import remove_orphans
from osteon.service.scratch import Scratch
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore
from osteon.service.tables import UploadRow, now

CONTENT = png(models.radiograph_pixels(900, 700) + np.random.default_rng(1).integers(0, 9, (900, 700), np.uint8))
UNKNOWN = "0" * 32


def begun(server: Running, content: bytes = CONTENT, **more: object) -> dict[str, Any]:
    made = server.client.post("/api/v1/uploads", json={"name": "wrist.png", "size_bytes": len(content)} | more)
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()
    return answer


def piece(server: Running, upload: dict[str, Any], offset: int, content: bytes) -> httpx.Response:
    headers = {"upload-offset": str(offset), "content-type": "application/octet-stream"}
    return server.client.patch(upload["links"]["self"], content=content, headers=headers)


def received(server: Running, upload: dict[str, Any]) -> int:
    count: int = server.client.get(upload["links"]["self"]).json()["received_bytes"]
    return count


def sent(
    server: Running, upload: dict[str, Any], content: bytes = CONTENT, *, start: int = 0, size: int = 9999
) -> None:
    for offset in range(start, len(content), size):
        answer = piece(server, upload, offset, content[offset : offset + size])
        assert answer.status_code == 200, answer.text
        assert answer.json()["received_bytes"] == min(offset + size, len(content))


def analysed(server: Running, upload: dict[str, Any]) -> dict[str, Any]:
    answer = server.client.post(upload["links"]["analysis"], params={"wait": 30})
    assert answer.status_code == 200, answer.text
    analysis: dict[str, Any] = answer.json()["analyses"][0]
    return analysis


class TestUploads:
    def test_in_pieces_gives_the_same_analysis_as_in_one(self, server: Running) -> None:
        upload = begun(server)
        sent(server, upload)
        analysis = analysed(server, upload)
        assert analysis["status"] == "succeeded" and analysis["name"] == "wrist.png"
        assert server.analysed(CONTENT)["id"] == analysis["id"], "known by its content"
        assert server.service.store.files.read(analysis["id"], "original") == CONTENT

    def test_is_gone_with_its_pieces_once_analysed(self, server: Running) -> None:
        upload = begun(server)
        sent(server, upload)
        analysis = analysed(server, upload)
        assert server.client.get(upload["links"]["self"]).status_code == 404
        assert server.service.store.files.names(upload["id"]) == []
        later = now() + timedelta(days=1)
        assert server.service.store.files.ids(until=later) == [analysis["id"]]

    def test_goes_on_after_a_broken_connection(self, server: Running) -> None:
        upload = begun(server)
        half = len(CONTENT) // 2
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(
                f"PATCH {upload['links']['self']} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpload-Offset: 0\r\n"
                f"Content-Type: application/octet-stream\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
                + CONTENT[:half]
            )
            time.sleep(0.2)
        until = time.monotonic() + 20
        while not (kept := received(server, upload)):
            assert time.monotonic() < until, "nothing was kept"
            time.sleep(0.02)
        assert 0 < kept <= half
        sent(server, upload, start=kept)
        assert analysed(server, upload)["status"] == "succeeded"

    def test_goes_on_after_a_restart(self, settings: Settings) -> None:
        with running(settings) as server:
            upload = begun(server)
            assert piece(server, upload, 0, CONTENT[:5000]).status_code == 200
        with running(settings) as server:
            assert received(server, upload) == 5000
            sent(server, upload, start=5000)
        with running(settings) as server:
            assert analysed(server, upload)["status"] == "succeeded"

    def test_piece_at_the_wrong_place_is_refused_and_told_the_right_one(self, server: Running) -> None:
        upload = begun(server)
        piece(server, upload, 0, CONTENT[:5000])
        for offset in (0, 4999, 5001):
            answer = piece(server, upload, offset, CONTENT[offset : offset + 10])
            assert answer.status_code == 409
            assert answer.headers["upload-offset"] == "5000"
            assert answer.json()["type"].endswith("#OffsetMismatch")
        assert received(server, upload) == 5000

    def test_piece_beyond_the_announced_size_is_refused_and_not_kept(self, server: Running) -> None:
        upload = begun(server, CONTENT[:100])
        assert piece(server, upload, 0, CONTENT[:101]).status_code == 413

        def body() -> Any:
            yield CONTENT[:60]
            yield CONTENT[:60]

        headers = {"upload-offset": "0", "content-type": "application/octet-stream"}
        assert server.client.patch(upload["links"]["self"], content=body(), headers=headers).status_code == 413
        assert received(server, upload) == 0

    @pytest.mark.parametrize("offset", ["", "-1", "x"])
    def test_wrong_offset_is_422(self, server: Running, offset: str) -> None:
        upload = begun(server)
        headers = {"upload-offset": offset, "content-type": "application/octet-stream"}
        assert server.client.patch(upload["links"]["self"], content=b"x", headers=headers).status_code == 422

    def test_nothing_can_be_done_with_half_a_file(self, server: Running) -> None:
        upload = begun(server)
        piece(server, upload, 0, CONTENT[:5000])
        for link in ("preview", "analysis"):
            answer = server.client.post(upload["links"][link])
            assert answer.status_code == 409 and answer.json()["type"].endswith("#UploadIncomplete")
        assert received(server, upload) == 5000

    def test_announced_size_has_the_limit_of_a_body(self, serve: Callable[..., Running]) -> None:
        server = serve(max_upload_mb=1)
        answer = server.client.post("/api/v1/uploads", json={"name": "a", "size_bytes": 2**20 + 1})
        assert answer.status_code == 413
        for wrong in ({"name": "a", "size_bytes": 0}, {"name": "a"}, {"name": "a", "size_bytes": 1, "x": 1}):
            assert server.client.post("/api/v1/uploads", json=wrong).status_code == 422

    def test_no_picture_is_refused_and_gone(self, server: Running) -> None:
        content = b"just text, no picture"
        upload = begun(server, content)
        sent(server, upload, content)
        assert server.client.post(upload["links"]["analysis"]).status_code == 422
        assert server.client.get(upload["links"]["self"]).status_code == 404
        assert server.service.store.files.names(upload["id"]) == []

    @pytest.mark.usefixtures("embedded")
    def test_full_queue_keeps_the_upload(self, serve: Callable[..., Running]) -> None:
        server = serve(queue_limit=1)
        upload = begun(server)
        sent(server, upload)
        server.service.runner.stop()
        assert server.post(photograph()).status_code == 202
        assert server.client.post(upload["links"]["analysis"]).status_code == 429
        assert received(server, upload) == len(CONTENT)

    def test_removed_one_is_gone(self, server: Running) -> None:
        upload = begun(server)
        piece(server, upload, 0, CONTENT[:10])
        assert server.client.delete(upload["links"]["self"]).status_code == 204
        assert server.client.delete(upload["links"]["self"]).status_code == 404
        assert piece(server, upload, 10, b"x").status_code == 404
        assert server.service.store.files.names(upload["id"]) == []

    def test_study_and_name_are_those_announced(self, server: Running) -> None:
        upload = begun(server, name=f"../{PATIENT}\n.png", study="batch 1")
        assert upload["name"] == f"{PATIENT}.png"
        sent(server, upload)
        analysis = analysed(server, upload)
        other = server.client.post(
            "/api/v1/analyses?wait=30", files=form(radiograph()), data={"study": "batch 1"}
        ).json()
        assert analysis["study"] == other["analyses"][0]["study"] != ""

    @pytest.mark.usefixtures("embedded")
    def test_preview_then_analysis_decodes_once(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        decoded: list[Path] = []
        decode = decoders.Decoders.decode

        def counted(self: decoders.Decoders, source: Path, **options: Any) -> decoders.DecodedFile:
            decoded.append(source)
            return decode(self, source, **options)

        monkeypatch.setattr(decoders.Decoders, "decode", counted)
        upload = begun(server)
        sent(server, upload)
        for _ in range(2):
            assert server.client.post(upload["links"]["preview"]).json()["wanted"] is True
        assert analysed(server, upload)["status"] == "succeeded"
        assert len(decoded) == 1


@pytest.fixture
def kept(store: AnalysisStore, tmp_path: Path) -> Iterator[Resumables]:
    scratch = Scratch(tmp_path / "scratch")
    yield Resumables(store.database, store.files, scratch)
    scratch.close()


def content_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / uuid.uuid4().hex
    path.write_bytes(content)
    return path


class TestResumables:
    def test_second_of_two_pieces_for_one_place_is_not_kept(self, kept: Resumables, tmp_path: Path) -> None:
        upload = kept.begin(name="a", size_bytes=6, owner="")
        first = kept.add(upload, content_file(tmp_path, b"abc"), size_bytes=3)
        with pytest.raises(OffsetMismatch) as refused:
            kept.add(upload, content_file(tmp_path, b"xyz1"), size_bytes=4)
        assert refused.value.received_bytes == 3
        whole = kept.add(first, content_file(tmp_path, b"def"), size_bytes=3)
        with kept.assembled(whole) as assembled:
            assert assembled.path.read_bytes() == b"abcdef"
        assert not assembled.path.exists()

    def test_piece_for_a_removed_upload_leaves_nothing(self, kept: Resumables, tmp_path: Path) -> None:
        upload = kept.begin(name="a", size_bytes=6, owner="")
        kept.remove(upload.id, owner="")
        with pytest.raises(UploadNotFound):
            kept.add(upload, content_file(tmp_path, b"abc"), size_bytes=3)
        assert kept.files.names(upload.id) == []

    def test_others_do_not_find_it(self, kept: Resumables) -> None:
        upload = kept.begin(name="a", size_bytes=6, owner="one")
        with pytest.raises(UploadNotFound):
            kept.find(upload.id, owner="two")
        with pytest.raises(UploadNotFound):
            kept.remove(upload.id, owner="two")
        assert kept.find(upload.id, owner="one") == upload
        with pytest.raises(UploadIncomplete), kept.assembled(upload):
            pass

    def test_nobody_has_too_many(self, kept: Resumables, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resumables, "MOST_OPEN", 2)
        for _ in range(2):
            kept.begin(name="a", size_bytes=6, owner="one")
        with pytest.raises(TooManyWaiting):
            kept.begin(name="a", size_bytes=6, owner="one")
        kept.begin(name="a", size_bytes=6, owner="two")

    def test_old_ones_go_and_young_ones_are_no_orphans(
        self, kept: Resumables, store: AnalysisStore, tmp_path: Path
    ) -> None:
        old, young = (kept.begin(name="a", size_bytes=6, owner="") for _ in range(2))
        for upload in (old, young):
            kept.add(upload, content_file(tmp_path, b"abc"), size_bytes=3)
        assert remove_orphans(store, age=timedelta(seconds=-60)) == 0
        with store.database.writing() as session:
            moved = update(UploadRow).where(UploadRow.id == old.id)
            session.execute(moved.values(created_at=now() - resumables.KEPT - timedelta(seconds=1)))
        assert kept.sweep() == 1
        assert kept.files.names(old.id) == [] and len(kept.files.names(young.id)) == 1
        with pytest.raises(UploadNotFound):
            kept.find(old.id, owner="")
        assert kept.find(young.id, owner="").received_bytes == 3


@pytest.mark.parametrize("upload_id", [UNKNOWN, "%00", "x'y"])
@pytest.mark.parametrize("suffix", ["", "/preview", "/analysis"])
def test_unknown_upload_is_404(shared: Running, upload_id: str, suffix: str) -> None:
    path = f"/api/v1/uploads/{upload_id}{suffix}"
    answers = [shared.client.post(path)] if suffix else [shared.client.get(path), shared.client.delete(path)]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
