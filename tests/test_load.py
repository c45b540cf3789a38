"""The load test itself: what it sends, counts and concludes; its figures are of machines, not of tests."""

from pathlib import Path

import pytest

from osteon import read
from osteon.cli.load_test import _PARTS
from osteon.load import measures
from osteon.load.films import SIZE_PX, film, film_name
from osteon.load.measures import MEASURES, Extent, burst


def test_no_two_films_are_alike_and_each_is_a_radiograph_that_can_be_read() -> None:
    films = [film(number) for number in (0, 1, 2, 255, 256, 4095)]
    assert len(set(films)) == len(films)
    assert len({film_name(number) for number in range(300)}) == 300
    radiograph = read(films[3], name="film.jpg")[0]
    assert (radiograph.height_px, radiograph.width_px) == SIZE_PX
    assert radiograph.chroma == 0


def test_command_offers_every_part() -> None:
    assert tuple(MEASURES) == _PARTS


@pytest.mark.parametrize(
    ("values", "percent", "expected"), [([5, 1, 9], 50, 5), (list(range(100)), 95, 95), ([7], 95, 7)]
)
def test_percentile(values: list[float], percent: int, expected: float) -> None:
    assert measures._percentile(values, percent) == expected


def test_ratio_is_of_neighbours() -> None:
    """A slow minute, in which both take ten times as long, changes nothing."""
    bare = [(1.0, 1.0), (10.0, 1.0), (1.0, 1.0)]
    busy = [(1.1, 3.0), (11.0, 2.0), (1.1, 2.0)]
    assert measures._median_ratio(busy, bare, 0) == pytest.approx(1.1)
    assert measures._median_ratio(busy, bare, 1) == 2.0


def test_small_burst_loses_nothing(tmp_path: Path) -> None:
    """A whole part in miniature, with the real command in a process of its own."""
    measure = burst(tmp_path, Extent(uploads=5, clients=3))
    counted = [measure.figures[name] for name in ("uploads", "lost", "twice", "not succeeded", "page requests refused")]
    assert counted == [5, 0, 0, 0, 0]
    assert {"asset ms, 95th percentile", "thumbnail ms, 95th percentile"} <= measure.figures.keys()
