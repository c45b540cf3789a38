"""Milliseconds of a model file on a number of threads."""

import statistics
import time
from pathlib import Path

import numpy as np

from osteon.inference.card import Task
from osteon.inference.session import Session

RUNS = 40
LEAST_RUNS = 3
PATIENCE_S = 20.0
"""Slow models are run less often."""


def milliseconds(model: Path, *, task: Task, threads: int) -> float:
    """The median of up to 40 runs on a picture of noise, after one that does not count."""
    session = Session(model, task=task, threads=threads)
    side = session.card.side_px
    pixels = np.random.default_rng(0).random((side, side), np.float32)
    session.run(pixels)
    times: list[float] = []
    while len(times) < RUNS and (len(times) < LEAST_RUNS or sum(times) < PATIENCE_S * 1000):
        started = time.perf_counter()
        session.run(pixels)
        times.append((time.perf_counter() - started) * 1000)
    return round(statistics.median(times), 2)
