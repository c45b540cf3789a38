"""Uploads that come in pieces: kept between them, also over a restart, by whichever server gets the next piece."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, func, select, update

from osteon.errors import OffsetMismatch, TooManyWaiting, UploadIncomplete, UploadNotFound
from osteon.service.database import Database
from osteon.service.files import AnalysisFiles
from osteon.service.scratch import Scratch
from osteon.service.store import Upload
from osteon.service.tables import UploadRow, now

KEPT = timedelta(hours=24)
"""An upload that is not used for so long after it began is removed."""

MOST_OPEN = 256
"""Of one owner."""

_PIECE = 2**20


@dataclass(frozen=True)
class Resumable:
    """An upload as it stands.

    Attributes:
        id: 32 hexadecimal digits, random.
        owner: whose it is.
        name: what the sender calls the file.
        size_bytes: of the whole file, as announced.
        received_bytes: so many have come and are kept.
        study: what groups it with other files, or "".
        parts: names of the files that hold what came, in order.
        created_at: when it began (UTC).
    """

    id: str
    owner: str
    name: str
    size_bytes: int
    received_bytes: int
    study: str
    parts: tuple[str, ...]
    created_at: datetime

    @property
    def complete(self) -> bool:
        """Whether all of it is here."""
        return self.received_bytes == self.size_bytes


@dataclass(frozen=True)
class Resumables:
    """Keeps uploads that come in pieces: rows in SQL, pieces where the files of the analyses are.

    What belongs to another owner is not found.
    """

    database: Database
    files: AnalysisFiles
    scratch: Scratch

    def begin(self, *, name: str, size_bytes: int, owner: str, study: str = "") -> Resumable:
        """Announce an upload.

        Raises:
            TooManyWaiting: the owner has too many open.
        """
        row = UploadRow(
            id=uuid.uuid4().hex,
            owner=owner,
            name=name[:255],
            size_bytes=size_bytes,
            received_bytes=0,
            study=study,
            parts=[],
            created_at=now(),
        )
        with self.database.writing() as session:
            count = select(func.count()).select_from(UploadRow).where(UploadRow.owner == owner)
            if (session.scalar(count) or 0) >= MOST_OPEN:
                raise TooManyWaiting(
                    f"{MOST_OPEN} uploads are open", hint="finish or remove some; those not used go after a day"
                )
            session.add(row)
            session.flush()
            return _resumable(row)

    def find(self, upload_id: str, *, owner: str) -> Resumable:
        """The upload of this id; raises UploadNotFound."""
        query = select(UploadRow).where(UploadRow.id == _checked(upload_id), UploadRow.owner == owner)
        with self.database.reading() as session:
            row = session.scalar(query)
            if row is None:
                raise _not_found()
            return _resumable(row)

    def add(self, upload: Resumable, piece: Path, *, size_bytes: int) -> Resumable:
        """Keep a piece that begins where the upload ended; on disk when this returns.

        Raises:
            OffsetMismatch: another piece came in between; the piece is not kept.
            UploadNotFound: it was removed meanwhile.
        """
        part = f"part-{upload.received_bytes:015d}-{uuid.uuid4().hex[:8]}"
        self.files.put(upload.id, part, piece, durable=True)
        end = upload.received_bytes + size_bytes
        changed = (
            update(UploadRow)
            .where(UploadRow.id == upload.id, UploadRow.received_bytes == upload.received_bytes)
            .values(received_bytes=end, parts=[*upload.parts, part])
            .returning(UploadRow.id)
            .execution_options(synchronize_session=False)
        )
        with self.database.writing(durable=True) as session:
            kept = session.scalar(changed) is not None
        current = self._current(upload)
        if not kept:
            check_offset(current, upload.received_bytes)
        return current

    @contextmanager
    def assembled(self, upload: Resumable) -> Iterator[Upload]:
        """The whole file in a scratch file, which is gone when the context ends.

        Raises:
            UploadIncomplete: not all of it is here.
            UploadNotFound: it was finished or removed meanwhile.
        """
        if not upload.complete:
            raise UploadIncomplete(
                f"{upload.received_bytes} of {upload.size_bytes} bytes have come",
                hint="send the rest with PATCH, from received_bytes on",
            )
        path = self.scratch.file()
        try:
            digest = hashlib.sha256()
            try:
                with path.open("wb") as whole:
                    for part in upload.parts:
                        with self.files.opened(upload.id, part) as file:
                            for piece in _pieces(file.read):
                                digest.update(piece)
                                whole.write(piece)
            except FileNotFoundError as error:  # finished or removed this moment
                raise _not_found() from error
            yield Upload(upload.name, path, sha256=digest.hexdigest())
        finally:
            path.unlink(missing_ok=True)

    def remove(self, upload_id: str, *, owner: str) -> None:
        """Remove an upload and what came of it; raises UploadNotFound."""
        gone = delete(UploadRow).where(UploadRow.id == _checked(upload_id), UploadRow.owner == owner)
        with self.database.writing() as session:
            if session.scalar(gone.returning(UploadRow.id)) is None:
                raise _not_found()
        self.files.remove(upload_id)

    def sweep(self) -> int:
        """Remove uploads that nobody finished; how many."""
        query = select(UploadRow).where(UploadRow.created_at < now() - KEPT)
        with self.database.reading() as session:
            expired = [_resumable(row) for row in session.scalars(query)]
        for upload in expired:
            with self.database.writing() as session:
                session.execute(delete(UploadRow).where(UploadRow.id == upload.id))
            self.files.remove(upload.id)
        return len(expired)

    def _current(self, upload: Resumable) -> Resumable:
        try:
            return self.find(upload.id, owner=upload.owner)
        except UploadNotFound:
            self.files.remove(upload.id)
            raise


def check_offset(upload: Resumable, offset: int) -> None:
    """Raises OffsetMismatch where a piece would not begin where the upload ended."""
    if offset != upload.received_bytes:
        raise OffsetMismatch(
            f"the piece begins at byte {offset}, {upload.received_bytes} have come",
            hint="ask for the upload and go on from received_bytes",
            received_bytes=upload.received_bytes,
        )


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(_PIECE):
        yield piece


def _resumable(row: UploadRow) -> Resumable:
    return Resumable(
        id=row.id,
        owner=row.owner,
        name=row.name,
        size_bytes=row.size_bytes,
        received_bytes=row.received_bytes,
        study=row.study,
        parts=tuple(row.parts),
        created_at=row.created_at,
    )


def _checked(upload_id: str) -> str:
    """The id, if it may be one: a database need not see what a sender makes up."""
    if not (upload_id.isascii() and upload_id.isalnum()):
        raise _not_found()
    return upload_id


def _not_found() -> UploadNotFound:
    return UploadNotFound(
        "no upload has this id", hint="it may have been finished, or have gone after a day; begin anew"
    )
