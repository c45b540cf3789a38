"""`osteon study`: comparisons of models, figures by the same code on the same pictures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from osteon.cli import message
from osteon.cli.evaluate import seen_in_training
from osteon.cli.progress import bars
from osteon.errors import ConfigurationError, MissingExtra

PLACE = click.Path(exists=True, path_type=Path)


@click.group()
def study() -> None:
    """Comparisons of models, as Markdown, JSON and plots."""


@study.command(
    "gate",
    epilog="""\b
Examples:
  osteon study gate --data bonemasks/instances.json --films FracAtlas --negatives photographs/ \\
      --split runs/gate/split.json --out docs/gate-study \\
      --row "SegNet=runs/segnet/gate.onnx" --row "UNet=runs/unet/gate.onnx"
""",
)
@click.option("--data", "place", type=PLACE, required=True, help="Data set with masks or outlines.")
@click.option("--films", type=PLACE, help="FracAtlas, where --data outlines its films.")
@click.option("--negatives", type=PLACE, required=True, help="Folder of pictures that are not radiographs.")
@click.option("--split", "split_file", type=PLACE, required=True, help="Split; its part `valid` is measured.")
@click.option(
    "--row", "rows", multiple=True, required=True, help="LABEL=MODEL.onnx; a history.jsonl beside it is drawn."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the results.")
def gate(place: Path, films: Path | None, negatives: Path, split_file: Path, rows: tuple[str, ...], out: Path) -> None:
    """Compare gates: Dice and IoU by body part, the decision "shows bone", milliseconds on one and two threads."""
    from osteon.datasets.bonemasks import open_masks
    from osteon.datasets.split import Split
    from osteon.evaluation.study import markdown, measure, plot

    split = Split.read(split_file)
    cases = split.select(open_masks(place, films=films, negatives=negatives), "valid").cases
    with bars() as report:
        measured = [measure(_row(text), cases, progress=report) for text in rows]
    out.mkdir(parents=True, exist_ok=True)
    table = markdown(measured)
    (out / "table.md").write_text(table, encoding="utf-8")
    figures = {"split": split.hash, "rows": [row.figures() for row in measured]}
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    plot(measured, {m.row.label: _history(m.row.history) for m in measured if m.row.history}, out / "plots.png")
    message(f"wrote table.md, figures.json and plots.png in {out}")
    click.echo(table, nl=False)


@study.command(
    "detectors",
    epilog="""\b
Examples:
  osteon study detectors docs/rows/detectors.yaml --data FracAtlas --split split.json --out study \\
      --weights imagenet=vgg16_features.pth --weights nanodet=nanodet_g_coco_folded.pth
  osteon study detectors docs/rows/detectors.yaml --data FracAtlas --split split.json --out study --figures-only
""",
)
@click.argument("rows_file", metavar="ROWS", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", "place", type=PLACE, required=True, help="Data set with boxes or polygons, and normals.")
@click.option("--split", "split_file", type=PLACE, required=True, help="Its parts train and valid are used.")
@click.option("--fold", help="Validate on this part, and train on the others (a split made for cross-validation).")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the study.")
@click.option("--only", multiple=True, help="Name of a row to train and measure. [default: all]")
@click.option("--weights", "given", multiple=True, help="NAME=FILE: what rows call these starting weights.")
@click.option("--whole", is_flag=True, help="Train every row to the end of its schedule, sampled ones too.")
@click.option("--figures-only", is_flag=True, help="Train nothing; measure what is trained.")
@click.option("--samples", default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--threads", default=0, help="Processor threads of the training; 0: all.")
def detectors(
    rows_file: Path,
    place: Path,
    split_file: Path,
    fold: str | None,
    out: Path,
    only: tuple[str, ...],
    given: tuple[str, ...],
    whole: bool,
    figures_only: bool,
    samples: int,
    threads: int,
) -> None:
    """Train and compare the detectors that the YAML file ROWS lists; needs the extra `train`.

    Writes study.json, study.md and study.png, anew after each row. Started again it goes on with the epoch and the row
    that it was at. A row that was not run says so; rows for a GPU are trained where there is one, or when named.
    """
    try:
        from osteon.training.rows import chosen, read_rows
        from osteon.training.runs import use_threads
        from osteon.training.study import Study
    except ModuleNotFoundError as error:
        raise MissingExtra(f"the study needs {error.name}", hint="pip install 'osteon[train]'") from error
    from osteon.datasets.recognise import open_dataset
    from osteon.datasets.split import Split

    rows = read_rows(rows_file)
    if whole:
        rows = tuple(replace(row, epochs_sampled=None) for row in rows)
    chosen(rows, only)
    weights = dict(_pair(text) for text in given)
    if threads:
        use_threads(threads)
    split = Split.read(split_file)
    made = Study(
        out,
        open_dataset(place),
        split.fold(fold) if fold else split,
        weights=weights,
        train=not figures_only,
        samples=samples,
    )
    _run(made, rows, only)


@study.command(
    "bones",
    epilog="""\b
