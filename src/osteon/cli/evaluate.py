"""`osteon evaluate`: figures of a model on any data set that can be read."""

import json
from pathlib import Path
from typing import Any

import click

from osteon.cli import message
from osteon.cli.bone_judge import evaluate_bone_judge
from osteon.cli.demotion import evaluate_demotion
from osteon.cli.progress import bars
from osteon.errors import ConfigurationError

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PLACE = click.Path(exists=True, path_type=Path)
OUT = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def evaluate() -> None:
    """Figures of a model on a data set, as JSON; runs on ONNX Runtime, without torch."""


evaluate.add_command(evaluate_bone_judge)
evaluate.add_command(evaluate_demotion)


@evaluate.command(
    "detector",
    epilog="""\b
Examples:
  osteon evaluate detector --data FracAtlas --split split.json
  osteon evaluate detector --data clinic/ --report report/
  osteon evaluate detector --data export.xml --images films/ --model detector.onnx > figures.json
  osteon evaluate detector --data FracAtlas --split folds.json --part fold1 --records fold1.jsonl.gz
""",
)
@click.option("--data", "place", type=PLACE, required=True, help="Data set with boxes or polygons, and normals.")
@click.option("--images", type=PLACE, help="Folder of the pictures, if not beside the labels.")
@click.option("--split", "split_file", type=FILE, help="Only the part of this split.")
@click.option("--part", default="valid", show_default=True, help="Part of the split.")
@click.option("--model", type=FILE, help="Detector. [default: the installed one]")
@click.option("--gate", type=FILE, help="Gate, asked for the report. [default: the installed one]")
@click.option("--report", "folder", type=FOLDER, help="Write report.html and report.json into this folder.")
@click.option("--pictures", type=click.IntRange(0), default=12, show_default=True, help="Of each kind in the report.")
@click.option("--records", "records_file", type=OUT, help="Keep all candidate boxes in this file (JSON lines; .gz).")
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--coco", is_flag=True, help="The whole COCO table, too (extra train).")
def evaluate_detector(
    place: Path,
    images: Path | None,
    split_file: Path | None,
    part: str,
    model: Path | None,
    gate: Path | None,
    folder: Path | None,
    pictures: int,
    records_file: Path | None,
    samples: int,
    coco: bool,
) -> None:
    """Average precision, FROC, AUROC, sensitivity and specificity at the card's operating points, with 95% intervals.

    With --report, a self-contained page: curves, calibration, figures by group, the worst misses and false alarms
    with pictures, and whether the data set is large enough to tell. It shows the data's pictures; keep it with them.
    """
    from osteon.datasets.recognise import open_dataset
    from osteon.evaluation import records, report
    from osteon.evaluation.judge import record_detector
    from osteon.inference.pipeline import DETECTOR_FILE, GATE_FILE, Pipeline

    manifest, split_hash = _selected(open_dataset(place, images=images), split_file, part)
    pipeline = Pipeline.bundled(gate=gate or GATE_FILE, detector=model or DETECTOR_FILE)
    session = pipeline.detector()
    with bars() as progress:
        recorded = record_detector(
            session,
            manifest.cases,
            split_hash=split_hash,
            part=part if split_hash else "",
            shows_bone=(lambda radiograph: pipeline.bone(radiograph).present) if folder else None,
            progress=progress,
        )
    if records_file:
        records.write(recorded, records_file)
        message(f"wrote {records_file}")
    if folder:
        subject = report.Subject(session.card, session.ref, manifest, recorded)
        found = report.write_report(subject, folder, samples=samples, pictures=pictures)
        for text in found["too_small"]:
            message(f"too small to tell: {text}")
        message(f"wrote report.html and report.json in {folder}")
    _give(
        _detector_figures(recorded.judged(scale=session.card.picture), session.card, samples, coco),
        session,
        split_hash,
        part,
    )


def _detector_figures(judged: Any, card: Any, samples: int, coco: bool) -> dict[str, Any]:
    from osteon.evaluation import detection
    from osteon.evaluation.bootstrap import intervals
    from osteon.evaluation.coco_table import coco_table
    from osteon.evaluation.operating_points import at_cut

    cuts = {name: point.threshold for name, point in card.operating_points.items()}
    figures: dict[str, Any] = {"fractured": sum(p.fractured for p in judged), "pictures": len(judged)}
    figures |= detection.summary(judged)
    figures["operating_points"] = {name: at_cut(judged, cut) for name, cut in cuts.items()}
    sure = intervals(judged, samples=samples, cuts=cuts)
    figures["intervals"] = {name: [interval.low, interval.high] for name, interval in sure.items()}
    if coco:
        figures["coco"] = coco_table(judged)
    return figures


