"""`osteon train`: gates, detectors, single bones."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from osteon.cli import message
from osteon.cli.bone_judge import train_bone_judge
from osteon.cli.progress import bars
from osteon.errors import MissingExtra
from osteon.training.config import (
    BONES_LOOP,
    BUNDLED,
    TUNING_LOOP,
    BonesSettings,
    DetectorSettings,
    GateSettings,
    LoopSettings,
    TuningSettings,
)

if TYPE_CHECKING:
    from osteon.training.checkpoint import Checkpoint

Command = TypeVar("Command", bound=Callable[..., Any])
SHARED = ("epochs", "batch", "learning_rate", "pretrained_rate", "warmup_steps", "ema", "seed", "evaluate_every")
FILE = click.Path(dir_okay=False, path_type=Path)
PLACE = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


_TUNED = ", ".join(f"--{name.replace('_', '-')} {getattr(TUNING_LOOP, name)}" for name in SHARED if name != "seed")


def _options(settings: type, names: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """An option for each field of a settings class (or for those named), with the class's own default."""

    def add(command: Command) -> Command:
        for field in reversed(fields(settings)):
            if not names or field.name in names:
                name = field.name.replace("_", "-")
                flag = f"--{name}/--no-{name}" if isinstance(field.default, bool) else f"--{name}"
                command = click.option(flag, default=field.default, show_default=True, type=type(field.default))(
                    command
                )
        return command

    return add


def _common(command: Command) -> Command:
    for decorator in (
        click.option("--split", "split_file", type=FILE, help="Split file with train and valid. [default: made here]"),
        click.option("--fold", help="Validate on this part of --split, train on the others."),
        click.option("--weights", default="none", show_default=True, help="none, imagenet, coco, or a file."),
        click.option("--out", type=FOLDER, required=True, help="Folder for checkpoints; a run there is gone on with."),
        click.option("--threads", default=0, help="Processor threads; 0: all."),
        _options(LoopSettings, SHARED),
    ):
        command = decorator(command)
    return command


@click.group()
def train() -> None:
    """Train a gate, a detector, or a finder of single bones; needs the extra `train` (pip install 'osteon[train]').

    A run writes last.pt after each epoch and goes on from it when started again; best.pt is the one to export.
    In several processes, on one machine or on several with a shared folder, either trains by
    `torchrun --nproc-per-node 2 -m osteon train detector ...`; --batch is then each process's own.
    """


train.add_command(train_bone_judge)


@train.command(
    "detector",
    epilog=f"""\b
With --init these are the defaults: {_TUNED}

\b
Examples:
  osteon train detector --data FracAtlas --weights nanodet_g_coco_folded.pth --out runs/detector
  osteon train detector --data hands/ --split split.json --epochs 20 --out runs/hands
  osteon train detector --init bundled --data feedback/ --keep FracAtlas --out runs/tuned
""",
)
@click.option("--data", "place", type=PLACE, required=True, help="Data set; with --init the new one.")
@click.option(
    "--init",
    type=FILE,
    help="Train on from this detector: checkpoint, ONNX as released, or `bundled`: the installed one.",
)
@click.option("--keep", type=PLACE, help="With --init: old data, shown and judged too, so that they are not forgotten.")
@click.option("--keep-split", type=FILE, help="Split of --keep. [default: made here]")
@_options(TuningSettings)
@_common
@_options(DetectorSettings)
@click.pass_context
def train_detector(
    context: click.Context,
    /,
    place: Path,
    init: Path | None,
    keep: Path | None,
    keep_split: Path | None,
    split_file: Path | None,
    fold: str | None,
    weights: str,
    out: Path,
    threads: int,
    **options: Any,
) -> None:
    """Train a fracture detector on boxes or polygons; normal pictures are used where the data set has them.

    With --init a trained detector learns new data without forgetting: rates are low, normalisation keeps its
    statistics, --anchor holds weights near the start, --replay shows pictures of --keep, and an epoch counts only where
    the figure on the validation part of --keep has not fallen by more than --margin. Epoch 0, the start, counts too.
    """
    if init is None and keep is not None:
        raise click.UsageError("--keep goes with --init")
    if init is not None and fold is not None:
        raise click.UsageError("--fold is for a training from the start; with --init give parts train and valid")
    if init is not None and weights != "none":
        raise click.UsageError("--init and --weights are two ways to start; give one")
    runs = _runs(threads)
    from osteon.datasets.recognise import open_dataset

    manifest = open_dataset(place)
    settings = _settings(DetectorSettings, options)
    with runs.joined(), bars(shown=runs.is_first()) as report:
        if init is None:
            with runs.in_turn():
                split = _split(manifest, split_file, out, fold)
            run, loop = runs.Run(out, weights), _settings(LoopSettings, options)
            checkpoint = runs.train_detector(manifest, split, run, settings=settings, loop=loop, progress=report)
        else:
            with runs.in_turn():
                data = _tuning_data((manifest, split_file), (keep and open_dataset(keep), keep_split), out)
            checkpoint = runs.fine_tune_detector(
                data,
                runs.Run(out, _start(init)),
                settings=settings,
                loop=_given(context, TUNING_LOOP, options),
                tuning=_settings(TuningSettings, options),
                progress=report,
            )
        told = runs.is_first()
    if not told:
        return
    _tell(checkpoint, out)
    if init is not None and checkpoint.epoch == 0:
        message("no epoch was better on the new data while the old figure held: best.pt is the start itself")


