"""`osteon study`: comparisons of models, figures by the same code on the same pictures."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
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


@dataclass(frozen=True)
class Plan:
    """What every study of trained rows is told."""

    rows_file: Path
    split_file: Path
    fold: str | None
    out: Path
    only: tuple[str, ...]
    weights: tuple[str, ...]
    whole: bool
    figures_only: bool
    times_only: bool
    samples: int
    threads: int


_PLAN_OPTIONS = (
    click.argument("rows_file", metavar="ROWS", type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    click.option("--split", "split_file", type=PLACE, required=True, help="Its parts train and valid are used."),
    click.option("--fold", help="Validate on this part, and train on the others (a split made for cross-validation)."),
    click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the study."),
    click.option("--only", multiple=True, help="Name of a row to train and measure. [default: all]"),
    click.option("--weights", multiple=True, help="NAME=FILE: what rows call these starting weights."),
    click.option("--whole", is_flag=True, help="Train every row to the end of its schedule, sampled ones too."),
    click.option("--figures-only", is_flag=True, help="Train nothing; measure what is trained."),
    click.option("--times-only", is_flag=True, help="Train and measure nothing; time what is measured, in one run."),
    click.option("--samples", default=1000, show_default=True, help="Of the bootstrap."),
    click.option("--threads", default=0, help="Processor threads of the training; 0: all."),
)


def _planned(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a `Plan`, and the plan as its first argument."""

    @wraps(command)
    def collected(**options: Any) -> None:
        plan = Plan(**{field.name: options.pop(field.name) for field in fields(Plan)})
        command(plan, **options)

    for option in reversed(_PLAN_OPTIONS):
        collected = option(collected)
    return collected


@study.command(
    "detectors",
    epilog="""\b
Examples:
  osteon study detectors docs/rows/detectors.yaml --data FracAtlas --split split.json --out study \\
      --weights imagenet=vgg16_features.pth --weights nanodet=nanodet_g_coco_folded.pth
  osteon study detectors docs/rows/detectors.yaml --data FracAtlas --split split.json --out study --figures-only
  osteon study detectors docs/rows/detectors.yaml --data FracAtlas --split split.json --out study --times-only
""",
)
@click.option("--data", "place", type=PLACE, required=True, help="Data set with boxes or polygons, and normals.")
@_planned
def detectors(plan: Plan, place: Path) -> None:
    """Train and compare the detectors that the YAML file ROWS lists; needs the extra `train`.

    Writes study.json, study.md and study.png, anew after each row. Started again it goes on with the epoch and the row
    that it was at. A row that was not run says so; rows for a GPU are trained where there is one, or when named.
    """
    trained = _trained()
    from osteon.datasets.recognise import open_dataset

    _run(plan, trained.read_rows(plan.rows_file), open_dataset(place))


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
@click.option("--data", "place", type=PLACE, required=True, help="Data set with an outline for each bone.")
@click.option("--films", type=PLACE, help="FracAtlas, where --data outlines its films.")
@click.option("--gate-split", type=PLACE, help="Split that the gate was trained on, to tell which films it has seen.")
@_planned
def bones(plan: Plan, place: Path, films: Path | None, gate_split: Path | None) -> None:
    """Train and compare the finders of single bones that the YAML file ROWS lists; needs the extra `train`.

    Writes study.json, study.md and study.png, anew after each row. Started again it goes on with the epoch and the row
    that it was at. A row that was not run says so; rows for a GPU are trained where there is one, or when named.
    """
    trained = _trained()
    from osteon.datasets.bonemasks import open_masks
    from osteon.inference.pipeline import Pipeline
    from osteon.training.bone_study import bones_kind

    gate = Pipeline.bundled()
    saw = seen_in_training(gate.gate.card, gate_split) if gate_split else None
    rows = trained.rows_of(plan.rows_file, trained.BonesRow)
    _run(plan, rows, open_masks(place, films=films), kind=bones_kind(gate=gate.bone, gate_saw=saw))


def _trained() -> Any:
    """The module of rows; a clear error where torch is missing."""
    try:
        from osteon.training import rows, runs  # noqa: F401 - torch is looked for before any data are read
    except ModuleNotFoundError as error:
        raise MissingExtra(f"the study needs {error.name}", hint="pip install 'osteon[train]'") from error
    return rows


def _run(plan: Plan, rows: tuple[Any, ...], manifest: Any, **kind: Any) -> None:
    """Run a study in as many processes as there are, and tell its tables in the first."""
    from osteon.datasets.split import Split
    from osteon.training.rows import chosen
    from osteon.training.runs import is_first, joined, use_threads
    from osteon.training.study import Study, run_study, time_rows

    if plan.whole:
        rows = tuple(replace(row, epochs_sampled=None) for row in rows)
    chosen(rows, plan.only)
    if plan.threads:
        use_threads(plan.threads)
    split = Split.read(plan.split_file)
    made = Study(
        plan.out,
        manifest,
        split.fold(plan.fold) if plan.fold else split,
        weights=dict(_pair(text) for text in plan.weights),
        train=not plan.figures_only,
        samples=plan.samples,
        **kind,
    )
    with joined(), bars(shown=is_first()) as report:
        told = is_first()
        if plan.times_only and told:
            time_rows(made, rows, only=plan.only, say=message)
        elif not plan.times_only:
            run_study(made, rows, only=plan.only, say=message if told else lambda _: None, progress=report)
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