@evaluate.command(
    "folds",
    epilog="""\b
Examples:
  osteon evaluate folds fold1.jsonl.gz fold2.jsonl.gz fold3.jsonl.gz > folds.json
  osteon evaluate folds records/*.jsonl.gz --markdown
  osteon evaluate folds records/*.jsonl.gz --variants > variants.json
""",
)
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Tables instead of JSON.")
@click.option("--variants", "try_variants", is_flag=True, help="Figures of other ways to suppress boxes instead.")
def evaluate_folds(files: tuple[Path, ...], samples: int, as_markdown: bool, try_variants: bool) -> None:
    """Cross-validation read as one, from the records (`osteon evaluate detector --records`) of each fold's own model.

    Figures by fold and pooled with 95% intervals; the cuts `doubt` and `fracture` and the calibration chosen on all
    folds, and the honest figures of choices made on the other folds; figures by body part, view, metal and size; the
    worst misses and false alarms. `osteon models adopt` takes all this into the card of a model.
    """
    from osteon.evaluation import folds, records
    from osteon.evaluation.plain import plain

    parts = [records.read(file) for file in files]
    if try_variants:
        folds.pooled(folds.named(parts))
        click.echo(json.dumps(plain(folds.variants(parts)), indent=1))
        return
    found = folds.report(parts, samples=samples)
    click.echo(folds.markdown(found) if as_markdown else json.dumps(plain(found), indent=1), nl=not as_markdown)


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


@evaluate.command(
    "bones",
    epilog="""\b
Examples:
  osteon evaluate bones bones.onnx --data bonemasks/instances.json --films FracAtlas \\
      --split docs/splits/bone-folds.json --part fold1 --records fold1.jsonl.gz --gate-split docs/splits/gate.json
  osteon evaluate bones bones.onnx --data corrected.xml --report report/
""",
)
@click.argument("model", type=FILE)
@click.option("--data", "place", type=PLACE, required=True, help="Data set with an outline for each bone.")
@click.option("--films", type=PLACE, help="FracAtlas, where --data outlines its films.")
@click.option("--split", "split_file", type=FILE, help="Only the part of this split.")
@click.option("--part", "--fold", "part", default="valid", show_default=True, help="Part of the split.")
@click.option("--cut", type=click.FloatRange(0, 1), help="Least score shown, of bone and metal. [default: the card's]")
@click.option("--gate", type=FILE, help="Gate, whose mask is compared. [default: the installed one]")
@click.option("--gate-split", type=FILE, help="Split that the gate was trained on, to tell which films it has seen.")
@click.option("--records", "records_file", type=OUT, help="Keep all bones, found and drawn, in this file (.jsonl.gz).")
@click.option("--report", "folder", type=FOLDER, help="Write report.md and report.json into this folder.")
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--coco", is_flag=True, help="Average precision from faster-coco-eval, too (extra train).")
def evaluate_bones(
    model: Path,
    place: Path,
    films: Path | None,
    split_file: Path | None,
    part: str,
    cut: float | None,
    gate: Path | None,
    gate_split: Path | None,
    records_file: Path | None,
    folder: Path | None,
    samples: int,
    coco: bool,
) -> None:
    """Mask AP, IoU of matched bones, IoU of metal, Dice of the union beside the gate's; by body part and by class.

    Every figure has its 95% interval. All bones are one class but in the figures by class; regions labelled `ignore`
    count neither way.
    """
    from osteon.datasets.bonemasks import open_masks
    from osteon.evaluation import bone_records
    from osteon.evaluation.bone_recording import record_bones
    from osteon.evaluation.instance_figures import report
    from osteon.evaluation.instance_tables import markdown
    from osteon.inference.bones import Cuts
    from osteon.inference.pipeline import GATE_FILE, Pipeline
    from osteon.inference.session import Session

    manifest, split_hash = _selected(open_masks(place, films=films), split_file, part)
    session, pipeline = Session(model, task="bones"), Pipeline.bundled(gate=gate or GATE_FILE)
    if split_file and has_learned(session.card, split_file, part):
        message(f"{session.card.name} has learned from part {part}: what it does there is no measure of it")
    with bars() as progress:
        kept = record_bones(
            session,
            manifest.cases,
            split_hash=split_hash,
            part=part if split_hash else "",
            gate=pipeline.bone,
            gate_saw=seen_in_training(pipeline.gate.card, gate_split) if gate_split else None,
            progress=progress,
        )
    if records_file:
        bone_records.write(kept, records_file)
        message(f"wrote {records_file}")
    labels, cuts = kept.origin.labels, kept.origin.cuts if cut is None else Cuts(cut, cut)
    figures = report(kept.pictures, labels, [cuts] * len(kept.pictures), samples=samples) | {"cuts": cuts._asdict()}
    if coco:
        figures["coco"] = _coco_of_masks(kept.pictures, labels)
    if folder:
        _keep_report(folder, markdown(figures), figures)
    _give(figures, session, split_hash, part)


