"""`osteon evaluate`: figures of a model on any data set that can be read."""

import json
from pathlib import Path
from typing import Any

import click

from osteon.cli.progress import bars

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PLACE = click.Path(exists=True, path_type=Path)


@click.group()
def evaluate() -> None:
    """Figures of a gate or a detector on a data set, as JSON; runs on ONNX Runtime, without torch."""


@evaluate.command(
    "detector",
    epilog="""\b
Examples:
  osteon evaluate detector --data FracAtlas --split split.json
  osteon evaluate detector --data clinic/ --model detector.onnx > figures.json
""",
)
@click.option("--data", "place", type=PLACE, required=True, help="Data set with boxes or polygons, and normals.")
@click.option("--split", "split_file", type=FILE, help="Only the part of this split.")
@click.option("--part", default="valid", show_default=True, help="Part of the split.")
@click.option("--model", type=FILE, help="Detector. [default: the installed one]")
def evaluate_detector(place: Path, split_file: Path | None, part: str, model: Path | None) -> None:
    """Average precision, FROC, AUROC, sensitivity and specificity at the card's operating points."""
    from osteon.datasets.recognise import open_dataset
    from osteon.evaluation import detection
    from osteon.evaluation.judge import judge_detector
    from osteon.evaluation.operating_points import at_cut
    from osteon.inference.pipeline import DETECTOR_FILE
    from osteon.inference.session import Session

    manifest, split_hash = _selected(open_dataset(place), split_file, part)
    session = Session(model or DETECTOR_FILE, task="detector")
    with bars() as report:
        judged = judge_detector(session, manifest.cases, progress=report)
    figures: dict[str, Any] = {"fractured": sum(p.fractured for p in judged), "pictures": len(judged)}
    figures |= detection.summary(judged)
    points = session.card.operating_points
    figures["operating_points"] = {name: at_cut(judged, point.threshold) for name, point in points.items()}
    _give(figures, session, split_hash, part)


@evaluate.command(
    "gate",
    epilog="""\b
Examples:
  osteon evaluate gate --data bonemasks/instances.json --films FracAtlas --negatives photographs/ --split split.json
""",
)
@click.option("--data", "place", type=PLACE, required=True, help="Data set with masks or outlines.")
@click.option("--films", type=PLACE, help="FracAtlas, where --data outlines its films.")
@click.option("--negatives", type=PLACE, help="Folder of pictures that are not radiographs.")
@click.option("--split", "split_file", type=FILE, help="Only the part of this split.")
@click.option("--part", default="valid", show_default=True, help="Part of the split.")
@click.option("--model", type=FILE, help="Gate. [default: the installed one]")
def evaluate_gate(
    place: Path, films: Path | None, negatives: Path | None, split_file: Path | None, part: str, model: Path | None
) -> None:
    """Dice and IoU of bone, by body part too, and recall and specificity of the decision "shows bone"."""
    from osteon.datasets.bonemasks import open_masks
    from osteon.evaluation import gate
    from osteon.evaluation.judge import judge_gate
    from osteon.evaluation.operating_points import decision
    from osteon.inference.pipeline import GATE_FILE
    from osteon.inference.session import Session

    manifest, split_hash = _selected(open_masks(place, films=films, negatives=negatives), split_file, part)
    session = Session(model or GATE_FILE, task="gate")
    with bars() as report:
        readings = judge_gate(session, manifest.cases, progress=report)
    figures = gate.summary(readings)
    figures["decision"] = decision(
        readings, area_fraction=session.card.cut("area_fraction"), confidence=session.card.cut("confidence")
    )
    _give(figures, session, split_hash, part)


def _selected(manifest: Any, split_file: Path | None, part: str) -> tuple[Any, str]:
    from osteon.datasets.split import Split

    if not split_file:
        return manifest, ""
    split = Split.read(split_file)
    return split.select(manifest, part), split.hash


def _give(figures: dict[str, Any], session: Any, split_hash: str, part: str) -> None:
    model = session.ref.to_json()
    split = {"hash": split_hash, "part": part} if split_hash else None
    click.echo(json.dumps({"model": model, "split": split, "figures": figures}, indent=1))
