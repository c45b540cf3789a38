"""`osteon models`: what is installed, whether it is as released, and detectors of others made usable."""

import json
from pathlib import Path
from typing import Any

import click

from osteon.cli import message
from osteon.errors import MissingExtra

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FORMATS = click.Choice(("table", "json", "markdown"))


class _Listing(click.Group):
    """A group whose first word may be a file: then it lists."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named, or the list of the files that are."""
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "list", self.commands["list"], args


@click.group(
    cls=_Listing,
    invoke_without_command=True,
    subcommand_metavar="[FILES]... | COMMAND [ARGS]...",
    epilog="""\b
Examples:
  osteon models
  osteon models --format json
  osteon models runs/detector/detector.onnx
""",
)
@click.option("--format", "form", type=FORMATS, default="table", show_default=True)
@click.pass_context
def models(ctx: click.Context, form: str) -> None:
    """List the installed models (or FILES) with what their cards say."""
    if ctx.invoked_subcommand is None:
        _list((), form)


@models.command(
    "list",
    epilog="""\b
Examples:
  osteon models list
  osteon models list runs/detector/detector.onnx --format markdown
""",
)
@click.argument("files", nargs=-1, type=FILE)
@click.option("--format", "form", type=FORMATS, help="[default: as given before]")
@click.pass_context
def listed(ctx: click.Context, files: tuple[Path, ...], form: str | None) -> None:
    """List the installed models (or FILES) with what their cards say."""
    before = ctx.parent.params["form"] if ctx.parent else "table"
    _list(files, form or before)


@models.command(
    "register",
    epilog="""\b
Examples:
  osteon models register best.onnx --name our-yolo --out our-yolo.onnx
  osteon models register grazped.onnx --name grazped --side 640 --labels metal,fracture,text --out grazped.onnx
  osteon predict wrist.png --detector our-yolo.onnx
""",
)
@click.argument("file", type=FILE)
@click.option("--name", required=True, help="What findings call the model.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="ONNX file to write.")
@click.option("--side", "side_px", default=0, help="Side of its input in pixels. [default: what the model says]")
@click.option("--labels", default="fracture", show_default=True, help="All its classes in order, with commas between.")
@click.option("--iou", "iou_threshold", default=0.5, show_default=True, help="Of non-maximum suppression.")
@click.option("--fracture-cut", default=0.5, show_default=True, help="Least score that is graded a fracture.")
@click.option("--doubt-cut", default=0.25, show_default=True, help="Least score that is graded a doubt.")
@click.option("--version", "version", default="1", show_default=True, help="Of the model.")
@click.option("--licence", default="not stated", show_default=True, help="SPDX name of the weights' licence.")
@click.option("--training-data", default="not stated", show_default=True, help="What it was trained on.")
def register(
    file: Path,
    name: str,
    out: Path,
    side_px: int,
    labels: str,
    iou_threshold: float,
    fracture_cut: float,
    doubt_cut: float,
    version: str,
    licence: str,
    training_data: str,
) -> None:
    """Make a YOLO detector of yours (ONNX export, with or without suppression) usable by every command.

    Writes a copy of FILE with a card inside. It is run once on a black picture to see its layout. Scores are not
    calibrated, and the cuts are yours: measure them with `osteon evaluate detector` before you trust them.
    """
    from osteon.inference.card import Card, OperatingPoint
    from osteon.inference.register import register as registered

    card = registered(
        file,
        out,
        Card(
            name=name,
            task="detector",
            version=version,
            arch="YOLO, registered",
            side_px=side_px,
            labels=tuple(label.strip() for label in labels.split(",")),
            operating_points={"fracture": OperatingPoint(fracture_cut), "doubt": OperatingPoint(doubt_cut)},
            licence=licence,
            training_data=training_data,
            split_hash="",
            metrics={},
            iou_threshold=iou_threshold,
        ),
    )
    message(f"{card.name}: layout {card.layout}, {card.side_px} px, {len(card.labels)} classes")
    click.echo(out)


@models.command(
    "adopt",
    epilog="""\b
Examples:
  osteon evaluate folds records/*.jsonl.gz > folds.json
  osteon models adopt fold1.onnx folds.json --out detector.onnx
  osteon models adopt runs/judge/fold1/bone-judge.onnx judged.json --out bone-judge.onnx
""",
)
@click.argument("file", type=FILE)
@click.argument("folds", type=FILE)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="ONNX file to write.")
def adopt(file: Path, folds: Path, out: Path) -> None:
    """Take figures, cuts and calibration of a cross-validation into the card of one of its models.

    FILE is the detector of one fold as `osteon export` wrote it; FOLDS what `osteon evaluate folds` says of all. The
    model stays as it is; its card then has cuts and calibration of all folds, their intervals, and figures by group.
    Or FILE is a judge of single bones and FOLDS what `osteon evaluate bone-judge` says of it: its card then has the
    curves that join it with the detector. Needs the extra `train`.
    """
    try:
        from osteon.training.export import write_card
    except ModuleNotFoundError as error:
        raise MissingExtra(f"writing a model needs {error.name}", hint="pip install 'osteon[train]'") from error
    from osteon.evaluation.adoption import adopted, adopted_judge, read_folds
    from osteon.inference.session import read_card

    before = read_card(file)[0]
    card = (adopted_judge if before.task == "bone-judge" else adopted)(before, read_folds(folds))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_card(file, out, card)
    for name, point in card.operating_points.items():
        message(f"{name}: {point.threshold} {dict(point.measured)}")
    click.echo(out)


