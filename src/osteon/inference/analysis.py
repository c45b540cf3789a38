"""Files -> findings, many at once: every page of every file, in order, both cores busy, memory flat."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from osteon.errors import OsteonError
from osteon.files.reader import read_pages
from osteon.findings import Failure, Findings
from osteon.inference.pipeline import Pipeline
from osteon.radiograph import Radiograph

Result = Findings | Failure
Consumer = Callable[[Radiograph, Findings], None]


def analyse_file(
    pipeline: Pipeline,
    path: Path,
    *,
    min_score: float | None = None,
    bones: bool = False,
    then: Consumer | None = None,
) -> list[Result]:
    """Findings of every page of a file, up to the failure that stopped it, if any; one page is held at a time.

    Args:
        bones: find single bones too.
        then: called with each radiograph and its findings while the pixels are still at hand (to draw, to save).
    """
    results: list[Result] = []
    started = time.perf_counter()
    try:
        for radiograph in read_pages(path):
            read_ms = (time.perf_counter() - started) * 1000
            findings = pipeline.analyse(radiograph, min_score=min_score, read_ms=read_ms, bones=bones)
            if then:
                then(radiograph, findings)
            results.append(findings)
            started = time.perf_counter()
    except OsteonError as error:
        results.append(failure(str(path), error))
    return results


def failure(source: str, error: OsteonError) -> Failure:
    """An error as a row of the JSON's `errors`."""
    return Failure(source, type(error).__name__, error.message, error.hint)


def analyse_files(
    pipeline: Pipeline,
    paths: Iterable[Path],
    *,
    workers: int,
    min_score: float | None = None,
    bones: bool = False,
    then: Consumer | None = None,
) -> Iterator[list[Result]]:
    """The results of each file, in the order of the paths; `workers` files at a time, no more held than twice that."""
    source = iter(paths)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[list[Result]]] = deque()

        def submit(path: Path) -> None:
            waiting.append(pool.submit(analyse_file, pipeline, path, min_score=min_score, bones=bones, then=then))

        try:
            for path in islice(source, 2 * workers):
                submit(path)
            while waiting:
                yield waiting.popleft().result()
                for path in islice(source, 1):
                    submit(path)
        finally:  # a caller who has seen enough does not wait for files that nobody has begun
            pool.shutdown(wait=False, cancel_futures=True)


def slim(findings: Findings) -> Findings:
    """The findings without the bone map and the bones' masks, for long lists; their JSON stays the same."""
    if findings.bones:
        empty = np.zeros((0, 0), np.bool_)
        findings = replace(findings, bones=tuple(replace(bone, mask=empty) for bone in findings.bones))
    return replace(findings, bone=replace(findings.bone, probability_map=None))