def has_learned(card: Any, split_file: Path, part: str) -> bool:
    """Whether a model was trained on a part of this split: on `train`, or with another of its folds left out."""
    from osteon.datasets.split import Split

    split = Split.read(split_file)
    trained = [split, *(split.fold(name) for name in split.parts)]
    names = frozenset(split.parts.get(part, ()))
    return any(names & frozenset(s.parts.get("train", ())) for s in trained if s.hash == card.split_hash)


def seen_in_training(card: Any, split_file: Path) -> frozenset[str]:
    """The pictures that a model was trained on."""
    from osteon.datasets.split import Split

    split = Split.read(split_file)
    if card.split_hash != split.hash:
        raise ConfigurationError(
            f"{card.name} was trained on split {card.split_hash}, not {split.hash}",
            hint="give the split that it was trained on, or leave --gate-split out",
        )
    return frozenset(split.parts.get("train", ()))


def _coco_of_masks(pictures: Any, labels: tuple[str, ...]) -> dict[str, Any]:
    from osteon.evaluation.coco_table import mask_table

    return {"bones": mask_table(pictures)} | ({"classes": mask_table(pictures, labels)} if len(labels) > 1 else {})


def _keep_report(folder: Path, text: str, figures: dict[str, Any]) -> None:
    from osteon.evaluation.plain import plain

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(plain(figures), indent=1) + "\n", encoding="utf-8")
    message(f"wrote report.md and report.json in {folder}")


@evaluate.command(
    "bone-folds",
    epilog="""\b
Examples:
  osteon evaluate bone-folds fold1.jsonl.gz fold2.jsonl.gz fold3.jsonl.gz fold4.jsonl.gz fold5.jsonl.gz > folds.json
  osteon evaluate bone-folds records/*.jsonl.gz --markdown
""",
)
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Tables instead of JSON.")
@click.option("--coco", is_flag=True, help="Average precision from faster-coco-eval, too (extra train).")
def evaluate_bone_folds(files: tuple[Path, ...], samples: int, as_markdown: bool, coco: bool) -> None:
    """Cross-validation of single bones read as one, from the records (`osteon evaluate bones --records`) of each fold.

    Figures by fold and pooled, with 95% intervals, by body part and by class. Each fold's bones are shown at the cut
    that is best on the other folds.
    """
    from osteon.evaluation import bone_records
    from osteon.evaluation.bone_folds import bone_folds
    from osteon.evaluation.instance_tables import markdown
    from osteon.evaluation.plain import plain

    parts = [bone_records.read(file) for file in files]
    found = bone_folds(parts, samples=samples)
    if coco:
        found["coco"] = _coco_of_masks([p for records in parts for p in records.pictures], parts[0].origin.labels)
    click.echo(markdown(found) if as_markdown else json.dumps(plain(found), indent=1), nl=not as_markdown)


def _selected(manifest: Any, split_file: Path | None, part: str) -> tuple[Any, str]:
    from osteon.datasets.split import Split

    if not split_file:
        return manifest, ""
    split = Split.read(split_file)
    return split.select(manifest, part), split.hash


def _give(figures: dict[str, Any], session: Any, split_hash: str, part: str) -> None:
    from osteon.evaluation.plain import plain

    model = session.ref.to_json()
    split = {"hash": split_hash, "part": part} if split_hash else None
    click.echo(json.dumps({"model": model, "split": split, "figures": plain(figures)}, indent=1))
