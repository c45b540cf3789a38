"""Files of the analyses: a folder on this machine, or any place that fsspec reaches (S3)."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Protocol

from osteon.errors import ConfigurationError, MissingExtra

ORIGINAL = "original"
"""Name of the uploaded file among those of its analysis, whatever its sender called it."""

_PART = ".part-"


class AnalysisFiles(Protocol):
    """Where the files of analyses lie; each is known by the analysis' id and a name of ours."""

    def put(self, analysis_id: str, name: str, content: bytes | Path, *, durable: bool = False) -> None:
        """Keep a file, whole or not at all, in place of an older one.

        Args:
            content: its bytes, or a file of this machine that holds them (and stays).
            durable: on disk, also against a power failure, before this returns.
        """

    def read(self, analysis_id: str, name: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError."""

    def opened(self, analysis_id: str, name: str) -> BinaryIO:
        """A file opened for reading, to be closed by the caller; raises FileNotFoundError."""

    def local(self, analysis_id: str, name: str) -> AbstractContextManager[Path]:
        """A context with the path of the file, or of a copy of it, on this machine; raises FileNotFoundError."""

    def names(self, analysis_id: str) -> list[str]:
        """Names of an analysis' files, sorted."""

    def remove(self, analysis_id: str) -> None:
        """Remove all files of an analysis; nothing happens where there are none."""

    def ids(self, *, until: datetime) -> list[str]:
        """Ids under which there are files, none of them written after `until`."""


def files_at(url: str, *, data_dir: Path) -> AnalysisFiles:
    """The files at an address: `s3://bucket/folder`, a folder, or '' for a folder in the data folder.

    Raises:
        ConfigurationError: the folder cannot be made, or nobody knows how to reach the address.
    """
    if "://" in url and not url.startswith("file://"):
        return FsspecFiles(url)
    return LocalFiles(Path(url.removeprefix("file://")) if url else data_dir / "analyses")


class LocalFiles:
    """A folder with a folder for each analysis. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Make the folder where it is missing; raises ConfigurationError where that fails."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the data folder {folder}: {error.strerror}",
                hint="set OSTEON_DATA_DIR or OSTEON_FILES_URL to another folder",
            ) from error

    def folder(self, analysis_id: str) -> Path:
        """Where the files of an analysis lie; the id is one of ours, never a sender's text."""
        return self._folder / uuid.UUID(hex=analysis_id).hex

    def put(self, analysis_id: str, name: str, content: bytes | Path, *, durable: bool = False) -> None:
        """Keep a file: written beside its place, then renamed into it."""
        folder = self.folder(analysis_id)
        folder.mkdir(exist_ok=True)
        part = folder / f"{_PART}{uuid.uuid4().hex}"
        try:
            _fill(part, content)
            if durable:
                _sync(part)
            part.replace(folder / name)
            if durable:
                _sync(folder)
                _sync(self._folder)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def read(self, analysis_id: str, name: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError."""
        return (self.folder(analysis_id) / name).read_bytes()

    def opened(self, analysis_id: str, name: str) -> BinaryIO:
        """A file opened for reading; raises FileNotFoundError."""
        return (self.folder(analysis_id) / name).open("rb")

    @contextmanager
    def local(self, analysis_id: str, name: str) -> Iterator[Path]:
        """The file's own path; raises FileNotFoundError."""
        path = self.folder(analysis_id) / name
        if not path.is_file():
            raise FileNotFoundError(f"no file {name}")
        yield path

    def names(self, analysis_id: str) -> list[str]:
        """Names of an analysis' files, sorted."""
        with suppress(FileNotFoundError):
            return sorted(path.name for path in self.folder(analysis_id).iterdir() if not path.name.startswith(_PART))
        return []

    def remove(self, analysis_id: str) -> None:
        """Remove all files of an analysis."""
        shutil.rmtree(self.folder(analysis_id), ignore_errors=True)

    def ids(self, *, until: datetime) -> list[str]:
        """Ids of folders that nothing was put into after `until`."""
        found = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError, ValueError):
                if path.stat().st_mtime <= until.timestamp() and uuid.UUID(hex=path.name).hex == path.name:
                    found.append(path.name)
        return found


@contextmanager
def _reaching() -> Iterator[None]:
    """A vendor's own errors become OSError: what fails today at a place elsewhere may well work later."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise OSError(f"the place of the files cannot be used: {type(error).__name__}") from error


class FsspecFiles:
    """A place that fsspec reaches, with a prefix for each analysis. An object there appears whole or not at all.

    Whatever keeps it from answering is an OSError.
    """

    def __init__(self, url: str, **options: Any) -> None:
        """Reach a place.

        Args:
            url: such as `s3://bucket/folder`.
            options: for the file system; S3's key, secret and address come from the AWS_* variables else.

        Raises:
            MissingExtra: fsspec, or its part for this kind of address, is not installed.
            ConfigurationError: nobody knows such an address.
        """
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
        except ImportError as error:
            raise MissingExtra("no support for this kind of address", hint="pip install 'osteon[cluster]'") from error
        except ValueError as error:
            raise ConfigurationError(
                "the address of the files cannot be used",
                hint="set OSTEON_FILES_URL to s3://bucket/folder, or to a folder",
            ) from error

    @_reaching()
    def put(self, analysis_id: str, name: str, content: bytes | Path, *, durable: bool = False) -> None:  # noqa: ARG002
        """Keep a file; what such a place has accepted, it keeps."""
        path = self._path(analysis_id, name)
        if isinstance(content, Path):
            self._files.put_file(str(content), path)
        else:
            self._files.pipe_file(path, content)

    @_reaching()
    def read(self, analysis_id: str, name: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError."""
        content: bytes = self._files.cat_file(self._path(analysis_id, name))
        return content

    @_reaching()
    def opened(self, analysis_id: str, name: str) -> BinaryIO:
        """A file opened for reading; raises FileNotFoundError."""
        opened: BinaryIO = self._files.open(self._path(analysis_id, name), "rb")
        return opened

    @contextmanager
    def local(self, analysis_id: str, name: str) -> Iterator[Path]:
        """The path of a copy that is gone afterwards; raises FileNotFoundError."""
        with TemporaryDirectory(prefix="osteon-") as folder:
            path = Path(folder) / name
            with _reaching():
                self._files.get_file(self._path(analysis_id, name), str(path))
            yield path

    @_reaching()
    def names(self, analysis_id: str) -> list[str]:
        """Names of an analysis' files, sorted."""
        with suppress(FileNotFoundError):
            return sorted(path.rsplit("/", 1)[-1] for path in self._files.ls(self._path(analysis_id), detail=False))
        return []

    @_reaching()
    def remove(self, analysis_id: str) -> None:
        """Remove all files of an analysis."""
        with suppress(FileNotFoundError):
            self._files.rm(self._path(analysis_id), recursive=True)

    @_reaching()
    def ids(self, *, until: datetime) -> list[str]:
        """Ids under which there are files, none of them written after `until`."""
        latest: dict[str, datetime] = {}
        for path, about in self._files.find(self._root, detail=True).items():
            analysis_id = path.removeprefix(self._root).strip("/").split("/")[0]
            latest[analysis_id] = max(latest.get(analysis_id, datetime.min.replace(tzinfo=UTC)), _written(about))
        return [analysis_id for analysis_id, written in latest.items() if written <= until]

    def _path(self, analysis_id: str, *names: str) -> str:
        return "/".join((self._root, uuid.UUID(hex=analysis_id).hex, *names))


def _fill(path: Path, content: bytes | Path) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    try:
        path.hardlink_to(content)
    except OSError:  # on another file system, or one without hard links
        shutil.copyfile(content, path)


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written(about: dict[str, Any]) -> datetime:
    moment = about.get("LastModified") or about.get("mtime") or about.get("created")
    if isinstance(moment, datetime):
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.fromtimestamp(float(moment or 0), UTC)
