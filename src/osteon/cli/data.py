"""`osteon data`: data sets in, checked, split and out. Results go to standard output, all else to standard error."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from osteon.cli import message
from osteon.cli.prelabel import prelabel
from osteon.cli.progress import bars
from osteon.datasets import bone_check, coco, cvat, duplicates, voc, yolo
from osteon.datasets import split as splitting
from osteon.datasets.audit import Audit
from osteon.datasets.audit import audit as audit_manifest
from osteon.datasets.case import Manifest
from osteon.datasets.manifest_file import manifest_to_json, write_manifest
from osteon.datasets.recognise import FORMATS, open_dataset
from osteon.errors import ConfigurationError

_PLACE = click.Path(path_type=Path)
_PART_NAMES = ("train", "valid", "test")
_TARGETS = ("coco", "cvat", "yolo", "voc")

_format_option = click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", *(known.name for known in FORMATS)]),
    default="auto",
    show_default=True,
    help="Layout of the data set; auto recognises all but a plain folder of pictures.",
)
_images_option = click.option("--images", type=_PLACE, help="Folder of the pictures, if not beside the labels.")
_out_option = click.option("--out", type=_PLACE, help="File to write; default: standard output.")


@click.group()
def data() -> None:
    """Data sets in, checked, split and out."""


data.add_command(prelabel)


@data.command("import")
@click.argument("place", type=_PLACE)
@_format_option
@_images_option
@_out_option
def import_(place: Path, format_name: str, images: Path | None, out: Path | None) -> None:
    """Read a data set and write it as a manifest, Osteon's own JSON.

    \b
    Examples:
      osteon data import FracAtlas --out fracatlas.json
      osteon data import export.xml --images films --out hands.json
      osteon data import photographs --format pictures --out photographs.json
    """
    manifest = _open(place, format_name, images)
    if out is None:
        _emit(manifest_to_json(manifest, Path.cwd()))
    else:
        write_manifest(manifest, out)
    message(f"{len(manifest)} cases")


@data.command()
@click.argument("place", type=_PLACE)
@_format_option
@_images_option
@click.option("--json", "json_file", type=_PLACE, help="Write the whole audit as JSON; '-' for standard output.")
def audit(place: Path, format_name: str, images: Path | None, json_file: Path | None) -> None:
    """Report broken files, EXIF rotations, duplicates, impossible boxes and leaks between parts.

    \b
    Examples:
      osteon data audit FracAtlas
      osteon data audit FracAtlas --json audit.json
    """
    manifest = _open(place, format_name, images)
    with bars() as report_progress:
        report = audit_manifest(manifest, partial(report_progress, "reading pictures"))
    _console().print(_table(report))
    if json_file is not None and str(json_file) == "-":
        _emit(report.to_json())
        return
    if json_file is not None:
        _write_json(report.to_json(), json_file)
    click.echo(report.summary())


@data.command()
@click.argument("place", type=_PLACE)
@_format_option
@_images_option
@click.option("--fractions", help="Shares of train, valid and, if there are three, test: 0.8,0.2.")
@click.option("--folds", type=int, help="This many equal folds instead.")
@click.option("--official", is_flag=True, help="FracAtlas' own lists, freed of their leaks.")
@click.option("--follow", "other", type=_PLACE, help="The parts of this split instead, for the films that it knows.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another dealing.")
@_out_option
def split(
    place: Path,
    format_name: str,
    images: Path | None,
    fractions: str | None,
    folds: int | None,
    official: bool,
    other: Path | None,
    seed: int,
    out: Path | None,
) -> None:
    """Make a seeded split, grouped by duplicates and patients, stratified by label and body part.

    \b
    Examples:
      osteon data split FracAtlas --fractions 0.8,0.2 --seed 0 --out split.json
      osteon data split FracAtlas --folds 5 --out folds.json
      osteon data split FracAtlas --official --out official.json
      osteon data split bones/instances.json --images FracAtlas --follow folds.json --out bone-folds.json
    """
    if sum((fractions is not None, folds is not None, official, other is not None)) > 1:
        raise click.UsageError("give one of --fractions, --folds, --official and --follow")
    shares = _shares(fractions or "0.8,0.2")
    manifest = _open(place, format_name, images)
    with bars() as report_progress:
        groups = duplicates.duplicate_groups(manifest, partial(report_progress, "comparing pictures"))
    if official:
        made = splitting.official_split(manifest, groups, seed=seed)
    elif other is not None:
        made = splitting.follow(manifest, splitting.Split.read(other), groups=groups)
    elif folds is not None:
        made = splitting.split_folds(manifest, folds=folds, seed=seed, groups=groups)
    else:
        made = splitting.split(manifest, fractions=shares, seed=seed, groups=groups)
    if out is None:
        _emit(made.to_json())
    else:
        made.write(out)
    message(f"{made.hash}: " + ", ".join(f"{part} {len(names)}" for part, names in made.parts.items()))


@data.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--card",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Data card whose counts must be the file's. [default: README.md beside it]",
)
@click.pass_context
def check(ctx: click.Context, /, file: Path, card: Path | None) -> None:
    """Check a COCO file of bone outlines: ids, labels, polygons, boxes, areas, regions to ignore, withheld films.

    What is wrong goes to standard output, a line each. Exit status 1: something is. No pictures are needed.

    \b
    Examples:
      osteon data check data/bones/fracatlas-bones.json
    """
    beside = file.with_name("README.md")
    problems = bone_check.check(file, card or (beside if bone_check.is_card(beside) else None))
    for problem in problems:
        click.echo(problem)
    message(f"{file.name}: {len(problems) or 'no'} problems")
    ctx.exit(1 if problems else 0)


@data.command()
@click.argument("source", type=_PLACE)
@click.argument("target", type=_PLACE)
@click.option("--to", "to_format", type=click.Choice(_TARGETS), required=True, help="Format to write.")
@_format_option
@_images_option
def convert(source: Path, target: Path, to_format: str, format_name: str, images: Path | None) -> None:
    """Read one format and write another; TARGET is a file for coco and cvat, a folder for yolo and voc.

    Only yolo copies the pictures.

    \b
    Examples:
      osteon data convert FracAtlas fractures.xml --to cvat
      osteon data convert export.xml hands.json --to coco --images films
      osteon data convert FracAtlas yolo-set --to yolo
    """
    manifest = _open(source, format_name, images)
    losses: tuple[str, ...] = ()
    if to_format == "coco":
        coco.write(manifest, target)
    elif to_format == "cvat":
        cvat.write(manifest, target)
    elif to_format == "yolo":
        losses = yolo.write(manifest, target)
    else:
        losses = voc.write(manifest, target)
    for loss in losses:
        message(f"note: {loss}")
    message(f"{len(manifest)} cases written as {to_format}")


@data.command("export-feedback")
@click.option("--data-dir", type=_PLACE, help="The server's data folder. [default: OSTEON_DATA_DIR]")
@click.option("--out", type=_PLACE, required=True, help="Folder to write; a new or an empty one.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["coco", "cvat", "both"]),
    default="both",
    show_default=True,
    help="annotations.json, annotations.xml, or both.",
)
@click.option("--since", type=click.DateTime(), help="Only answers given then or later (UTC).")
@click.option(
    "--copy-images/--no-copy-images",
    default=True,
    show_default=True,
    help="Pages as PNG under neutral names, without any metadata.",
)
def export_feedback(data_dir: Path | None, out: Path, form: Any, since: datetime | None, copy_images: bool) -> None:
    """Write readers' answers as a data set to train on.

    Boxes that were accepted, redrawn or added become fractures; rejected ones do not. Pages with the verdict "no
    fracture" become normals; "unsure" and "unusable" are left out. What a sender called a file, and comments, stay out.

    \b
    Examples:
      osteon data export-feedback --data-dir osteon-data --out feedback
      osteon data export-feedback --since 2026-11-01 --format cvat --out november
    """
    from osteon.service.feedback_export import export_feedback as write
    from osteon.service.settings import Settings
    from osteon.service.store import AnalysisStore

    settings = Settings.from_environment(None, **({"data_dir": data_dir} if data_dir else {}))
    if not settings.database_url and not settings.data_dir.is_dir():
        raise ConfigurationError(f"no data folder {settings.data_dir}", hint="give the server's with --data-dir")
    store = AnalysisStore.of(settings)
    try:
        done = write(store, out, form=form, since=since and since.replace(tzinfo=UTC), copy_images=copy_images)
    finally:
        store.close()
    message(f"{done.fractured} fractured and {done.normal} normal pages, {done.boxes} boxes")
    if done.open_boxes:
        message(f"{done.open_boxes} boxes that nobody judged are marked to be ignored")
    if done.without_box:
        message(f"{done.without_box} fractured pages have no box; training passes them over")
    for reason, count in done.left_out.items():
        message(f"left out, {reason}: {count}")
    click.echo(out)


def _open(place: Path, format_name: str, images: Path | None) -> Manifest:
    manifest = open_dataset(place, format=format_name, images=images)
    for remark in manifest.remarks:
        message(f"note: {remark}")
    return manifest


def _shares(text: str) -> dict[str, float]:
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ConfigurationError(f"shares {text!r} are no numbers", hint="for example 0.8,0.2") from error
    if len(numbers) not in (2, 3):
        raise ConfigurationError(f"{len(numbers)} shares, expected 2 or 3", hint="train, valid and perhaps test")
    return dict(zip(_PART_NAMES, numbers, strict=False))


def _table(report: Audit) -> Table:
    table = Table(title=f"{report.name}: {report.cases} pictures")
    table.add_column("finding")
    table.add_column("count", justify="right")
    table.add_column("for example")
    examples = _examples(report)
    for figure, count in report.figures.items():
        table.add_row(figure, str(count), examples.get(figure, ""))
    return table


def _examples(report: Audit) -> dict[str, str]:
    firsts: dict[str, tuple[Any, ...]] = {
        "broken files": report.broken,
        "EXIF rotations": report.rotated,
        "sizes other than stated": report.wrong_sizes,
        "duplicate groups": report.duplicate_groups,
        "duplicate groups with opposite labels": report.opposite_labels,
        "boxes outside the picture": report.boxes_outside,
        "degenerate boxes": report.boxes_degenerate,
        "fractured but not marked": report.fractured_unmarked,
        "leaks between parts": report.leaks,
    }
    return {figure: _words(found[0]) for figure, found in firsts.items() if found}


def _words(item: Any) -> str:
    return item if isinstance(item, str) else ", ".join(map(str, item))


def _console() -> Console:
    return Console(stderr=True)


def _emit(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def _write_json(value: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
