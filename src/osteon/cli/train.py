"""`osteon train`: gates and detectors."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from osteon.cli import message
from osteon.cli.progress import bars
from osteon.errors import MissingExtra
from osteon.training.config import DetectorSettings, GateSettings, LoopSettings

if TYPE_CHECKING:
    from osteon.training.checkpoint import Checkpoint

Command = TypeVar("Command", bound=Callable[..., Any])
SHARED = ("epochs", "batch", "learning_rate", "pretrained_rate", "warmup_steps", "ema", "seed", "evaluate_every")
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def _options(settings: type, names: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """An option for each field of a settings class (or for those named), with the class's own default."""

    def add(command: Command) -> Command:
        for field in reversed(fields(settings)):
            if not names or field.name in names:
                flag = "--" + field.name.replace("_", "-")
                command = click.option(flag, default=field.default, show_default=True, type=type(field.default))(
                    command
                )
        return command

    return add


def _common(command: Command) -> Command:
    for decorator in (
        click.option("--split", "split_file", type=FILE, help="Split file with train and valid. [default: made here]"),
        click.option("--weights", default="none", show_default=True, help="none, imagenet, or a file to start from."),
        click.option("--out", type=FOLDER, required=True, help="Folder for checkpoints; a run there is gone on with."),
        click.option("--threads", default=0, help="Processor threads; 0: all."),
        _options(LoopSettings, SHARED),
    ):
        command = decorator(command)
    return command


@click.group()
def train() -> None:
    """Train a gate or a detector; needs the extra `train` (pip install 'osteon[train]').

    A run writes last.pt after each epoch and goes on from it when started again; best.pt is the one to export.
    """


@train.command(
    "detector",
    epilog="""\b
Examples:
  osteon train detector --data FracAtlas --weights nanodet_g_coco_folded.pth --out runs/detector
  osteon train detector --data hands/ --split split.json --epochs 20 --out runs/hands
""",
)
@click.option("--data", "place", type=click.Path(exists=True, path_type=Path), required=True, help="Data set.")
@_common
@_options(DetectorSettings)
def train_detector(place: Path, split_file: Path | None, weights: str, out: Path, threads: int, **options: Any) -> None:
    """Train a fracture detector on boxes or polygons; normal pictures are used where the data set has them."""
    runs = _runs(threads)
    from osteon.datasets.recognise import open_dataset

    manifest = open_dataset(place)
    with bars() as report:
        checkpoint = runs.train_detector(
            manifest,
            _split(manifest, split_file, out),
            runs.Run(out, weights),
            settings=_settings(DetectorSettings, options),
            loop=_settings(LoopSettings, options),
            progress=report,
        )
    _tell(checkpoint, out)


@train.command(
    "gate",
    epilog="""\b
Examples:
  osteon train gate --data bonemasks/instances.json --films FracAtlas --negatives photographs/ --out runs/gate
  osteon train gate --data PH2/ --arch segnet --epochs 12 --out runs/lesions
""",
)
@click.option("--data", "place", type=click.Path(exists=True, path_type=Path), required=True, help="Data set of masks.")
@click.option("--films", type=click.Path(exists=True, path_type=Path), help="FracAtlas, if --data outlines its films.")
@click.option("--negatives", type=click.Path(exists=True, path_type=Path), help="Folder of pictures without bone.")
@_common
@_options(GateSettings)
def train_gate(
    place: Path,
    films: Path | None,
    negatives: Path | None,
    split_file: Path | None,
    weights: str,
    out: Path,
    threads: int,
    **options: Any,
) -> None:
    """Train a gate on masks of bone, with pictures that are no radiographs as its opposite."""
    runs = _runs(threads)
    from osteon.datasets.bonemasks import open_masks

    manifest = open_masks(place, films=films, negatives=negatives)
    with bars() as report:
        checkpoint = runs.train_gate(
            manifest,
            _split(manifest, split_file, out),
            runs.Run(out, weights),
            settings=_settings(GateSettings, options),
            loop=_settings(LoopSettings, options),
            progress=report,
        )
    _tell(checkpoint, out)


def _runs(threads: int) -> Any:
    """The module of trainings; a clear error where torch is missing."""
    try:
        from osteon.training import runs
    except ModuleNotFoundError as error:
        raise MissingExtra(f"training needs {error.name}", hint="pip install 'osteon[train]'") from error
    if threads:
        runs.use_threads(threads)
    return runs


def _settings(kind: type, options: dict[str, Any]) -> Any:
    return kind(**{field.name: options[field.name] for field in fields(kind) if field.name in options})


def _split(manifest: Any, file: Path | None, out: Path) -> Any:
    """The split of a file; or the official one for FracAtlas, or 80 to 20, made here and kept beside the run."""
    from osteon.datasets.duplicates import duplicate_groups
    from osteon.datasets.split import Split, official_split, split

    kept = out / "split.json"
    if file or kept.is_file():
        return Split.read(file or kept)
    message("looking for duplicates, to keep them on one side of the split")
    groups = duplicate_groups(manifest.cases)
    if {"train", "valid"} <= {case.split for case in manifest} and manifest.name == "fracatlas":
        made = official_split(manifest, groups)
    else:
        made = split(manifest, fractions={"train": 0.8, "valid": 0.2}, groups=groups)
    made.write(kept)
    return made


def _tell(checkpoint: "Checkpoint", out: Path) -> None:
    figures = ", ".join(f"{name} {value:.3f}" for name, value in checkpoint.metrics.items())
    message(f"best epoch {checkpoint.epoch}: {figures}")
    click.echo(out / "best.pt")
