"""Many files at once."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import builders
import models
from osteon.findings import Failure, Findings
from osteon.inference.analysis import Result, analyse_file, analyse_files, slim
from osteon.inference.pipeline import Pipeline
from osteon.radiograph import Radiograph


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return models.pipeline(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve files, the fourth of them no picture."""
    folder = tmp_path_factory.mktemp("films")
    chosen = [folder / f"{number:02}.png" for number in range(12)]
    for number, path in enumerate(chosen):
        pixels = models.radiograph_pixels(180 + 5 * number, 140, spot=150 + 9 * number)
        path.write_bytes(b"no picture" if number == 3 else builders.raster(pixels, "PNG"))
    return chosen


def plain(results: list[Result]) -> list[dict[str, Any]]:
    rows = [result.to_json() for result in results]
    return [{name: value for name, value in row.items() if name != "timing_ms"} for row in rows]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_batch_equals_one_by_one_in_the_order_of_the_paths(
    pipeline: Pipeline, paths: list[Path], workers: int
) -> None:
    one_by_one = [plain(analyse_file(pipeline, path)) for path in paths]
    batch = [plain(results) for results in analyse_files(pipeline, paths, workers=workers)]
    assert batch == one_by_one
    assert [rows[0]["source"] for rows in batch] == [str(path) for path in paths]


def test_a_failure_does_not_stop_the_batch(pipeline: Pipeline, paths: list[Path]) -> None:
    results = [result for (result,) in analyse_files(pipeline, paths, workers=2)]
    failed = [result for result in results if isinstance(result, Failure)]
    assert [(failure.source, failure.type) for failure in failed] == [(str(paths[3]), "InvalidImage")]
    assert failed[0].hint
    assert sum(isinstance(result, Findings) for result in results) == 11


def test_no_more_than_twice_the_workers_are_held(pipeline: Pipeline, paths: list[Path]) -> None:
    pulled = 0

    def counted() -> Iterator[Path]:
        nonlocal pulled
        for path in paths:
            pulled += 1
            yield path

    for given, _ in enumerate(analyse_files(pipeline, counted(), workers=2)):
        assert pulled <= given + 4
    assert pulled == 12


def test_a_caller_who_stops_does_not_wait_for_files_not_begun(pipeline: Pipeline, paths: list[Path]) -> None:
    seen: list[str] = []
    gate = threading.Event()

    def then(radiograph: Radiograph, _findings: Findings) -> None:
        seen.append(radiograph.source)
        if len(seen) > 1:
            gate.wait(5)

    results = analyse_files(pipeline, [paths[0]] * 12, workers=1, then=then)
    next(results)
    threading.Timer(0.3, gate.set).start()
    results.close()  # type: ignore[attr-defined]
    assert len(seen) <= 2


def test_every_page_is_analysed_and_named(pipeline: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "pages.tiff"
    path.write_bytes(
        builders.pages(*(models.radiograph_pixels(180, 140 + 10 * n, spot=s) for n, s in enumerate((255, 150, 200))))
    )
    results = analyse_file(pipeline, path)
    findings = [result for result in results if isinstance(result, Findings)]
    assert [f.decision for f in findings] == ["fracture", "no_fracture", "doubt"]
    assert [f.width_px for f in findings] == [140, 150, 160]
    assert len({f.source for f in findings}) == 3
    assert len({f.sha256 for f in findings}) == 1


def test_the_consumer_sees_each_radiograph_with_its_findings(pipeline: Pipeline, paths: list[Path]) -> None:
    seen: list[tuple[tuple[int, ...], str]] = []
    results = analyse_file(pipeline, paths[5], then=lambda r, f: seen.append((r.pixels.shape, f.source)))
    assert seen == [((205, 140), str(paths[5]))]
    assert len(results) == 1


def test_min_score_reaches_the_pipeline(pipeline: Pipeline, paths: list[Path]) -> None:
    (result,) = analyse_file(pipeline, paths[2], min_score=0.01)
    assert isinstance(result, Findings)
    assert result.candidates
    ((batch,),) = analyse_files(pipeline, [paths[2]], workers=1, min_score=0.01)
    assert plain([batch]) == plain([result])


def test_slim_findings_lose_only_the_map(pipeline: Pipeline, paths: list[Path]) -> None:
    (result,) = analyse_file(pipeline, paths[0])
    assert isinstance(result, Findings)
    assert isinstance(result.bone.probability_map, np.ndarray)
    assert slim(result).bone.probability_map is None
    assert slim(result) == result
