"""`osteon predict`: both stages on files, folders and globs."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from osteon.anatomy import Language
from osteon.cli import message
from osteon.cli.tables import coco_results, csv_text, json_text, rich_table
from osteon.findings import Failure, Findings

if TYPE_CHECKING:
    from osteon.inference.analysis import Consumer
    from osteon.inference.pipeline import Pipeline

FORMATS = ("table", "json", "csv", "coco")
PICTURES = Path("osteon-out")
FILES = {"json": "findings.json", "csv": "findings.csv", "coco": "coco.json"}


@click.command(
    epilog="""\b
Examples:
  osteon predict wrist.dcm
  osteon predict films/ --format json > findings.json
  osteon predict "archive/**/*.dcm" --out results --draw --language ru
  osteon predict hand.dcm --bones --draw
"""
)
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for results and overlays.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Of the result.")
@click.option("--draw", is_flag=True, help="Write an overlay picture for each image (into --out or osteon-out).")
@click.option("--bones", is_flag=True, help="Find single bones too, judge each, and say where fractures lie.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Least raw score of a box. [default: the doubt cut]")
@click.option(
    "--language", type=click.Choice(("en", "ru")), default="en", show_default=True, help="Of overlays and bones."
)
@click.option("--gate", type=click.Path(dir_okay=False, path_type=Path), help="Another gate model (ONNX with a card).")
@click.option("--detector", type=click.Path(dir_okay=False, path_type=Path), help="Another detector model.")
@click.option("--bones-model", type=click.Path(dir_okay=False, path_type=Path), help="Another model of single bones.")
@click.option("--judge-model", type=click.Path(dir_okay=False, path_type=Path), help="Another that judges each bone.")
@click.pass_context
def predict(
    ctx: click.Context,
    paths: tuple[str, ...],
    out: Path | None,
    form: str,
    draw: bool,
    bones: bool,
    min_score: float | None,
    language: str,
    gate: Path | None,
    detector: Path | None,
    bones_model: Path | None,
    judge_model: Path | None,
) -> None:
    """Say whether pictures show bone, and where fractures are suspected.

    PATHS are files, folders (searched through) and glob patterns: JPEG, PNG, TIFF, BMP, WebP, DICOM.
    The result goes to standard output, or into --out. Exit status 1: some file failed, the others are given.
    """
    from osteon.files import find

    if (bones_model or judge_model) and not bones:
        raise click.UsageError(f"--{'bones' if bones_model else 'judge'}-model goes with --bones")
    files = list(find(paths))
    workers = min(len(files), os.cpu_count() or 1) or 1
    threads = 1 if workers > 1 else os.cpu_count() or 1
    pipeline = _pipeline(gate, detector, bones_model, judge_model, threads=threads)
    if bones:
        pipeline.bones_session()  # a missing model is told before any work
        if pipeline.judge:
            pipeline.judge()
    then = _drawer(out or PICTURES, cast(Language, language)) if draw else None
    findings: list[Findings] = []
    failures: list[Failure] = []
    for result in _results(pipeline, files, workers, min_score=min_score, bones=bones, then=then):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            findings.append(result)
    _give(findings, failures, form, out, cast(Language, language))
    for failure in failures:
        message(f"{failure.source}: {failure.message} ({failure.hint})")
    ctx.exit(1 if failures else 0)


def _pipeline(
    gate: Path | None, detector: Path | None, bones: Path | None, judge: Path | None, *, threads: int
) -> "Pipeline":
    from osteon.inference.pipeline import DETECTOR_FILE, GATE_FILE, Pipeline

    return Pipeline.bundled(
        gate=gate or GATE_FILE, detector=detector or DETECTOR_FILE, bones=bones, judge=judge, threads=threads
    )


def _results(
    pipeline: "Pipeline",
    files: list[Path],
    workers: int,
    *,
    min_score: float | None,
    bones: bool,
    then: "Consumer | None",
) -> Iterator[Findings | Failure]:
    """Every finding and failure, without pixels or maps, with a progress bar where there is more than one file."""
    from osteon.inference.analysis import analyse_file, analyse_files, slim

    if len(files) == 1:
        for result in analyse_file(pipeline, files[0], min_score=min_score, bones=bones, then=then):
            yield result if isinstance(result, Failure) else slim(result)
        return
    from osteon.cli.progress import bars

    with bars() as report:
        batches = analyse_files(pipeline, files, workers=workers, min_score=min_score, bones=bones, then=then)
        for done, results in enumerate(batches, start=1):
            for result in results:
                yield result if isinstance(result, Failure) else slim(result)
            report("analysing", done, len(files))


def _drawer(out: Path, language: Language) -> "Consumer":
    from osteon.files import overlay
    from osteon.files.masks import picture_name
    from osteon.radiograph import Radiograph

    taken: set[str] = set()
    naming = threading.Lock()  # two files of one name may be drawn at the same time

    def draw(radiograph: Radiograph, findings: Findings) -> None:
        with naming:
            name = picture_name(radiograph, "overlay", taken)
        overlay.write(out / name, overlay.draw(radiograph, findings, language=language))

    return draw


def _give(findings: list[Findings], failures: list[Failure], form: str, out: Path | None, language: Language) -> None:
    if form == "table":
        if findings:
            rich_table(findings, language)
        if out:
            _write(out / FILES["json"], json_text(findings, failures))
        return
    text = {
        "json": lambda: json_text(findings, failures),
        "csv": lambda: csv_text(findings, language),
        "coco": lambda: coco_results(findings),
    }[form]()
    if out:
        _write(out / FILES[form], text)
    else:
        click.echo(text, nl=not text.endswith("\n"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + ("" if text.endswith("\n") else "\n"), encoding="utf-8")
    message(f"wrote {path}")