@train.command(
    "gate",
    epilog="""\b
Examples:
  osteon train gate --data bonemasks/instances.json --films FracAtlas --negatives photographs/ --out runs/gate
  osteon train gate --data PH2/ --arch segnet --epochs 12 --out runs/lesions
""",
)
@click.option("--data", "place", type=PLACE, required=True, help="Data set of masks.")
@click.option("--films", type=PLACE, help="FracAtlas, if --data outlines its films.")
@click.option("--negatives", type=PLACE, help="Folder of pictures without bone.")
@_common
@_options(GateSettings)
def train_gate(
    place: Path,
    films: Path | None,
    negatives: Path | None,
    split_file: Path | None,
    fold: str | None,
    weights: str,
    out: Path,
    threads: int,
    **options: Any,
) -> None:
    """Train a gate on masks of bone, with pictures that are no radiographs as its opposite."""
    runs = _runs(threads)
    from osteon.datasets.bonemasks import open_masks

    manifest = open_masks(place, films=films, negatives=negatives)
    with runs.joined(), bars(shown=runs.is_first()) as report:
        with runs.in_turn():
            split = _split(manifest, split_file, out, fold)
        checkpoint = runs.train_gate(
            manifest,
            split,
            runs.Run(out, weights),
            settings=_settings(GateSettings, options),
            loop=_settings(LoopSettings, options),
            progress=report,
        )
        told = runs.is_first()
    if told:
        _tell(checkpoint, out)


_BONES_DEFAULTS = ", ".join(f"--{n.replace('_', '-')} {getattr(BONES_LOOP, n)}" for n in SHARED if n != "seed")


@train.command(
    "bones",
    epilog=f"""\b
Of the loop these are the defaults: {_BONES_DEFAULTS}

\b
Examples:
  osteon train bones --data fracatlas-bones.json --films FracAtlas --weights nanodet_g_coco_folded.pth --out runs/bones
  osteon train bones --data cvat.xml --classes bone,implant --out runs/metal
""",
)
@click.option("--data", "place", type=PLACE, required=True, help="Data set with an outline for each bone.")
@click.option("--films", type=PLACE, help="FracAtlas, if --data outlines its films.")
@_common
@_options(BonesSettings)
@click.pass_context
def train_bones(
    context: click.Context,
    /,
    place: Path,
    films: Path | None,
    split_file: Path | None,
    fold: str | None,
    weights: str,
    out: Path,
    threads: int,
    **options: Any,
) -> None:
    """Train a model that outlines every bone on its own.

    With --classes bone all bones are alike, with bone,implant metal is apart, with anatomy labels are as they stand.
    Objects labelled `ignore` are left out of loss and figures.
    """
    runs = _runs(threads)
    from osteon.datasets.bonemasks import open_masks

    manifest = open_masks(place, films=films)
    with runs.joined(), bars(shown=runs.is_first()) as report:
        with runs.in_turn():
            split = _split(manifest, split_file, out, fold)
        checkpoint = runs.train_bones(
            manifest,
            split,
            runs.Run(out, weights),
            settings=_settings(BonesSettings, options),
            loop=_judged_last(context, _given(context, BONES_LOOP, options)),
            progress=report,
        )
        told = runs.is_first()
    if told:
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


