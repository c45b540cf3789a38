"""A comparison of gates: one row a model, figures by the same code on the same pictures, as Markdown and plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.datasets.case import Case
from osteon.evaluation.gate import GateReading, summary
from osteon.evaluation.judge import Progress, judge_gate
from osteon.evaluation.operating_points import decision, gate_points
from osteon.evaluation.timing import milliseconds
from osteon.inference.session import Session


@dataclass(frozen=True)
class Row:
    """A model of the study.

    Attributes:
        label: how the table calls it.
        model: its ONNX file.
        history: `history.jsonl` of its training, for the learning curve; None: no curve.
    """

    label: str
    model: Path
    history: Path | None = None


@dataclass(frozen=True)
class Measured:
    """A row's figures: readings on every picture, milliseconds of one run by threads, size of the file."""

    row: Row
    readings: tuple[GateReading, ...]
    ms: Mapping[int, float]
    megabytes: float

    def figures(self) -> dict[str, Any]:
        """The row as JSON: Dice, IoU, by body part, and the decision at cuts chosen on these pictures."""
        cuts = {name: point.threshold for name, point in gate_points(self.readings).items()}
        decided = decision(self.readings, area_fraction=cuts["area_fraction"], confidence=cuts["confidence"])
        return {
            "model": self.row.label,
            **summary(self.readings),
            "decision": decided,
            "cuts": cuts,
            "ms": dict(self.ms),
            "megabytes": round(self.megabytes, 1),
        }


def measure(row: Row, cases: Sequence[Case], *, progress: Progress | None = None) -> Measured:
    """Run one model over the cases, and time it on one and two threads with nothing else measured."""
    session = Session(row.model, task="gate")
    readings = tuple(judge_gate(session, cases, progress=progress))
    ms = {threads: milliseconds(row.model, task="gate", threads=threads) for threads in (1, 2)}
    return Measured(row, readings, ms, row.model.stat().st_size / 1e6)


def markdown(rows: Sequence[Measured]) -> str:
    """Two tables: figures, and Dice by body part."""
    figures = [row.figures() for row in rows]
    parts = sorted({part for figure in figures for part in figure["dice_by_body_part"]})
    head = "| model | Dice mean | median | best | IoU mean | median | best | recall | specificity | ms, 1 thread"
    lines = [head + " | ms, 2 threads | MB |", "|---" * 12 + "|"]
    for f in figures:
        cells = [f["model"]]
        cells += [f"{f[name][value]:.3f}" for name in ("dice", "iou") for value in ("mean", "median", "best")]
        cells += [f"{f['decision'][name]:.3f}" for name in ("recall", "specificity")]
        cells += [f"{f['ms'][1]:.1f}", f"{f['ms'][2]:.1f}", f"{f['megabytes']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| Dice by body part | " + " | ".join(parts) + " |", "|---" * (len(parts) + 1) + "|"]
    for f in figures:
        by_part = f["dice_by_body_part"]
        cells = [f"{by_part[part]['mean']:.3f} ({by_part[part]['count']})" for part in parts]
        lines.append(f"| {f['model']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Measured], histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Distribution of Dice over the pictures, bone shown by radiographs and by others, and learning curves, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    left.boxplot([[r.dice for r in row.readings if r.dice is not None] for row in rows], orientation="horizontal")
    left.set_yticks(range(1, len(rows) + 1), [row.row.label for row in rows])
    left.set(xlabel="Dice of bone, one value a picture", title="Outlines")
    for radiograph, colour, name in ((True, "tab:blue", "radiographs"), (False, "tab:orange", "other pictures")):
        chosen = [r for r in rows[0].readings if r.radiograph == radiograph]
        middle.plot(
            [max(r.area_fraction, 1e-4) for r in chosen],
            [r.confidence for r in chosen],
            ".",
            color=colour,
            label=name,
            alpha=0.6,
        )
    middle.set(xscale="log", xlabel="area fraction", ylabel="confidence", title=f"Decision: {rows[0].row.label}")
    middle.legend(loc="upper left")
    for label, history in histories.items():
        points = [(row["epoch"], row["dice"]) for row in history if "dice" in row]
        right.plot([p[0] for p in points], [p[1] for p in points], label=label)
    right.set(xlabel="epoch", ylabel="validation Dice (averaged weights)", title="Learning")
    right.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
