"""The embedded store in one file and back: taken while the server runs, put back while it does not.

A back-up is a tar of `osteon.sqlite3` (a snapshot by SQLite itself), the files of the analyses that stand in it, and at
its end `manifest.json` with the digest of each; one that was cut off has no manifest and is refused. Sign-ins and
half-sent uploads are left out.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from alembic.util.exc import CommandError

from osteon.errors import ConfigurationError, InvalidBackup
from osteon.service import database
from osteon.service.database import Database, Hold
from osteon.service.files import ORIGINAL
from osteon.service.settings import Settings

FORMAT = 1
MANIFEST = "manifest.json"
_FILES = "analyses"
_ENTRY = re.compile(rf"{_FILES}/[0-9a-f]{{32}}/[A-Za-z0-9][A-Za-z0-9._-]*")
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Contents:
    """What a back-up holds.

    Attributes:
        analyses: how many.
        size_bytes: of all files.
    """

    analyses: int
    size_bytes: int


def backup(settings: Settings, target: Path) -> Contents:
    """Write the store of these settings to a file; the server may run meanwhile.

    Raises:
        ConfigurationError: the store is not the embedded one, or there is none, or the file cannot be written.
    """
    source = _embedded(settings)
    if not (source / database.FILE).is_file():
        raise ConfigurationError(f"no store in {source}", hint="set OSTEON_DATA_DIR to the server's data folder")
    part = target.with_name(target.name + ".part")
    try:
        with TemporaryDirectory(prefix=".osteon-", dir=target.parent) as scratch:
            snapshot = Path(scratch) / database.FILE
            ids = _snapshot(source / database.FILE, snapshot)
            with part.open("xb") as out:
                part.chmod(0o600)
                contents = _pack(out, snapshot, source / _FILES, ids)
                out.flush()
                os.fsync(out.fileno())
        part.replace(target)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {target}: {error.strerror}", hint="choose another place; remove a .part that was left there"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return contents


def restore(settings: Settings, source: Path, *, replace: bool = False) -> Contents:
    """Put a back-up into the data folder of these settings.

    Args:
        replace: whatever is in the data folder gives way.

    Raises:
        ConfigurationError: the store is not the embedded one, a server uses it, or it is not empty.
        InvalidBackup: the file is no back-up, damaged, or of a later version.
    """
    _embedded(settings)
    target = settings.make_data_dir()
    with _alone(target):
        if not replace and _filled(target):
            raise ConfigurationError(f"{target} holds a store", hint="give --replace to have it replaced")
        with TemporaryDirectory(prefix=".restoring-", dir=target) as scratch:
            fresh = Path(scratch)
            contents = _unpack(source, fresh)
            _settle(fresh / database.FILE)
            replaced = fresh / "replaced"
            replaced.mkdir()
            for name in (*_database_files(), _FILES):
                if (target / name).exists():
                    (target / name).rename(replaced / name)
            for name in (_FILES, database.FILE):
                (fresh / name).rename(target / name)
    return contents


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    hold = Hold(data_dir)
    try:
        yield
    finally:
        hold.release()


def _embedded(settings: Settings) -> Path:
    if settings.database_url or settings.files_url:
        raise ConfigurationError(
            "only the embedded store is backed up so",
            hint="use pg_dump for PostgreSQL, and copy the folder or bucket of OSTEON_FILES_URL after it",
        )
    return settings.data_dir


def _filled(folder: Path) -> bool:
    return (folder / database.FILE).exists() or any(folder.glob(f"{_FILES}/*"))


def _database_files() -> tuple[str, ...]:
    return tuple(database.FILE + ending for ending in ("", "-wal", "-shm"))


def _snapshot(source: Path, target: Path) -> list[str]:
    """A copy of the database at one moment; the ids of its analyses, oldest first."""
    with contextlib.closing(sqlite3.connect(source)) as live, contextlib.closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        for table in ("sessions", "uploads"):
            if copy.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                copy.execute(f"DELETE FROM {table}")
        copy.commit()
        return [str(row[0]) for row in copy.execute("SELECT id FROM analyses ORDER BY number")]


def _pack(out: IO[bytes], snapshot: Path, files: Path, ids: list[str]) -> Contents:
    """Files first; an analysis that is removed meanwhile leaves the snapshot too, which comes after them."""
    digests: dict[str, str] = {}
    size = 0
    with tarfile.open(fileobj=out, mode="w") as tar:
        gone: list[str] = []
        for analysis_id in ids:
            try:
                names = sorted(path.name for path in (files / analysis_id).iterdir() if not path.name.startswith("."))
                if ORIGINAL not in names:
                    raise FileNotFoundError(analysis_id)
                for name in names:
                    size += _put(tar, files / analysis_id / name, f"{_FILES}/{analysis_id}/{name}", digests)
            except FileNotFoundError:
                gone.append(analysis_id)
        with contextlib.closing(sqlite3.connect(snapshot)) as copy:
            copy.executemany("DELETE FROM analyses WHERE id = ?", [(analysis_id,) for analysis_id in gone])
            if gone and copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'bones'").fetchone():
                copy.execute("DELETE FROM bones WHERE id NOT IN (SELECT id FROM analyses)")
            copy.commit()
        size += _put(tar, snapshot, database.FILE, digests)
        about = {"format": FORMAT, "version": version("osteon"), "created_at": datetime.now(UTC).isoformat()}
        content = json.dumps({**about, "analyses": len(ids) - len(gone), "sha256": digests}).encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return Contents(len(ids) - len(gone), size)


def _put(tar: tarfile.TarFile, path: Path, name: str, digests: dict[str, str]) -> int:
    with path.open("rb") as file:
        digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        entry = tarfile.TarInfo(name)
        entry.size = file.tell()
        file.seek(0)
        tar.addfile(entry, file)
    return entry.size


def _unpack(source: Path, target: Path) -> Contents:
    """Write out what the back-up holds, nothing else, and compare it with the manifest."""
    (target / _FILES).mkdir()
    digests: dict[str, str] = {}
    size = 0
    manifest: dict[str, object] = {}
    try:
        with tarfile.open(source, mode="r:") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isreg() else None
                if content is None or not (entry.name in (database.FILE, MANIFEST) or _ENTRY.fullmatch(entry.name)):
                    raise _invalid(source, "holds something else")
                if entry.name == MANIFEST:
                    manifest = json.load(content)
                    continue
                size += entry.size
                digests[entry.name] = _write(content, target / entry.name)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise _invalid(source, "cannot be read") from error
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {source.name}, or write it out: {error.strerror}", hint="check the file, and the free space"
        ) from error
    if manifest.get("format") != FORMAT or not isinstance(count := manifest.get("analyses"), int):
        raise _invalid(source, "is not complete, or of a later version")
    if manifest.get("sha256") != digests:
        raise _invalid(source, "is damaged")
    return Contents(count, size)


def _write(content: IO[bytes], path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    digest = hashlib.sha256()
    with path.open("xb") as out:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _settle(path: Path) -> None:
    """Bring a restored database to this version's schema, and drop folders of analyses that it does not have."""
    try:
        restored = Database(f"sqlite:///{path}")
    except CommandError as error:
        raise _invalid(path, "is of a later version") from error
    restored.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        known = {str(row[0]) for row in connection.execute("SELECT id FROM analyses")}
    for folder in (path.parent / _FILES).iterdir():
        if folder.name not in known:
            shutil.rmtree(folder)


def _invalid(source: Path, what: str) -> InvalidBackup:
    return InvalidBackup(f"{source.name} {what}", hint="give a file that `osteon backup` of this version wrote")
