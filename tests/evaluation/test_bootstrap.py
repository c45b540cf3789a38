"""Intervals: the same figures as the slow way, and the ends that statistics knows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_detection_figures import drawn_pictures, judged

from osteon.evaluation.bootstrap import Interval, MatchTable, intervals, wilson
from osteon.evaluation.detection import Judged, summary
from osteon.evaluation.operating_points import at_cut

BOX = [0, 0, 10, 10]


def pictures_with(called: int, silent: int, *, fractured: bool) -> list[Judged]:
    """Pictures with one good box of score 0.9, and pictures without any."""
    truth = [BOX] if fractured else []
    return [judged([BOX], [0.9], truth)] * called + [judged([], [], truth)] * silent


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_a_weighted_figure_is_that_of_the_pictures_repeated(seed: int, whole: bool) -> None:
    pictures = drawn_pictures(seed, whole=whole, count=12, most=30)
    weights = np.random.default_rng(seed).poisson(1, len(pictures))
    repeated = [p for p, weight in zip(pictures, weights, strict=True) for _ in range(weight)]
    figures = MatchTable.of(pictures, {"doubt": 0.5}).figures(weights)
    if repeated:
        expected = summary(repeated) | {f"doubt.{name}": value for name, value in at_cut(repeated, 0.5).items()}
        assert figures == pytest.approx(expected, abs=6e-5, nan_ok=True)


def test_every_figure_lies_in_its_interval_and_has_one() -> None:
    pictures = drawn_pictures(3, whole=False, count=40)
    expected = summary(pictures) | {f"doubt.{name}": value for name, value in at_cut(pictures, 0.97).items()}
    found = intervals(pictures, samples=300, cuts={"doubt": 0.97})
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].low - 1e-4 <= value <= found[name].high + 1e-4, name
        assert found[name].low < found[name].high, name


def test_the_same_seed_gives_the_same_intervals_and_another_does_not() -> None:
    pictures = drawn_pictures(4, whole=False, count=20)
    assert intervals(pictures, samples=50) == intervals(pictures, samples=50)
    assert intervals(pictures, samples=50) != intervals(pictures, samples=50, seed=1)


@pytest.mark.parametrize(("called", "count"), [(70, 100), (180, 200)])
def test_the_interval_of_a_share_has_binomial_ends(called: int, count: int) -> None:
    """A sample's count is binomial; its 2.5th and 97.5th percentile are known."""
    share = called / count
    chances = np.array([math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)])
    low, high = (int(np.searchsorted(np.cumsum(chances), q)) / count for q in (0.025, 0.975))
    pictures = pictures_with(called, count - called, fractured=True) + pictures_with(5, 45, fractured=False)
    found = intervals(pictures, samples=2000, cuts={"doubt": 0.5})
    assert found["doubt.box_recall"].low == pytest.approx(low, abs=1.5 / count)
    assert found["doubt.box_recall"].high == pytest.approx(high, abs=1.5 / count)
    assert found["doubt.sensitivity"] == wilson(called, count)
    assert found["doubt.specificity"] == wilson(45, 50)


def test_the_interval_of_auroc_has_the_width_of_delong() -> None:
    """DeLong, DeLong & Clarke-Pearson 1988: variance of the mean of each picture's share of ordered pairs."""
    rng = np.random.default_rng(5)
    normal, fractured = rng.normal(0, 1, 300), rng.normal(1.2, 1, 150)
    ordered = fractured[:, None] > normal
    variance = ordered.mean(axis=1).var(ddof=1) / 150 + ordered.mean(axis=0).var(ddof=1) / 300
    pictures = [judged([BOX], [1 / (1 + math.exp(-v))], []) for v in normal]
    pictures += [judged([BOX], [1 / (1 + math.exp(-v))], [BOX]) for v in fractured]
    assert intervals(pictures)["auroc"].half_width == pytest.approx(1.96 * math.sqrt(variance), rel=0.1)


def test_fractured_and_normal_pictures_are_drawn_apart() -> None:
    """One normal picture of eleven, with the best score: a sample with two of it would have 0.18 false positives."""
    normal = judged([BOX], [0.95], [])
    found = intervals([normal, *pictures_with(10, 0, fractured=True)], samples=300)
    assert found["sensitivity_at_0.1"] == Interval(1.0, 1.0)


def test_a_wider_level_gives_a_wider_interval() -> None:
    pictures = drawn_pictures(4, whole=False, count=20)
    narrow, wide = (intervals(pictures, samples=400, level=level)["map50"] for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_what_has_no_value_has_no_interval() -> None:
    found = intervals(pictures_with(3, 1, fractured=True), samples=20, cuts={"c": 0.5})
    assert math.isnan(found["auroc"].low) and math.isnan(found["c.specificity"].high)
    assert intervals([], samples=5, cuts={"c": 0.5})["map50"] == Interval(0.0, 0.0)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (45, 50, 0.7864, 0.9565)]
)
def test_wilson_as_in_the_tables(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count).low == pytest.approx(low, abs=1e-4)
    assert wilson(hits, count).high == pytest.approx(high, abs=1e-4)
    assert wilson(0, 0) == Interval(0.0, 1.0)
