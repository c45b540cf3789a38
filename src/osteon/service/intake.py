"""Files taken in: looked at, decoded at once in a process of their own, kept, queued."""

import hmac
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from osteon.errors import DecoderCrashed, DecoderTimedOut, InvalidImage, OsteonError
from osteon.files.sniff import sniff
from osteon.findings import Failure
from osteon.inference.analysis import failure
from osteon.limits import Limits
from osteon.service import archives
from osteon.service.decoders import DecodedFile, Decoders
from osteon.service.files import ORIGINAL, AnalysisFiles
from osteon.service.scratch import Scratch
from osteon.service.settings import Settings
from osteon.service.shelf import Shelf
from osteon.service.store import Accepted, Analysis, AnalysisStore, Upload

_HEAD_BYTES = 8192
_ARCHIVE_BYTES_FACTOR = 4
"""An archive may unpack to so many times the largest body."""


@dataclass(frozen=True)
class Taken:
    """What became of the files of a request: analyses of some, failures of the others."""

    analyses: tuple[Analysis, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Reading:
    """Decodes files and keeps their pages until they are needed; shared by whoever takes in, analyses or shows.

    Attributes:
        scratch: where everything on its way lies.
    """

    scratch: Scratch
    decoders: Decoders
    shelf: Shelf

    @classmethod
    def of(cls, settings: Settings) -> "Reading":
        """What the settings say; processes start when they are needed, or with `start`.

        Raises:
            ConfigurationError: the scratch folder cannot be made.
        """
        scratch = Scratch(settings.data_dir / "scratch")
        decoders = Decoders(
            scratch,
            processes=settings.decoders,
            seconds=settings.decode_seconds,
            memory_bytes=settings.decoder_memory_mb * 2**20,
            limits=Limits(max_pixels=settings.max_pixels),
        )
        return cls(scratch, decoders, Shelf())

    def start(self) -> None:
        """Warm the decoder processes up, in the background."""
        self.decoders.start()

    def stop(self) -> None:
        """End the decoder processes and remove what lies on the shelf."""
        self.decoders.stop()
        self.shelf.clear()
        self.scratch.close()

    @contextmanager
    def decoded(self, files: AnalysisFiles, analysis: Analysis, *, keep: bool = False) -> Iterator[DecodedFile]:
        """The pages of an analysis' file: from the shelf, else decoded (again).

        Args:
            keep: lay them (back) on the shelf afterwards.

        Raises:
            InvalidImage: it cannot be decoded, or made its decoder crash or hang.
            FileNotFoundError: the analysis was removed.
        """
        file = self.shelf.take(analysis.id)
        if file is None:
            with files.local(analysis.id, ORIGINAL) as path:
                file = self.decoders.decode(path, name=analysis.name, salt=analysis.owner)
        try:
            yield file
        finally:
            if keep:
                self.shelf.put(analysis.id, file)
            else:
                file.remove()


@dataclass(frozen=True)
class Intake:
    """Takes files in for analysis.

    Attributes:
        models: names the models that will look; see `AnalysisStore.add`.
        submit: tells a runner of a new analysis.
        hands_over: whether whoever analyses finds the pages on this process' shelf.
    """

    settings: Settings
    store: AnalysisStore
    reading: Reading
    models: str
    submit: Callable[[str], None]
    hands_over: bool = True

    def accept(
        self, uploads: Sequence[Upload], *, owner: str = "", study: str = "", again: bool = False, shelved: str = ""
    ) -> Taken:
        """Take files in; a ZIP archive is the batch of its pictures. Those that cannot be decoded are named.

        A file that makes its decoder crash or hang is taken too: its analysis fails, and tells why.

        Args:
            uploads: the files in which their content lies may go afterwards.
            owner: whose analyses they are.
            study: what groups them (see `grouped`); files of one DICOM study are grouped by that anyway.
            again: analyse anew what was analysed already.
            shelved: where on the shelf the pages of a lone upload lie, if they were decoded before.

        Raises:
            TooManyWaiting: the queue is full.
            InvalidImage: no file can be decoded (the first one's reason).
        """
        limit = self.settings.queue_limit
        self.store.check_queue(1, queue_limit=limit)
        batch = _Batch([], [], self.reading.scratch.folder())
        ready: list[tuple[Upload, DecodedFile | None]] = []
        try:
            for upload in uploads:
                self._open(upload, batch)
            known = set() if again else self.store.known(batch.files, owner=owner, models=self.models)
            for upload in batch.files:
                if upload.sha256 in known:
                    ready.append((upload, None))
                elif looked := self._look(upload, batch, owner=owner, study=study, shelved=shelved):
                    ready.append(looked)
            if batch.failures and not ready:
                raise batch.failures[0][1]
            accepted = self.store.add(
                [upload for upload, _ in ready],
                queue_limit=limit,
                owner=owner,
                models=self.models,
                again=again,
                known=known,
            )
        except BaseException:
            for _, decoded in ready:
                _remove(decoded)
            raise
        finally:
            shutil.rmtree(batch.folder, ignore_errors=True)
        self._pass_on(accepted, [decoded for _, decoded in ready])
        failures = tuple(failure(name, error) for name, error in batch.failures)
        return Taken(tuple(one.analysis for one in accepted), failures)

    def _pass_on(self, accepted: Sequence[Accepted], pages: Sequence[DecodedFile | None]) -> None:
        """What is new to the runner, its pages to the shelf."""
        for one, decoded in zip(accepted, pages, strict=True):
            if one.new and decoded and self.hands_over:
                self.reading.shelf.put(one.analysis.id, decoded)
            else:
                _remove(decoded)
        for one in accepted:
            if one.new:
                self.submit(one.analysis.id)

    def _open(self, upload: Upload, batch: "_Batch") -> None:
        """Add an upload to the batch, or instead of an archive what is in it; no more is known of it than its head."""
        if isinstance(upload.content, bytes):
            path = batch.folder / uuid.uuid4().hex
            path.write_bytes(upload.content)
            upload = replace(upload, content=path)
        try:
            head = _head(upload.path)
            if head.startswith(archives.MAGIC):
                for entry in self._entries(upload.path, batch):
                    self._open(Upload(entry.label, entry.path), batch)
                return
            sniff(head)
        except InvalidImage as error:
            batch.failures.append((upload.name, error))
        else:
            batch.files.append(upload)

    def _entries(self, archive: Path, batch: "_Batch") -> list[archives.Entry]:
        """What is in an archive; all archives of a request together hold no more than one may."""
        folder = batch.folder / uuid.uuid4().hex
        folder.mkdir()
        entries = self.reading.decoders.unpack(
            archive,
            folder,
            most_entries=self.settings.max_files - batch.unpacked_files,
            most_bytes=_ARCHIVE_BYTES_FACTOR * self.settings.max_upload_bytes - batch.unpacked_bytes,
        )
        batch.unpacked_files += len(entries)
        batch.unpacked_bytes += sum(entry.path.stat().st_size for entry in entries)
        return entries

    def _look(
        self, upload: Upload, batch: "_Batch", *, owner: str, study: str, shelved: str
    ) -> tuple[Upload, DecodedFile | None] | None:
        """Decode a file, to learn whether it is sound and which study it belongs to; None where it is not."""
        decoded = self.reading.shelf.take(shelved) if shelved else None
        try:
            decoded = decoded or self.reading.decoders.decode(upload.path, name=upload.name, salt=owner)
        except (DecoderCrashed, DecoderTimedOut, ChildProcessError):
            return replace(upload, study=study), None
        except InvalidImage as error:
            batch.failures.append((upload.name, error))
            return None
        return replace(upload, study=decoded.study or study), decoded


@dataclass
class _Batch:
    """Files of a request, those that cannot be taken, and a folder for what is unpacked."""

    files: list[Upload]
    failures: list[tuple[str, OsteonError]]
    folder: Path
    unpacked_files: int = 0
    unpacked_bytes: int = 0


def grouped(study: str, *, salt: str) -> str:
    """The sender's word for a study, 32 hexadecimal digits of its salted hash: it may be a name; "" stays "".

    >>> grouped("Ivanov", salt="") == grouped("Ivanov", salt="another owner")
    False
    """
    return (
        hmac.digest(salt.encode(), b"batch:" + study.encode("utf-8", "replace"), "sha256").hex()[:32] if study else ""
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _remove(decoded: DecodedFile | None) -> None:
    if decoded:
        decoded.remove()
