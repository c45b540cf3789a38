"""`osteon train eight-bit`: a detector rehearses 8 bits before it is exported so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from osteon.cli import message
from osteon.cli.progress import bars
from osteon.errors import MissingExtra
from osteon.training.config import REHEARSAL_LOOP

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PLACE = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(
    "eight-bit",
    epilog="""\b
Examples:
  osteon train eight-bit runs/detector/best.pt --data FracAtlas --out runs/detector-8
  osteon export runs/detector-8/best.pt --data FracAtlas --split runs/detector/split.json --eight-bit \\
      --out detector.onnx
""",
)
@click.argument("detector", type=FILE)
@click.option("--data", "place", type=PLACE, required=True, help="The data set of the training.")
@click.option("--split", "split_file", type=FILE, help="Its split. [default: split.json beside the checkpoint]")
@click.option("--fold", help="The part of the split that it was validated on, where it was trained on the others.")
@click.option("--out", type=FOLDER, required=True, help="Folder for checkpoints; a run there is gone on with.")
@click.option("--threads", default=0, help="Processor threads; 0: all.")
@click.option("--epochs", default=REHEARSAL_LOOP.epochs, show_default=True)
@click.option("--batch", default=REHEARSAL_LOOP.batch, show_default=True)
@click.option("--pretrained-rate", default=REHEARSAL_LOOP.pretrained_rate, show_default=True)
def train_eight_bit(
    detector: Path,
    place: Path,
    split_file: Path | None,
    fold: str | None,
    out: Path,
    threads: int,
    **options: Any,
) -> None:
    """Teach DETECTOR, a checkpoint, to say the same with numbers rounded to 8 bits, so that its 8-bit file loses less.

    Needs a detector made of nanocsp's blocks. The result is a checkpoint like any other: export it with --eight-bit.
    """
    try:
        from osteon.training import runs
    except ModuleNotFoundError as error:
        raise MissingExtra(f"training needs {error.name}", hint="pip install 'osteon[train]'") from error
    from osteon.datasets.recognise import open_dataset
    from osteon.datasets.split import Split

    if threads:
        runs.use_threads(threads)
    split = Split.read(split_file or detector.parent / "split.json")
    loop = replace(REHEARSAL_LOOP, **options, evaluate_every=options["epochs"])
    with runs.joined(), bars(shown=runs.is_first()) as report:
        checkpoint = runs.rehearse_eight_bit(
            open_dataset(place),
            split.fold(fold) if fold else split,
            runs.Run(out, str(detector)),
            loop=loop,
            progress=report,
        )
        told = runs.is_first()
    if told:
        message(", ".join(f"{name} {value:.3f}" for name, value in checkpoint.metrics.items()))
        click.echo(out / "best.pt")