Examples:
  osteon study bones docs/rows/bones.yaml --data bonemasks/instances.json --films FracAtlas \\
      --split docs/splits/bone-folds.json --fold fold1 --out study --weights nanodet=nanodet_g_coco_folded.pth
  osteon study bones docs/rows/bones.yaml --data bonemasks/instances.json --films FracAtlas --split split.json \\
      --out study --gate-split docs/splits/gate.json --figures-only
""",
)
@click.argument("rows_file", metavar="ROWS", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", "place", type=PLACE, required=True, help="Data set with an outline for each bone.")
@click.option("--films", type=PLACE, help="FracAtlas, where --data outlines its films.")
@click.option("--split", "split_file", type=PLACE, required=True, help="Its parts train and valid are used.")
@click.option("--fold", help="Validate on this part, and train on the others (a split made for cross-validation).")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the study.")
@click.option("--only", multiple=True, help="Name of a row to train and measure. [default: all]")
@click.option("--weights", "given", multiple=True, help="NAME=FILE: what rows call these starting weights.")
@click.option("--gate-split", type=PLACE, help="Split that the gate was trained on, to tell which films it has seen.")
@click.option("--whole", is_flag=True, help="Train every row to the end of its schedule, sampled ones too.")
@click.option("--figures-only", is_flag=True, help="Train nothing; measure what is trained.")
@click.option("--samples", default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--threads", default=0, help="Processor threads of the training; 0: all.")
def bones(
    rows_file: Path,
    place: Path,
    films: Path | None,
    split_file: Path,
    fold: str | None,
    out: Path,
    only: tuple[str, ...],
    given: tuple[str, ...],
    gate_split: Path | None,
    whole: bool,
    figures_only: bool,
    samples: int,
    threads: int,
) -> None:
    """Train and compare the finders of single bones that the YAML file ROWS lists; needs the extra `train`.

    Writes study.json, study.md and study.png, anew after each row. Started again it goes on with the epoch and the row
    that it was at. A row that was not run says so; rows for a GPU are trained where there is one, or when named.
    """
    try:
        from osteon.training.bone_study import bones_kind
        from osteon.training.rows import BonesRow, chosen, rows_of
        from osteon.training.runs import use_threads
        from osteon.training.study import Study
    except ModuleNotFoundError as error:
        raise MissingExtra(f"the study needs {error.name}", hint="pip install 'osteon[train]'") from error
    from osteon.datasets.bonemasks import open_masks
    from osteon.datasets.split import Split
    from osteon.inference.pipeline import Pipeline

    rows = rows_of(rows_file, BonesRow)
    if whole:
        rows = tuple(replace(row, epochs_sampled=None) for row in rows)
    chosen(rows, only)
    weights = dict(_pair(text) for text in given)
    if threads:
        use_threads(threads)
    split, pipeline = Split.read(split_file), Pipeline.bundled()
    made = Study(
        out,
        open_masks(place, films=films),
        split.fold(fold) if fold else split,
        weights=weights,
        train=not figures_only,
        samples=samples,
        kind=bones_kind(
            gate=pipeline.bone,
            gate_saw=seen_in_training(pipeline.gate.card, gate_split) if gate_split else None,
        ),
    )
    _run(made, rows, only)


def _run(made: Any, rows: tuple[Any, ...], only: tuple[str, ...]) -> None:
    """Run a study in as many processes as there are, and tell its tables in the first."""
    from osteon.training.runs import is_first, joined
    from osteon.training.study import run_study

    with joined(), bars(shown=is_first()) as report:
        told = is_first()
        run_study(made, rows, only=only, say=message if told else lambda _: None, progress=report)
    if not told:
        return
    message(f"wrote study.json, study.md and study.png in {made.folder}")
    click.echo((made.folder / "study.md").read_text(encoding="utf-8"), nl=False)


def _pair(text: str) -> tuple[str, str]:
    name, mark, file = text.partition("=")
    if not mark:
        raise ConfigurationError(f"no file in --weights {text!r}", hint="give NAME=FILE")
    return name, file


def _row(text: str) -> Any:
    from osteon.evaluation.study import Row

    label, mark, path = text.partition("=")
    if not (mark and Path(path).is_file()):
        raise ConfigurationError(f"no model file in --row {text!r}", hint="give LABEL=MODEL.onnx")
    history = Path(path).parent / "history.jsonl"
    return Row(label, Path(path), history if history.is_file() else None)


def _history(file: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
