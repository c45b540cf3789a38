"""What a decoder process does: an order comes in as a line of JSON, an answer goes out as one.

Uploaded bytes are parsed here and nowhere else. The process knows no database, no model and no name of a file; it
writes pixels and pictures into a folder it is given, and whatever it answers is checked by `decoders`, never trusted.
"""

import errno
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from osteon.errors import ImageTooLarge, OsteonError
from osteon.files.reader import read_pages
from osteon.files.sniff import sniff
from osteon.limits import Limits
from osteon.radiograph import Radiograph
from osteon.service import archives
from osteon.service.encodings import jpeg, png
from osteon.service.handover import MOST_PAGE_BYTES, THUMBNAIL_SIDE_PX, picture_file, pixels_file, thumbnail_file

_FULL = (errno.ENOSPC, errno.EDQUOT)
_GRACE_SECONDS = 5.0
_IDLE_SECONDS = 1.0

Order = Mapping[str, Any]
Answer = dict[str, Any]
Task = Callable[[Order], Answer]


def decode(order: Order) -> Answer:
    """Each page of a file into `folder`: its pixels and, where `pictures` is true, what people look at."""
    folder, limits = Path(order["folder"]), Limits(**order["limits"])
    source = Path(order["source"])
    limits.check_bytes(source.stat().st_size)
    data = source.read_bytes()
    rows: list[Answer] = []
    size_bytes = 0
    for radiograph, read_ms in _timed(read_pages(data, limits=limits)):
        size_bytes += radiograph.pixels.nbytes
        if size_bytes > MOST_PAGE_BYTES:
            raise ImageTooLarge(
                f"the pages together are more than {MOST_PAGE_BYTES // 2**20} MiB of pixels", hint="split the file"
            )
        np.save(pixels_file(folder, radiograph.page), radiograph.pixels)
        if order["pictures"]:
            _draw(folder, radiograph)
        rows.append(_row(radiograph, read_ms))
    return {"pages": rows, "study": _study(data, salt=order["salt"])}


def _study(data: bytes, *, salt: str) -> str:
    if sniff(data) != "DICOM":
        return ""
    from osteon.dicom.study import study_of  # not for raster pictures: pydicom takes 0.2 s to import

    return study_of(data, salt=salt)


def _timed(pages: Iterator[Radiograph]) -> Iterator[tuple[Radiograph, float]]:
    """Each page and the milliseconds that reading it took."""
    started = time.perf_counter()
    for radiograph in pages:
        yield radiograph, (time.perf_counter() - started) * 1000
        started = time.perf_counter()


def _draw(folder: Path, radiograph: Radiograph) -> None:
    shown = radiograph.as_uint8()
    picture_file(folder, radiograph.page).write_bytes(png(shown))
    if radiograph.page == 0:
        thumbnail_file(folder).write_bytes(jpeg(shown, side_px=THUMBNAIL_SIDE_PX))


def _row(radiograph: Radiograph, read_ms: float) -> Answer:
    return {
        "height_px": radiograph.height_px,
        "width_px": radiograph.width_px,
        "bits": radiograph.pixels.itemsize * 8,
        "low": int(radiograph.pixels.min()),
        "high": int(radiograph.pixels.max()),
        "sha256": radiograph.sha256,
        "spacing_mm": radiograph.spacing_mm,
        "modality": radiograph.modality,
        "body_part": radiograph.body_part,
        "view": radiograph.view,
        "laterality": radiograph.laterality,
        "chroma": radiograph.chroma,
        "read_ms": read_ms,
    }


def unpack(order: Order) -> Answer:
    """The files of a ZIP archive into `folder`, as `archives.unpack` does."""
    entries = archives.unpack(
        Path(order["source"]),
        Path(order["folder"]),
        most_entries=order["most_entries"],
        most_bytes=order["most_bytes"],
    )
    return {"entries": [{"label": entry.label, "file": entry.path.name} for entry in entries]}


TASKS: Mapping[str, Task] = {"decode": decode, "unpack": unpack}


def main(words: list[str], tasks: Mapping[str, Task] = TASKS) -> None:
    """Do one order after another until there are no more; `words` are the most bytes of memory and of a file."""
    orders, answers = _channels()
    cv2.setNumThreads(1)
    _limit(memory_bytes=int(words[0]), file_bytes=int(words[1]))
    _say(answers, {"ready": os.getpid()})
    if sys.platform != "win32" and not select.select([orders], [], [], _IDLE_SECONDS)[0]:
        import osteon.dicom.study  # noqa: F401 - nobody waits: the first DICOM file will find pydicom here
    for line in orders:
        order = json.loads(line)
        _alarm(order["seconds"] + _GRACE_SECONDS)
        _say(answers, _done(tasks[order["do"]], order))
        _alarm(0)


def _done(task: Task, order: Order) -> Answer:
    try:
        return task(order)
    except OsteonError as error:
        return {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}
    except OSError as error:
        if error.errno in _FULL:
            return {"fault": "there is no room for what was decoded"}
        return {"crash": f"a {type(error).__name__} inside Osteon"}
    except MemoryError:
        return {"crash": "more memory than one file may take"}
    except Exception as error:  # noqa: BLE001 - the edge: the text may quote the file, its type does not
        return {"crash": f"a {type(error).__name__} inside Osteon"}


def _channels() -> tuple[BinaryIO, BinaryIO]:
    """Where orders come from and answers go to; what a native library prints goes nowhere."""
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    return orders, answers


def _say(answers: BinaryIO, answer: Answer) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _limit(*, memory_bytes: int, file_bytes: int) -> None:
    """No more memory than so much beyond what is taken now, no larger files, no core dumps (they hold the picture)."""
    if sys.platform == "win32":
        return
    import resource

    statm = Path("/proc/self/statm")
    taken = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0
    for what, most in (
        (resource.RLIMIT_AS, taken + memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _alarm(seconds: float) -> None:
    """End this process after so long, also within native code and where nobody is left to do it; 0: never mind."""
    if sys.platform != "win32":
        import signal

        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
