"""`osteon bench`: time and memory against the pipeline that Osteon builds on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteon.cli import message

if TYPE_CHECKING:
    from osteon.benchmark import Report

STAGES = ("read", "gate", "detect", "stages", "total")
WORDS = {"gate": "gate / SegNet", "detect": "detect / SSD", "stages": "both stages", "total": "with reading"}
DEFAULT_PICTURES = ("RG3_UNCR.dcm", "RG1_UNCR.dcm")
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  osteon bench
  osteon bench --repeat 40 --json bench.json --markdown docs/benchmark.md
  osteon bench films/wrist.dcm
"""
)
@click.argument("paths", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--repeat", type=click.IntRange(4), default=20, show_default=True, help="Repetitions; a quarter for torch."
)
@click.option("--no-baseline", is_flag=True, help="Measure Osteon alone.")
@click.option("--json", "json_file", type=FILE, help="Write the report as JSON.")
@click.option("--markdown", "markdown_file", type=FILE, help="Write the report as Markdown.")
@click.option("--gate", type=FILE, help="Another gate model (ONNX with a card).")
@click.option("--detector", type=FILE, help="Another detector model.")
@click.option("--bones", type=FILE, help="Another model of single bones. [default: the installed one, if any]")
def bench(
    paths: tuple[Path, ...],
    repeat: int,
    no_baseline: bool,
    json_file: Path | None,
    markdown_file: Path | None,
    gate: Path | None,
    detector: Path | None,
    bones: Path | None,
) -> None:
    """Measure Osteon's stages against a full SegNet at 224 and SSD300-VGG16 at 640 in torch, on the same images.

    PATHS are radiographs (default: two of the package pydicom-data). Each pipeline runs in a process of its own, on
    one and on two threads. Also: a photograph being turned away, and `osteon predict` from start to JSON. Needs torch
    (pip install 'osteon[train]') for the comparison; without it the rest is measured.
    """
    from osteon.benchmark import benchmark
    from osteon.inference.pipeline import BONES_FILE, DETECTOR_FILE, GATE_FILE
    from osteon.samples import PHOTOGRAPH, packaged_file

    report = benchmark(
        paths or [packaged_file(name) for name in DEFAULT_PICTURES],
        PHOTOGRAPH,
        repeat=repeat,
        bones=bones or (BONES_FILE if BONES_FILE.is_file() else None),
        baseline=not no_baseline,
        models=(gate or GATE_FILE, detector or DETECTOR_FILE),
        progress=lambda what: message(f"measuring: {what}"),
    )
    if json_file:
        _write(json_file, json.dumps(report.to_json(), indent=1))
    if markdown_file:
        _write(markdown_file, markdown(report))
    click.echo(markdown(report), nl=False)


def markdown(report: "Report") -> str:
    """The report as Markdown: readable on a terminal too."""
    blocks = [
        "# Benchmark",
        "Written by `osteon bench`: one run, the same images, milliseconds as median (p10 to p90).",
    ]
    blocks.append("\n".join(f"- {name}: {value}" for name, value in report.machine.items()))
    blocks += ["## Milliseconds, median (p10 to p90)", _stages(report)]
    if report.skipped:
        blocks.append(f"The baseline was skipped: {report.skipped}.")
    blocks += ["## Peak memory", _table(("process", "MiB"), [(k, f"{v:.0f}") for k, v in report.peak_mib.items()])]
    if ratios := report.ratios():
        rows = [(name, f"{value:.1f} times") for name, value in ratios.items()]
        blocks += ["## Baseline against Osteon", _table(("what", "Osteon is better by"), rows)]
    if report.bones:
        blocks += ["## Single bones, milliseconds", _bones(report)]
    blocks += ["## Also", _also(report)]
    return "\n\n".join(blocks) + "\n"


def _stages(report: "Report") -> str:
    head = ("pipeline", "threads", "image", *(WORDS.get(stage, stage) for stage in STAGES))
    rows = []
    for timed in report.timed:
        cells = [timed.ms.get(stage) for stage in STAGES]
        spreads = [f"{s.median:.1f} ({s.p10:.1f} to {s.p90:.1f})" if s else "" for s in cells]
        rows.append((timed.pipeline, str(timed.threads), timed.image, *spreads))
    return _table(head, rows)


def _bones(report: "Report") -> str:
    rows = []
    for timed in report.bones:
        spreads = [timed.ms.get(stage) for stage in ("bones", "judge")]
        cells = [f"{s.median:.0f} ({s.p10:.0f} to {s.p90:.0f})" if s else "" for s in spreads]
        rows.append((str(timed.threads), timed.image, *cells))
    return _table(("threads", "image", "single bones", "each judged"), rows)


def _also(report: "Report") -> str:
    away, startup = report.rejection, report.startup
    ms, seconds = away["ms"], startup["seconds"]
    loaded = "the detector was loaded" if away["detector_loaded"] else "the detector was not loaded"
    return "\n".join(
        (
            f"- A photograph ({away['image']}): {away['decision']} in {ms['median']:.1f} ms ({ms['p10']:.1f} to "
            f"{ms['p90']:.1f}), reading included, peak {away['peak_mib']:.0f} MiB; {loaded}.",
            f"- `osteon predict {startup['image']} --format json`, process start to end: {seconds['median']:.2f} s "
            f"({seconds['p10']:.2f} to {seconds['p90']:.2f}), peak {startup['peak_mib']:.0f} MiB.",
        )
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    message(f"wrote {path}")
