"""The charts of a detector's report, made from its JSON document and nothing else."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from osteon.evaluation import curves
from osteon.evaluation.detection import FALSE_POSITIVE_RATES, Judged
from osteon.evaluation.svg import BLUE, GREEN, GREY, RUST, Bar, Chart, Line, Mark

_SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)
_SCORES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
_CUTS = np.geomspace(0.005, 1, 120)
_EDGES = np.geomspace(0.005, 1, 25)
_COLOURS = {"doubt": RUST, "fracture": "#a3241d"}


def points(judged: Sequence[Judged]) -> dict[str, Any]:
    """The curves as rows of numbers: what the charts draw."""
    shares = curves.shares_at(judged, _CUTS)
    return {
        "precision_recall": curves.precision_recall_curve(judged).tolist(),
        "froc": curves.froc_curve(judged).tolist(),
        "roc": curves.roc_curve(judged).tolist(),
        "by_cut": [[float(cut), *map(float, pair)] for cut, pair in zip(_CUTS, shares, strict=True)],
        "scores": [list(row) for row in _histogram(judged)],
    }


def _histogram(judged: Sequence[Judged]) -> list[tuple[float, float, float]]:
    """(score, share of fractured, share of normal pictures whose score is in the bin that begins there)."""
    rows = []
    for kind in (True, False):
        best = np.clip([p.found.best for p in judged if p.fractured == kind], _EDGES[0], _EDGES[-1])
        rows.append(np.histogram(best, _EDGES)[0] / max(1, len(best)))
    fractured, normal = (np.append(row, 0) for row in rows)
    return [(float(e), float(a), float(b)) for e, a, b in zip(_EDGES, fractured, normal, strict=True)]


def charts(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(title, drawing, what it shows) of each chart."""
    drawn = [_precision_recall(found), _froc(found), _roc(found), _scores(found), _by_cut(found)]
    if found["calibration"]:
        drawn.insert(3, _reliability(found))
    return [(title, chart.svg(title), text) for title, chart, text in drawn]


def _precision_recall(found: Mapping[str, Any]) -> tuple[str, Chart, str]:
    lines = [Line([(0.0, 1.0), *found["curves"]["precision_recall"]], BLUE)]
    title = f"Precision and recall (mAP50 {found['figures']['map50']:.2f})"
    text = "By box, fractured pictures only. A box counts where it overlaps a fracture's box by half (IoU 0.5)."
    chart = Chart("recall: share of fractures boxed", "precision: share of boxes right", _SHARES, lines=lines)
    return title, chart, text


def _froc(found: Mapping[str, Any]) -> tuple[str, Chart, str]:
    bars = []
    for rate in FALSE_POSITIVE_RATES:
        name = f"sensitivity_at_{rate}"
        value, (low, high) = found["figures"][name], found["intervals"][name]
        bars.append(Bar(rate, value, low, high, BLUE, f"{value:.2f} ({low:.2f} to {high:.2f}) at {rate}"))
    ticks = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)
    lines = [Line(found["curves"]["froc"], BLUE, steps=True)]
    chart = Chart("false positives a picture", "share of fractures boxed", ticks, log_x=True, lines=lines, bars=bars)
    title = f"FROC ({found['figures']['sensitivity_at_0.25']:.2f} at 0.25)"
    return title, chart, "All pictures, normal ones too. Bars: 95% intervals at 0.1, 0.25, 0.5 and 1."


def _roc(found: Mapping[str, Any]) -> tuple[str, Chart, str]:
    lines = [Line([(0, 0), (1, 1)], GREY, "chance", dashed=True), Line(found["curves"]["roc"], BLUE, "by picture")]
    marks = []
    for name, point in found["operating_points"].items():
        x, y = 1 - point["figures"]["specificity"], point["figures"]["sensitivity"]
        if not math.isnan(x + y):
            marks.append(Mark(x, y, name, _COLOURS[name]))
    auroc = found["figures"]["auroc"]
    title = "ROC by picture" + ("" if math.isnan(auroc) else f" (AUROC {auroc:.2f})")
    chart = Chart("1 - specificity", "sensitivity", _SHARES, lines=lines, marks=marks)
    return title, chart, "By the picture's own score, see below. Rings: the model's two cuts."


def _reliability(found: Mapping[str, Any]) -> tuple[str, Chart, str]:
    bars = []
    for b in found["calibration"]["bins"]:
        title = f"{b['boxes']} boxes: probability {b['probability']:.2f}, right {b['share']:.2f}"
        low, high = b["interval"]
        bars.append(Bar(b["probability"], b["share"], low, high, BLUE, title))
    lines = [Line([(0, 0), (1, 1)], GREY, "as it should be", dashed=True)]
    shown = found["calibration"]["shown"]
    title = "Reliability" + ("" if math.isnan(shown["ece"]) else f" (ECE {shown['ece']:.2f})")
    text = "Does 'probability 0.6' hit in 6 of 10? ECE of the boxes with probability 0.05 or more; hit: IoU 0.3."
    chart = Chart("probability that the model gives", "share of boxes right", _SHARES, lines=lines, bars=bars)
    return title, chart, text


def _scores(found: Mapping[str, Any]) -> tuple[str, Chart, str]:
    rows = found["curves"]["scores"]
    top = max((max(a, b) for _, a, b in rows), default=0.0)
    step = next((s for s in (0.02, 0.05, 0.1, 0.2) if top <= 5 * s), 0.2)
    lines = [
        Line([(edge, normal) for edge, _, normal in rows], GREY, "normal", steps=True, filled=True),
        Line([(edge, fractured) for edge, fractured, _ in rows], RUST, "fractured", steps=True, filled=True),
    ]
    ticks = [round(step * i, 2) for i in range(6)]
    chart = Chart("score", "share of pictures", _SCORES, ticks, True, lines=lines, marks=_cuts(found))
    return "Scores of fractured and normal pictures", chart, "The further apart the two, the better; lines: the cuts."


def _by_cut(found: Mapping[str, Any]) -> tuple[str, Chart, str]:
    rows = found["curves"]["by_cut"]
    lines = [
        Line([(cut, sensitivity) for cut, sensitivity, _ in rows], RUST, "sensitivity"),
        Line([(cut, specificity) for cut, _, specificity in rows], GREEN, "specificity"),
    ]
    chart = Chart("cut on the score", "share of pictures", _SCORES, log_x=True, lines=lines, marks=_cuts(found))
    return "What another cut would give", chart, "By picture. Choose a cut of your own on pictures of your own."


def _cuts(found: Mapping[str, Any]) -> list[Mark]:
    return [Mark(p["threshold"], None, name, _COLOURS[name]) for name, p in found["operating_points"].items()]
