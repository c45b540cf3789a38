"""A comparison of bones models: one row a model, the same figures on the same pictures, as Markdown and plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osteon.evaluation.bone_records import BoneRecords
from osteon.evaluation.instance_figures import best_cuts, report
from osteon.evaluation.instance_tables import COLUMNS, LEGEND, cell, number
from osteon.evaluation.plain import plain

Figures = Mapping[str, Any]
BY_PART = {"ap50": "mask AP50", "matched_iou_mean": "IoU of matched", "union_dice": "Dice"}
CLASSES = {"class_ap50": "AP50 over classes", "class_ap50_95": "AP50-95 over classes"}
NOT_RUN = "not run"


def measure(kept: BoneRecords, *, samples: int) -> dict[str, Any]:
    """A row's figures as JSON, shown at the cuts that are best on these very pictures, alike for all rows."""
    cuts = best_cuts(kept.pictures, kept.origin.labels)
    found = report(kept.pictures, kept.origin.labels, [cuts] * len(kept.pictures), samples=samples)
    told: dict[str, Any] = plain(found | {"cuts": cuts._asdict(), "labels": list(kept.origin.labels)})
    return told


def markdown(study: Figures, histories: Mapping[str, Sequence[Figures]]) -> str:
    """The study's tables: what each row is, its figures, by body part, by class, and how its training went.

    Args:
        study: `split`, `part` and `rows`; a row has `label`, `status`, `note`, its settings, and `measured`, or None.
        histories: of the trainings, by name of the row.
    """
    rows = study["rows"]
    head = ["row", "classes", "films", "side px", "epochs", "parameters, M", "ms, 2 threads", "MB", "status"]
    lines = _table(head, [_what(row) for row in rows])
    lines += ["", *_table(["row", *COLUMNS.values()], [_cells(row, COLUMNS) for row in rows])]
    counted = next((row["measured"] for row in rows if row["measured"]), None)
    if counted:
        metal = counted["with_metal"]
        lines += [
            "",
            f"On the part `{study['part']}` of split `{study['split']}`: {counted['pictures']} pictures, "
            f"{counted['bones']} bones, {metal} with metal. {LEGEND} Each row is cut where it is best on these "
            "very pictures.",
            "",
            *_by_part(rows, list(counted["by_body_part"])),
        ]
    several = [row for row in rows if row["measured"] and "class_ap50" in row["measured"]["figures"]]
    if several:
        lines += ["", *_table(["row", *CLASSES.values()], [_cells(row, CLASSES) for row in several])]
    lines += ["", *_learning(rows, histories)]
    notes = [f"- {row['label']}: {row['note']}" for row in rows if row["note"]]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def _what(row: Figures) -> list[str]:
    measured, settings = row["measured"] or {}, row["settings"]["bones"]
    parameters = f"{row['parameters'] / 1e6:.2f}" if row["parameters"] else "–"
    share = f"{settings['share']:.0%}" if row["epochs"] != "–" else "–"
    classes = ", ".join(measured.get("labels", ())) if row["epochs"] == "–" else settings["classes"]
    cells = [row["label"], _short(classes), share, str(row["side_px"]), row["epochs"], parameters]
    return [*cells, _places(measured.get("ms")), _places(measured.get("megabytes")), row["status"]]


def _short(classes: str) -> str:
    return classes if len(classes) < 20 else f"{classes.count(',') + 1} classes"


def _places(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _cells(row: Figures, names: Mapping[str, str]) -> list[str]:
    if not row["measured"]:
        return [row["label"], *[NOT_RUN] * len(names)]
    return [row["label"], *(cell(row["measured"], name) for name in names)]


def _by_part(rows: Sequence[Figures], parts: Sequence[str]) -> list[str]:
    """A line a row and figure, a column a body part."""
    lines = []
    for row in rows:
        for name, title in BY_PART.items():
            groups = row["measured"]["by_body_part"] if row["measured"] else {}
            told = [cell(groups[part], name) if part in groups else NOT_RUN for part in parts]
            lines.append([row["label"], title, *told])
    return _table(["row", "figure", *parts], lines) if parts else []


def _learning(rows: Sequence[Figures], histories: Mapping[str, Sequence[Figures]]) -> list[str]:
    """Where validation was best, and where it ended while the training loss went on falling: overfitting, if any."""
    lines = []
    for row in rows:
        history = histories.get(row["name"], ())
        judged = [point for point in history if "ap50" in point]
        if not judged:
            lines.append([row["label"], *[NOT_RUN if not history else "not judged"] * 5])
            continue
        best, last = max(judged, key=lambda point: point["ap50"]), judged[-1]
        cells = [f"{number(best['ap50'])} (epoch {best['epoch']})", f"{number(last['ap50'])} (epoch {last['epoch']})"]
        cells.append(number(last["ap50"] - best["ap50"]))
        lines.append([row["label"], *cells, *(f"{training_loss(point):.2f}" for point in (best, last))])
    head = ["row", "validation AP50: best", "at the end", "fall", "training loss where best", "at the end"]
    return _table(head, lines)


def training_loss(point: Figures) -> float:
    """The parts of the loss of an epoch, added up."""
    return float(sum(value for name, value in point.items() if name.startswith("loss_")))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def plot(study: Figures, histories: Mapping[str, Sequence[Figures]], path: Path) -> None:
    """Training loss and validation figures by epoch, and mask AP50 of every row with its interval, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(18, 5.5), layout="constrained")
    rows = study["rows"]
    palette = mpl.colormaps["tab10" if len(rows) <= 10 else "tab20"]
    for number_, row in enumerate(rows):
        colour, history = palette(number_ % palette.N), histories.get(row["name"], ())
        if history:
            losses = [(point["epoch"], training_loss(point)) for point in history]
            left.plot(*zip(*losses, strict=True), color=colour, label=row["label"])
        for name, style in (("ap50", "-"), ("matched_iou_mean", ":")):
            points = [(point["epoch"], point[name]) for point in history if name in point]
            if points:
                label = row["label"] if name == "ap50" else None
                middle.plot(*zip(*points, strict=True), style, color=colour, label=label, marker=".")
        value, (low, high) = _ends(row)
        if value is not None and low is not None and high is not None:
            reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
            right.errorbar(value, number_, xerr=reach, fmt="o", color=colour, capsize=3)
    left.set(xlabel="epoch", ylabel="training loss", yscale="log", title="Learning: training")
    middle.set(xlabel="epoch", ylabel="mask AP50; dotted: IoU of matched", ylim=(0, 1), title="Learning: validation")
    right.set_yticks(range(len(rows)), [row["label"] for row in rows])
    right.set(xlabel="mask AP50, anatomy-blind", xlim=(0, 1), title="Rows")
    right.invert_yaxis()
    for axes in (left, middle):
        if axes.has_data():
            axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _ends(row: Figures) -> tuple[float | None, tuple[float | None, float | None]]:
    measured = row["measured"] or {"figures": {}, "intervals": {}}
    low, high = measured["intervals"].get("ap50", (None, None))
    return measured["figures"].get("ap50"), (low, high)
