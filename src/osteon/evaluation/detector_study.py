"""A comparison of detectors: one row a model, figures by the same code on the same pictures, as Markdown and plots."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osteon.datasets.case import Case
from osteon.errors import InvalidDataset
from osteon.evaluation import records
from osteon.evaluation.bootstrap import Interval, intervals
from osteon.evaluation.curves import froc_curve
from osteon.evaluation.detection import Judged, summary
from osteon.evaluation.judge import Progress, Run, record_detector
from osteon.evaluation.operating_points import at_cut, detector_points
from osteon.evaluation.timing import milliseconds
from osteon.inference.card import OperatingPoint
from osteon.inference.session import Session

Figures = Mapping[str, Any]
THREADS = 2
LOCALISATION = {
    "best_iou_mean": "best box IoU, mean",
    "best_iou_max": "max",
    "image_map50": "mAP50 by image",
    "map50": "mAP50",
    "map50_95": "mAP50-95",
    "doubt.box_precision": "precision",
    "doubt.box_recall": "recall",
}
DETECTION = {
    "sensitivity_at_0.1": "sensitivity at 0.1",
    "sensitivity_at_0.25": "0.25",
    "sensitivity_at_0.5": "0.5",
    "sensitivity_at_1.0": "1 false positives an image",
    "auroc": "AUROC",
    "doubt.sensitivity": "doubt: sensitivity",
    "doubt.specificity": "specificity",
    "fracture.sensitivity": "fracture: sensitivity",
    "fracture.specificity": "specificity",
}


def measure(
    model: Path,
    cases: Sequence[Case],
    folder: Path,
    *,
    split_hash: str,
    part: str,
    samples: int = 1000,
    run: Run | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A detector's figures on the cases with 95% intervals, and its time, as JSON.

    `run` is the same model where it is faster, as in `record_detector`; the time is the file's. Every candidate box
    goes into `folder` as records.jsonl.gz. The cuts are those of `detector_points` on these very pictures, alike for
    all rows; without normal pictures there are none.
    """
    session = Session(model, task="detector")
    kept = record_detector(session, cases, split_hash=split_hash, part=part, run=run, progress=progress)
    records.write(kept, folder / "records.jsonl.gz")
    judged = kept.judged()
    points = cuts_of(judged)
    cuts = {name: point.threshold for name, point in points.items()}
    figures: dict[str, float] = summary(judged)
    for name, cut in cuts.items():
        figures |= {f"{name}.{figure}": value for figure, value in at_cut(judged, cut).items()}
    sure = intervals(judged, samples=samples, cuts=cuts)
    return {
        "pictures": len(judged),
        "fractured": sum(p.fractured for p in judged),
        "model": session.ref.to_json(),
        "side_px": session.card.side_px,
        "megabytes": round(model.stat().st_size / 1e6, 1),
        "ms": milliseconds(model, task="detector", threads=THREADS),
        "cuts": cuts,
        "figures": {name: _known(value) for name, value in figures.items()},
        "intervals": {name: _ends(sure[name]) for name in figures if name in sure},
        "froc": [[round(float(x), 4), round(float(y), 4)] for x, y in froc_curve(judged)],
    }


def cuts_of(judged: Sequence[Judged]) -> dict[str, OperatingPoint]:
    """Both operating points; none where there are not both fractured and normal pictures."""
    try:
        return dict(detector_points(judged))
    except InvalidDataset:
        return {}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _ends(interval: Interval) -> list[float | None]:
    return [_known(round(end, 4)) for end in (interval.low, interval.high)]


def markdown(study: Figures) -> str:
    """The study's tables: what each row is and costs, where its boxes lie, and what a reader of films gets.

    Args:
        study: `split`, `part` and `rows`; a row has `label`, `status`, `note`, its settings, and `measured`, or None.
    """
    rows = study["rows"]
    lines = [
        "| row | side px | epochs | learning rate | parameters, M | ms, 2 threads | MB | status |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        measured = row["measured"] or {}
        cells = [row["label"], str(row["side_px"]), row["epochs"], f"{row['learning_rate']:g}"]
        cells += [f"{row['parameters'] / 1e6:.2f}" if row["parameters"] else "–"]
        cells += [_number(measured.get("ms"), 1), _number(measured.get("megabytes"), 1), row["status"]]
        lines.append("| " + " | ".join(cells) + " |")
    for title, columns in (("Localisation", LOCALISATION), ("Detection", DETECTION)):
        lines += ["", f"| {title} | " + " | ".join(columns.values()) + " |", "|---" * (1 + len(columns)) + "|"]
        lines += [
            f"| {row['label']} | " + " | ".join(_cell(row["measured"], name) for name in columns) + " |" for row in rows
        ]
    counts = next((row["measured"] for row in rows if row["measured"]), None)
    if counts:
        lines += [
            "",
            f"On the part `{study['part']}` of split `{study['split']}`: {counts['fractured']} fractured and "
            f"{counts['pictures'] - counts['fractured']} normal pictures. In brackets 95% bootstrap intervals over "
            "pictures. Precision and recall are by box at the doubt cut; cuts are chosen on these very pictures.",
        ]
    notes = [f"- {row['label']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _cell(measured: Figures | None, name: str) -> str:
    if measured is None:
        return "not run"
    value, (low, high) = measured["figures"].get(name), measured["intervals"].get(name, (None, None))
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.2f}–{high:.2f})"


def _number(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def plot(study: Figures, histories: Mapping[str, Sequence[Figures]], path: Path) -> None:
    """FROC of every row, mAP50 against milliseconds with intervals, and learning curves, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in study["rows"] if row["measured"]]
    height = 5.5 + 0.2 * math.ceil(len(rows) / 4)  # the legend has four columns below
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(18, height), layout="constrained")
    for number, row in enumerate(rows, start=1):
        colour, measured = mpl.colormaps["tab20"]((number - 1) % 20), row["measured"]
        left.plot(*zip(*measured["froc"], strict=True), color=colour, label=f"{number}  {row['label']}")
        value = measured["figures"]["map50"]
        low, high = measured["intervals"]["map50"]
        reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
        middle.errorbar(measured["ms"], value, yerr=reach, fmt="o", color=colour, capsize=3)
        beside = (5 + 11 * (number % 2), 4)  # rows of the same network lie one upon the other
        middle.annotate(str(number), (measured["ms"], value), xytext=beside, textcoords="offset points", fontsize=8)
        points = [(point["epoch"], point["map50"]) for point in histories.get(row["name"], ()) if "map50" in point]
        if points:
            right.plot(*zip(*points, strict=True), color=colour, marker=".")
            right.annotate(str(number), points[-1], xytext=(5, -3), textcoords="offset points", fontsize=8)
    middle.margins(x=0.12)  # room for the numbers
    left.set(xscale="symlog", xlim=(0, 10), ylim=(0, 1), xlabel="false positives an image", ylabel="sensitivity")
    left.set_title("FROC, IoU 0.5")
    middle.set(xscale="log", xlabel="milliseconds as ONNX on two threads", ylabel="mAP50", title="What time buys")
    right.set(xlabel="epoch", ylabel="validation mAP50 (averaged weights)", title="Learning")
    if rows:
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