@models.command(
    "verify",
    epilog="""\b
Examples:
  osteon models verify
  osteon models verify --folder /opt/osteon/weights
""",
)
@click.option("--folder", type=FOLDER, help="Where the models lie. [default: the installed ones]")
@click.option("--store", "storing", is_flag=True, help="Expect from now on what these models find (for a release).")
@click.pass_context
def verified(ctx: click.Context, folder: Path | None, storing: bool) -> None:
    """Check that the installed models are the released ones and work here.

    Each file's sha256 is compared with the released one; then it is loaded and run on a known picture, and what it
    finds is compared with what it found when it was released. Exit status 1 where anything differs.
    """
    from osteon.inference.pipeline import WEIGHTS
    from osteon.inference.verification import EXPECTED_FILE, store, verify

    place = folder or WEIGHTS
    if storing:
        store(place)
        message(f"wrote {EXPECTED_FILE}")
    checks = verify(place)
    for check in checks:
        click.echo(f"{check.file}: {'; '.join(check.problems) or 'as released'}")
    if any(check.problems for check in checks):
        message("error: not all models are as released")
        message("hint: install Osteon again, or restore the files from a release")
        ctx.exit(1)


def _list(files: tuple[Path, ...], form: str) -> None:
    from osteon.inference.card_text import markdown
    from osteon.inference.pipeline import BONE_JUDGE_FILE, BONES_FILE, DETECTOR_FILE, DETECTOR_FLOAT_FILE, GATE_FILE
    from osteon.inference.session import read_card

    more = [path for path in (DETECTOR_FLOAT_FILE, BONES_FILE, BONE_JUDGE_FILE) if path.is_file()]
    chosen = files or (GATE_FILE, DETECTOR_FILE, *more)
    if form == "markdown":
        cards = [(*read_card(path), path.stat().st_size) for path in chosen]
        click.echo("\n".join(markdown(*entry) for entry in cards), nl=False)
        return
    rows = [_row(path) for path in chosen]
    if form == "json":
        click.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    _print(rows)


def _row(path: Path) -> dict[str, Any]:
    from osteon.inference.session import read_card

    card, ref = read_card(path)
    return {
        "file": str(path),
        "name": card.name,
        "task": card.task,
        "version": card.version,
        "sha256": ref.sha256,
        "size_bytes": path.stat().st_size,
        "side_px": card.side_px,
        "arch": card.arch,
        "layout": card.layout,
        "licence": card.licence,
        "operating_points": {name: point.threshold for name, point in card.operating_points.items()},
        "metrics": dict(card.metrics),
        "cross_validation": dict(card.cross_validation),
        "training_data": card.training_data,
        "split_hash": card.split_hash,
        "limits": card.limits,
    }


def _print(rows: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "task", "version", "sha256", "MB", "side px", "licence", "metrics")
    for row in rows:
        metrics = row["metrics"] if isinstance(row["metrics"], dict) else {}
        figures = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
        size = f"{int(str(row['size_bytes'])) / 1e6:.1f}"
        cells = (
            row["name"],
            row["task"],
            row["version"],
            str(row["sha256"])[:12],
            size,
            row["side_px"],
            row["licence"],
        )
        table.add_row(*map(str, cells), figures)
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
