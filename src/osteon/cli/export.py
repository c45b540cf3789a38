"""`osteon export`: checkpoint to ONNX with its card."""

from dataclasses import replace
from pathlib import Path

import click

from osteon.cli import message
from osteon.cli.progress import bars
from osteon.errors import MissingExtra

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PLACE = click.Path(exists=True, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  osteon export runs/detector/best.pt --data FracAtlas --out detector.onnx
  osteon export runs/gate/best.pt --data bonemasks/instances.json --films FracAtlas \\
      --negatives photographs/ --out gate.onnx
"""
)
@click.argument("checkpoint", type=FILE)
@click.option("--data", "place", type=PLACE, required=True, help="The data set of the training.")
@click.option("--split", "split_file", type=FILE, help="Its split. [default: split.json beside the checkpoint]")
@click.option("--fold", help="The part of the split that it was validated on, where it was trained on the others.")
@click.option(
    "--films", type=PLACE, help="FracAtlas, where --data outlines its films; the gate is measured on the others too."
)
@click.option("--negatives", type=PLACE, help="Folder of pictures that are not radiographs.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="ONNX file to write.")
@click.option("--name", help="Of the model. [default: osteon-TASK]")
@click.option("--version", "version", default="0.1.0", show_default=True, help="Of the release.")
@click.option("--licence", default="Apache-2.0", show_default=True, help="SPDX name of the weights' licence.")
@click.option("--eight-bit", is_flag=True, help="Quantise to 8 bit, calibrated on training pictures; measured as such.")
@click.option("--mirrored", is_flag=True, help="A detector that runs on the mirror image, too, and averages.")
@click.option("--training-data", default="", help="Where the data come from, for the card.")
def export(
    checkpoint: Path,
    place: Path,
    split_file: Path | None,
    fold: str | None,
    films: Path | None,
    negatives: Path | None,
    out: Path,
    name: str | None,
    version: str,
    licence: str,
    eight_bit: bool,
    mirrored: bool,
    training_data: str,
) -> None:
    """Write CHECKPOINT as ONNX: compared with torch, measured on validation, cuts chosen, card inside."""
    try:
        from osteon.training.checkpoint import Checkpoint
        from osteon.training.release import Release, release
    except ModuleNotFoundError as error:
        raise MissingExtra(f"exporting needs {error.name}", hint="pip install 'osteon[train]'") from error
    from osteon.datasets import fracatlas
    from osteon.datasets.bonemasks import open_masks
    from osteon.datasets.split import Split

    saved = Checkpoint.read(checkpoint)
    manifest = open_masks(place, films=films, negatives=negatives)
    known = {case.name for case in manifest}
    measured = films if saved.task == "gate" else None
    more = (
        [replace(case, instances=None) for case in fracatlas.read(measured) if case.name not in known]
        if measured
        else []
    )
    split = Split.read(split_file or checkpoint.parent / "split.json")
    with bars() as report:
        card, parity = release(
            saved,
            out,
            Release(
                name or f"osteon-{saved.task}", version, licence, training_data or manifest.name, eight_bit, mirrored
            ),
            manifest=manifest,
            split=split.fold(fold) if fold else split,
            more=more,
            progress=report,
        )
    differences = ", ".join(f"{output} {largest:.1e}" for output, largest in parity.largest.items())
    message(f"torch = ONNX on {parity.pictures} pictures to {differences}")
    for point, cut in card.operating_points.items():
        message(f"{point}: {cut.threshold} {dict(cut.measured)}")
    message(f"metrics: {dict(card.metrics)}")
    click.echo(out)
