"""Cuts and calibration keep what they promise on their own data."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.errors import InvalidDataset
from osteon.evaluation.detection import Judged
from osteon.evaluation.operating_points import (
    Shown,
    at_cut,
    box_outcomes,
    calibration_error,
    decision,
    detector_points,
    fit_calibration,
    gate_points,
    picture_scale,
    scaled,
)
from osteon.inference.card import PictureScale
from osteon.inference.postprocess import Detections

HIT, MISS = (0, 0, 10, 10), (50, 50, 60, 60)


def picture(score: float | None, *, fractured: bool, hit: bool = True) -> Judged:
    """A picture with one box of this score, or none."""
    boxes = [] if score is None else [HIT if hit else MISS]
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array([] if score is None else [score], np.float32)
    )
    return Judged("drawn", found, np.array([HIT] if fractured else [], np.float32).reshape(-1, 4))


shown = st.floats(0, 1)
close = st.floats(0.5, 0.5005)
readings = st.tuples(st.one_of(shown, close), st.one_of(shown, close))


@given(st.lists(readings, min_size=1, max_size=12), st.lists(readings, min_size=1, max_size=12))
def test_gate_cuts_turn_away_no_radiograph(
    radiographs: list[tuple[float, float]], others: list[tuple[float, float]]
) -> None:
    pictures = [Shown(True, *r) for r in radiographs] + [Shown(False, *r) for r in others]
    points = gate_points(pictures)
    cuts = {name: point.threshold for name, point in points.items()}
    figures = decision(pictures, area_fraction=cuts["area_fraction"], confidence=cuts["confidence"])
    assert figures["recall"] == 1
    assert points["confidence"].measured == figures
    at_the_lowest = decision(
        pictures, area_fraction=min(r[0] for r in radiographs), confidence=min(r[1] for r in radiographs)
    )
    assert figures["specificity"] >= min(0.98, at_the_lowest["specificity"]) - 0.5 / len(others) or any(
        abs(o[0] - min(r[0] for r in radiographs)) < 2e-4 or abs(o[1] - min(r[1] for r in radiographs)) < 2e-4
        for o in others
    )


def test_gate_cuts_lower_the_confidence_first_and_then_the_area() -> None:
    pictures = [Shown(True, 0.4, 0.9), Shown(True, 0.6, 0.8), Shown(False, 0.1, 0.7), Shown(False, 0.0, 0.0)]
    points = gate_points(pictures)
    assert points["area_fraction"].threshold == pytest.approx(0.104, abs=1e-4)  # 26 hundredths of 0.4
    assert points["confidence"].threshold == pytest.approx(0.65, abs=1e-4)  # half the way from 0.5 to 0.8
    assert points["area_fraction"].measured == {"radiographs": 2, "others": 2, "recall": 1, "specificity": 1}


@pytest.mark.parametrize("radiograph", [True, False])
def test_gate_cuts_need_both_kinds(radiograph: bool) -> None:
    with pytest.raises(InvalidDataset):
        gate_points([Shown(radiograph, 0.5, 0.5)])


def heavy(judged: Judged, mass: float) -> Judged:
    return replace(judged, found=replace(judged.found, mass=mass))


scores = st.one_of(
    st.floats(0.02, 1).map(lambda v: float(np.float32(v))),
    st.sampled_from((0.25, 0.5, 0.523456, 0.5234567, 1.0)),
    st.floats(0.5, 0.50001),
)


@given(st.lists(scores, min_size=1, max_size=45), st.lists(st.one_of(st.none(), scores), min_size=1, max_size=45))
def test_detector_cuts_reach_their_sensitivity_and_specificity(
    fractured: list[float], normal: list[float | None]
) -> None:
    pictures = [picture(s, fractured=True) for s in fractured] + [picture(s, fractured=False) for s in normal]
    points = detector_points(pictures)
    assert points["doubt"].measured["sensitivity"] >= 0.9
    assert points["fracture"].measured["specificity"] >= 0.95
    assert points["fracture"].threshold >= points["doubt"].threshold
    for point in points.values():
        assert point.measured == at_cut(pictures, point.threshold)


def test_detector_cuts_are_the_best_that_do() -> None:
    pictures = [picture(s, fractured=True) for s in np.linspace(0.51, 0.7, 20)]
    pictures += [picture(s, fractured=False) for s in np.linspace(0.11, 0.3, 20)]
    points = detector_points(pictures)
    assert points["doubt"].threshold == pytest.approx(0.52, abs=1e-5)
    assert points["fracture"].threshold == points["doubt"].threshold
    worse = [picture(s, fractured=False) for s in np.linspace(0.61, 0.8, 20)]
    assert detector_points([*pictures[:20], *worse])["fracture"].threshold == pytest.approx(0.79, abs=1e-5)


masses = st.one_of(st.floats(1e-3, 1e3), st.sampled_from((1.0, 2.0)))


@given(st.lists(masses, min_size=1, max_size=45), st.lists(masses, min_size=1, max_size=45))
def test_a_scale_of_masses_reaches_sensitivity_and_specificity(fractured: list[float], normal: list[float]) -> None:
    cuts = {"fracture": 0.3, "doubt": 0.05}
    kinds = ((True, fractured), (False, normal))
    plain = [heavy(picture(0.2, fractured=kind), mass) for kind, values in kinds for mass in values]
    scale = picture_scale(plain, cuts)
    assert scale and scale.slope > 0
    pictures = scaled(plain, scale)
    assert at_cut(pictures, cuts["doubt"])["sensitivity"] >= 0.9
    assert at_cut(pictures, cuts["fracture"])["specificity"] >= 0.95
    assert all(p.found.top == pytest.approx(0.2) for p in pictures), "boxes keep their scores"


def test_no_scale_without_masses_or_cuts() -> None:
    plain = [picture(0.2, fractured=True), picture(0.1, fractured=False)]
    some = [heavy(plain[0], 1.0), plain[1]]
    assert picture_scale(some, {"fracture": 0.3, "doubt": 0.05}) is None
    both = [heavy(p, 1.0) for p in plain]
    for fracture, doubt in ((0.3, 0.3), (1.000001, 0.2)):
        assert picture_scale(both, {"fracture": fracture, "doubt": doubt}) is None
    assert picture_scale([heavy(p, 0.0) for p in plain], {"fracture": 0.3, "doubt": 0.05}) is None


def test_boxes_shown_on_a_picture_judged_as_a_whole() -> None:
    """A quiet picture shows none of its boxes, a suspicious one its best at least."""
    scale = PictureScale(slope=1.0, intercept=0.0)
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    found = Detections(boxes, np.array([0.4, 0.2], np.float32), 1.0, scale)
    assert found.best == 0.5 and found.top == pytest.approx(0.4)
    assert found.shown(0.3).tolist() == [True, False]
    assert found.shown(0.45).tolist() == [True, False], "the picture reaches it, no box does"
    quiet = replace(found, mass=0.1)
    assert quiet.best == pytest.approx(1 / 11)
    assert quiet.shown(0.3).tolist() == [False, False], "boxes reach it, the picture does not"
    assert replace(found, scale=None).shown(0.15).tolist() == [True, True]
    empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 5.0, scale)
    assert empty.best == 0 and empty.shown(0.1).shape == (0,)


@pytest.mark.parametrize("fractured", [True, False])
def test_detector_cuts_need_both_kinds(fractured: bool) -> None:
    with pytest.raises(InvalidDataset):
        detector_points([picture(0.5, fractured=fractured)])


def test_at_cut_by_hand() -> None:
    pictures = [
        picture(0.9, fractured=True),
        picture(0.7, fractured=True, hit=False),
        picture(0.4, fractured=True),
        picture(0.6, fractured=False),
        picture(None, fractured=False),
    ]
    assert at_cut(pictures, 0.5) == {
        "sensitivity": 0.6667,
        "specificity": 0.5,
        "box_precision": 0.3333,
        "box_recall": 0.3333,
    }
    assert at_cut(pictures, 0.95)["box_precision"] == 0


def test_box_outcomes_pair_every_box_with_its_hit() -> None:
    scores, hits = box_outcomes(
        [picture(0.9, fractured=True), picture(0.5, fractured=False), picture(0.2, fractured=True, hit=False)]
    )
    assert scores == pytest.approx([0.9, 0.5, 0.2])
    assert hits.tolist() == [True, False, False]


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.6, -1.2), (2.5, 0.8)])
def test_calibration_recovers_a_known_logistic(slope: float, intercept: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.01, 0.99, 40_000)
    chance = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + intercept)))
    fitted = fit_calibration(scores, rng.random(40_000) < chance)
    assert fitted.slope == pytest.approx(slope, rel=0.06)
    assert fitted.intercept == pytest.approx(intercept, abs=0.06)
    probabilities = [fitted.probability(score) for score in np.linspace(0, 1, 101)]
    assert (np.diff(probabilities) >= 0).all()
    assert calibration_error(np.array([fitted.probability(s) for s in scores]), rng.random(40_000) < chance) < 0.02


@given(st.integers(0, 10_000), st.integers(4, 60))
def test_calibration_has_the_highest_likelihood_of_all_curves_near_it(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.005, 0.995, count)
    hits = rng.random(count) < scores
    hits[0], hits[1] = True, False
    fitted = fit_calibration(scores, hits)
    wanted = np.where(hits, (hits.sum() + 1) / (hits.sum() + 2), 1 / ((~hits).sum() + 2))

    def loss(slope: float, intercept: float) -> float:
        logit = slope * np.log(scores / (1 - scores)) + intercept
        return float((np.logaddexp(0, logit) - wanted * logit).sum())

    best = loss(fitted.slope, fitted.intercept)
    for change in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert best <= loss(fitted.slope + change[0], fitted.intercept + change[1]) + 1e-9


def test_calibration_of_perfectly_separated_boxes_is_steep_and_finite() -> None:
    fitted = fit_calibration(np.array([1e-6] * 50 + [0.49] + [0.51] + [1.0] * 50), np.arange(102) > 50)
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert fitted.probability(1) == pytest.approx(52 / 53, abs=0.005)
    assert fitted.probability(0) == pytest.approx(1 / 53, abs=0.005)


@pytest.mark.parametrize("hit", [True, False])
def test_calibration_needs_hits_and_misses(hit: bool) -> None:
    with pytest.raises(InvalidDataset):
        fit_calibration(np.array([0.2, 0.8]), np.array([hit, hit]))


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([0.05, 0.05, 0.95, 1.0])
    hits = np.array([False, True, True, True])
    assert calibration_error(probabilities, hits) == pytest.approx((0.45 * 2 + 0.025 * 2) / 4, abs=1e-4)
    assert calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0