def _start(init: Path) -> str:
    """The file to train on from; `bundled` is the installed detector."""
    from osteon.inference.pipeline import DETECTOR_FILE

    return str(DETECTOR_FILE if str(init) == BUNDLED else init)


def _settings(kind: type, options: dict[str, Any]) -> Any:
    return kind(**{field.name: options[field.name] for field in fields(kind) if field.name in options})


def _given(context: click.Context, defaults: LoopSettings, options: dict[str, Any]) -> LoopSettings:
    """The defaults with what was given outright; an option's own default does not count."""
    given = {name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    return replace(defaults, **{name: options[name] for name in given & set(SHARED)})


def _judged_last(context: click.Context, loop: LoopSettings) -> LoopSettings:
    """Only the last epoch is judged, so that it is the one kept, however many there are; unless told otherwise."""
    asked = context.get_parameter_source("evaluate_every") is not ParameterSource.DEFAULT
    return loop if asked else replace(loop, evaluate_every=loop.epochs)


def _split(manifest: Any, file: Path | None, out: Path, fold: str | None = None) -> Any:
    """The split of a file, or that which validates on one of its parts; or one made here and kept beside the run."""
    from osteon.datasets.split import Split

    kept = out / "split.json"
    if fold and not file:
        raise click.UsageError("--fold goes with --split")
    if file or kept.is_file():
        read = Split.read(file or kept)
        return read.fold(fold) if fold else read
    made = _made_split(manifest, _duplicates(manifest.cases))
    made.write(kept)
    return made


def _made_split(manifest: Any, groups: Any) -> Any:
    """The official split for FracAtlas, else 80 to 20."""
    from osteon.datasets.split import official_split, split

    if {"train", "valid"} <= {case.split for case in manifest} and manifest.name == "fracatlas":
        return official_split(manifest, groups)
    return split(manifest, fractions={"train": 0.8, "valid": 0.2}, groups=groups)


def _duplicates(cases: Any) -> Any:
    from osteon.datasets.duplicates import duplicate_groups

    message("looking for duplicates, to keep them on one side of the split")
    return duplicate_groups(cases)


def _tuning_data(new: tuple[Any, Path | None], old: tuple[Any, Path | None], out: Path) -> Any:
    """New and kept data with their split, both written beside the run: manifest.json and split.json, for `export`.

    Args:
        new: manifest and split file, or None.
        old: likewise; without a manifest nothing is kept.
        out: folder of the run.
    """
    from osteon.datasets.manifest_file import write_manifest
    from osteon.datasets.split import Split
    from osteon.training.fine_tuning import TuningData, merged

    if old[0] is None:
        message("without --keep nothing tells how much of the old is forgotten")
        return TuningData(new[0], _split(*new, out))
    kept = out / "split.json"
    if kept.is_file():
        nothing = Split("", {}, 0, "")
        data = replace(merged((new[0], nothing), (old[0], nothing)), split=Split.read(kept))
    else:
        groups = _duplicates((*new[0].cases, *old[0].cases))
        parts = [(m, Split.read(file) if file else _made_split(m, groups)) for m, file in (new, old)]
        data = merged(parts[0], parts[1], groups)
        data.split.write(kept)
    write_manifest(data.manifest, out / "manifest.json")
    return data


def _tell(checkpoint: "Checkpoint", out: Path) -> None:
    figures = ", ".join(f"{name} {value:.3f}" for name, value in checkpoint.metrics.items())
    message(f"best epoch {checkpoint.epoch}: {figures}")
    click.echo(out / "best.pt")
