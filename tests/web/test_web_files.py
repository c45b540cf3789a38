"""Where files lie makes no difference: a folder here, or an S3 bucket (moto's server)."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from serving import Running, radiograph

from osteon.errors import ConfigurationError
from osteon.service.files import ORIGINAL, AnalysisFiles, FsspecFiles, LocalFiles, files_at
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore, Upload
from osteon.service.tables import now


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Address of moto's server, with a bucket `films`."""
    boto3, server = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
        address = "http://{}:{}".format(*running.get_host_and_port())
        patch.setenv("AWS_ENDPOINT_URL", address)
        boto3.client("s3").create_bucket(Bucket="films")
        yield address
        running.stop()


@pytest.fixture(params=["folder", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> AnalysisFiles:
    if request.param == "folder":
        return LocalFiles(tmp_path / "files")
    request.getfixturevalue("bucket")
    return FsspecFiles(f"s3://films/{uuid.uuid4().hex}")


@pytest.fixture
def one() -> str:
    return uuid.uuid4().hex


class TestFiles:
    def test_give_what_was_put(self, files: AnalysisFiles, one: str, tmp_path: Path) -> None:
        (tmp_path / "sent").write_bytes(b"from a file")
        files.put(one, ORIGINAL, tmp_path / "sent", durable=True)
        files.put(one, "page-1.png", b"bytes")
        assert files.read(one, ORIGINAL) == b"from a file"
        with files.opened(one, "page-1.png") as opened:
            assert opened.read() == b"bytes"
        with files.local(one, ORIGINAL) as path:
            assert path.read_bytes() == b"from a file"
        assert files.names(one) == [ORIGINAL, "page-1.png"]
        assert (tmp_path / "sent").read_bytes() == b"from a file", "what was sent stays where it is"

    def test_later_takes_the_place_of_earlier_and_leaves_what_was_sent(
        self, files: AnalysisFiles, one: str, tmp_path: Path
    ) -> None:
        (tmp_path / "sent").write_bytes(b"first")
        files.put(one, ORIGINAL, tmp_path / "sent")
        files.put(one, ORIGINAL, b"second")
        assert files.read(one, ORIGINAL) == b"second"
        assert (tmp_path / "sent").read_bytes() == b"first"

    def test_missing_is_said(self, files: AnalysisFiles, one: str) -> None:
        with pytest.raises(FileNotFoundError):
            files.read(one, ORIGINAL)
        with pytest.raises(FileNotFoundError), files.local(one, ORIGINAL):
            pass
        with pytest.raises(FileNotFoundError):
            files.opened(one, ORIGINAL)
        assert files.names(one) == []
        files.remove(one)

    def test_removed_are_all_of_one_and_none_of_another(self, files: AnalysisFiles, one: str) -> None:
        other = uuid.uuid4().hex
        for analysis_id in (one, other):
            files.put(analysis_id, ORIGINAL, b"1")
            files.put(analysis_id, "page-1.png", b"2")
        files.remove(one)
        assert files.names(one) == [] and files.names(other) == [ORIGINAL, "page-1.png"]

    def test_ids_are_of_what_was_not_written_to_since(self, files: AnalysisFiles, one: str) -> None:
        files.put(one, ORIGINAL, b"1")
        assert files.ids(until=now() + timedelta(minutes=1)) == [one]
        assert files.ids(until=now() - timedelta(minutes=1)) == []

    def test_place_that_does_not_answer_is_a_passing_fault(self, one: str, bucket: str) -> None:
        once = {"retries": {"max_attempts": 0}}
        nobody = {"endpoint_url": "http://127.0.0.1:1"}
        files = FsspecFiles("s3://films/x", client_kwargs=nobody, config_kwargs=once)
        with pytest.raises(OSError, match="EndpointConnectionError"):
            files.read(one, ORIGINAL)
        with pytest.raises(OSError, match="EndpointConnectionError"), files.local(one, ORIGINAL):
            pass

    def test_id_is_never_a_way_out(self, files: AnalysisFiles) -> None:
        with pytest.raises(ValueError, match="UUID"):
            files.put("../../etc", "passwd", b"")

    def test_store_works_on_them(self, files: AnalysisFiles, store: AnalysisStore) -> None:
        elsewhere = AnalysisStore(store.database, files)
        analysis = elsewhere.add([Upload("a.png", b"film")], queue_limit=1)[0].analysis
        assert files.read(analysis.id, ORIGINAL) == b"film"
        elsewhere.remove(analysis.id)
        assert files.names(analysis.id) == []


class TestFolder:
    def test_half_written_is_never_seen(self, tmp_path: Path, one: str, monkeypatch: pytest.MonkeyPatch) -> None:
        files = LocalFiles(tmp_path)
        files.put(one, ORIGINAL, b"whole")

        def full(path: Path, content: bytes) -> None:
            with path.open("wb") as file:
                file.write(content[:2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="space"):
            files.put(one, ORIGINAL, b"another")
        assert files.read(one, ORIGINAL) == b"whole"
        assert [path.name for path in files.folder(one).iterdir()] == [ORIGINAL]


class TestAddress:
    def test_says_where(self, tmp_path: Path, bucket: str) -> None:
        inside, elsewhere = files_at("", data_dir=tmp_path), files_at(f"file://{tmp_path}/b", data_dir=tmp_path)
        assert isinstance(inside, LocalFiles) and inside.folder("0" * 32) == tmp_path / "analyses" / ("0" * 32)
        assert isinstance(elsewhere, LocalFiles) and elsewhere.folder("0" * 32) == tmp_path / "b" / ("0" * 32)
        assert isinstance(files_at("s3://films/x", data_dir=tmp_path), FsspecFiles)

    def test_that_nobody_knows_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError) as refused:
            files_at("nowhere://films", data_dir=tmp_path)
        assert "OSTEON_FILES_URL" in refused.value.hint

    def test_comes_from_the_settings(self, settings: Settings, tmp_path: Path) -> None:
        store = AnalysisStore.of(settings.changed(files_url=str(tmp_path / "films")))
        analysis = store.add([Upload("a", b"1")], queue_limit=1)[0].analysis
        assert (tmp_path / "films" / analysis.id / ORIGINAL).read_bytes() == b"1"
        store.close()


def test_service_works_on_a_bucket(serve: Callable[..., Running], bucket: str) -> None:
    server = serve(files_url="s3://films/service")
    analysis = server.analysed(radiograph())
    for name in ("image", "bone", "overlay"):
        assert server.client.get(analysis["links"][name]).headers["content-type"] == "image/png"
    assert not (server.service.settings.data_dir / "analyses").exists()
    assert server.client.delete(analysis["links"]["self"]).status_code == 204
    assert server.service.store.files.names(analysis["id"]) == []
