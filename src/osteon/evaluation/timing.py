"""Milliseconds of a model file on a number of threads."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osteon.inference.card import Task
from osteon.inference.session import Session

Square = NDArray[np.float32]
RUNS = 40
LEAST_RUNS = 3
PATIENCE_S = 20.0
"""Slow models are run less often."""


def milliseconds(model: Path, *, task: Task, threads: int, squares: Sequence[Square] = ()) -> float:
    """The median of up to 40 runs, after one that does not count.

    Args:
        model: the file.
        task: its card's.
        threads: of the processor.
        squares: (side, side) pictures to take in turn, for models whose work depends on what they see; none: noise.
    """
    session = Session(model, task=task, threads=threads)
    side = session.card.side_px
    chosen = squares or [np.random.default_rng(0).random((side, side), np.float32)]
    session.run(chosen[0])
    times: list[float] = []
    while len(times) < RUNS and (len(times) < LEAST_RUNS or sum(times) < PATIENCE_S * 1000):
        pixels = chosen[len(times) % len(chosen)]
        started = time.perf_counter()
        session.run(pixels)
        times.append((time.perf_counter() - started) * 1000)
    return round(statistics.median(times), 2)
