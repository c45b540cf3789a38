"""A folder for what is on its way: uploads as they stream in, pages between decoding and analysis."""

import shutil
import sys
import uuid
from pathlib import Path
from typing import IO

from osteon.errors import ConfigurationError

_LOCK = "lock"


class Scratch:
    """A process's own folder of files that outlive neither it nor their use. Safe to use from several threads.

    The process holds a lock on it; what a process that was killed left behind is removed by the next that starts.
    """

    def __init__(self, root: Path) -> None:
        """Make a folder within `root`, and remove those there whose process is gone.

        Raises:
            ConfigurationError: the folder cannot be made or written.
        """
        self._folder = root / uuid.uuid4().hex
        try:
            root.mkdir(parents=True, exist_ok=True)
            _sweep(root)
            self._folder.mkdir()
            self._lock = (self._folder / _LOCK).open("wb")
            _hold(self._lock)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the folder {root}: {error.strerror}", hint="set OSTEON_DATA_DIR to another folder"
            ) from error

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder

    def folder(self) -> Path:
        """A new folder; whoever asked for it removes it."""
        made = self._folder / uuid.uuid4().hex
        made.mkdir()
        return made

    def file(self) -> Path:
        """A new file's path; whoever asked for it removes it."""
        return self._folder / uuid.uuid4().hex

    def close(self) -> None:
        """Remove everything."""
        self._lock.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        if folder.is_dir() and _abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open("rb+") as lock:
            return _hold(lock)
    except OSError:  # made this moment, or going away this moment
        return False


def _hold(lock: IO[bytes]) -> bool:
    """Lock a file for as long as it is open; False where another process, or another object of this one, has it."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
