"""A decoder process that does harm where a file asks for it, and else decodes; run as a program by the tests."""

import ctypes
import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from osteon.service import decoding
from osteon.service.decoding import Answer, Order


def _raise(_order: Order) -> Answer:
    raise RuntimeError("Ivanov^Canary^1950")


def _noise(order: Order) -> Answer:
    os.write(1, b"Ivanov^Canary^1950\n{}\n")
    os.write(2, b"Ivanov^Canary^1950\n")
    return decoding.decode(order)


def _lie(order: Order) -> Answer:
    answer = decoding.decode(order)
    for row in answer["pages"]:
        row["height_px"] += 1
    return answer


def _pickle(order: Order) -> Answer:
    answer = decoding.decode(order)
    np.save(Path(order["folder"]) / "page-1.npy", np.array([object()], dtype=object), allow_pickle=True)
    return answer


def _full(_order: Order) -> Answer:
    raise OSError(errno.ENOSPC, "no space left on device")


HARMS: dict[bytes, Callable[[Order], object]] = {
    b"CRASH": lambda _: os.abort(),
    b"SEGMENT": lambda _: ctypes.string_at(0),
    b"HANG": lambda _: time.sleep(3600),
    b"SPIN": lambda _: np.linalg.svd(np.ones((20_000, 20_000))),
    b"BLOAT": lambda _: [bytearray(2**28) for _ in range(64)],
    b"RAISE": _raise,
    b"NONSENSE": lambda _: {"pages": [{"height_px": "tall"}]},
    b"NOTHING": lambda _: {"pages": [], "study": ""},
    b"NOISE": _noise,
    b"LIE": _lie,
    b"PICKLE": _pickle,
    b"FULL": _full,
}


def decode(order: Order) -> Answer:
    content = Path(order["source"]).read_bytes()
    harm = next((harm for mark, harm in HARMS.items() if mark in content), decoding.decode)
    answer = harm(order)
    assert isinstance(answer, dict)
    return answer


if __name__ == "__main__":
    decoding.main(sys.argv[1:], {**decoding.TASKS, "decode": decode})
