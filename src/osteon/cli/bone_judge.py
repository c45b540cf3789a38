"""`osteon train bone-judge` and `osteon evaluate bone-judge`: every bone judged by itself."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from osteon.cli import message
from osteon.cli.progress import bars
from osteon.errors import ConfigurationError, MissingExtra
from osteon.training.config import JUDGE_LOOP, BoneJudgeSettings, LoopSettings

Command = TypeVar("Command", bound=Callable[..., Any])
LOOP = ("epochs", "batch", "learning_rate", "pretrained_rate", "warmup_steps", "ema", "seed")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PLACE = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
MODEL_FILE = "bone-judge.onnx"


def _data(command: Command) -> Command:
    for decorator in (
        click.option("--crops", "folder", type=FOLDER, required=True, help="Folder for the crops, cut once; ignored."),
        click.option("--split", "split_file", type=FILE, required=True, help="Split with train and valid, or folds."),
        click.option(
            "--bones",
            "files",
            type=FILE,
            multiple=True,
            required=True,
            help="Bones of the films (COCO; `osteon segment --instances`), such as one file for each fold.",
        ),
        click.option("--data", "place", type=PLACE, required=True, help="Films with fracture outlines, and normals."),
    ):
        command = decorator(command)
    return command


def _settings_options(command: Command) -> Command:
    """An option for each setting of the judge and of how it is optimised, with their own defaults."""
    defaults: list[tuple[type, Any, tuple[str, ...]]] = [
        (BoneJudgeSettings, BoneJudgeSettings(), tuple(field.name for field in fields(BoneJudgeSettings))),
        (LoopSettings, JUDGE_LOOP, LOOP),
    ]
    for kind, settings, names in defaults:
        for field in reversed([field for field in fields(kind) if field.name in names]):
            default, name = getattr(settings, field.name), field.name.replace("_", "-")
            flag = f"--{name}/--no-{name}" if isinstance(default, bool) else f"--{name}"
            command = click.option(flag, default=default, show_default=True, type=type(default))(command)
    return command


@click.command(
    "bone-judge",
    epilog="""\b
Examples:
  osteon train bone-judge --data FracAtlas --bones bones1.json --bones bones2.json --split folds.json \\
      --crops runs/crops --weights nanodet_g_coco_folded.pth --out runs/judge
  osteon train bone-judge --data FracAtlas --bones bones.json --split split.json --crops runs/crops --out runs/judge
""",
)
@_data
@click.option("--fold", "only", multiple=True, help="Only this part of a split into folds. [default: each in turn]")
@click.option("--weights", default="none", show_default=True, help="none, or a file to start from.")
@click.option("--out", type=FOLDER, required=True, help="Folder for checkpoints; with folds a folder each in it.")
@click.option("--threads", default=0, help="Processor threads; 0: all.")
@click.option("--training-data", default="", help="Where the data come from, for the card.")
@_settings_options
def train_bone_judge(
    place: Path,
    files: tuple[Path, ...],
    split_file: Path,
    folder: Path,
    only: tuple[str, ...],
    weights: str,
    out: Path,
    threads: int,
    training_data: str,
    **options: Any,
) -> None:
    """Train a network that says of a single bone whether it is broken; with folds, one for each.

    Drawn fractures tell which bone is broken: the one that most of the outline lies on. The other bones of fractured
    films are not used, the bones of normal films are whole. The last epoch is kept and written as bone-judge.onnx with
    its card; a run in the folder is gone on with, and a finished one is left as it is.
    """
    try:
        from osteon.training import runs
        from osteon.training.bone_judge import train_bone_judge as train
        from osteon.training.bone_judge_release import release_bone_judge
        from osteon.training.release import Release
    except ModuleNotFoundError as error:
        raise MissingExtra(f"training needs {error.name}", hint="pip install 'osteon[train]'") from error
    settings = BoneJudgeSettings(**{field.name: options[field.name] for field in fields(BoneJudgeSettings)})
    loop = replace(JUDGE_LOOP, **{name: options[name] for name in LOOP})
    loop = replace(loop, evaluate_every=loop.epochs)
    if threads:
        runs.use_threads(threads)
    with bars() as report:
        manifest, _, crops = _opened(place, files, folder, settings.side_px, settings.margin, report)
        for name, split in _folds(split_file, only).items():
            where = out / name
            run = runs.Run(where, weights)
            checkpoint = train(crops, split, run, settings=settings, loop=loop, progress=report)
            about = Release("osteon-bone-judge", "0.1.0", "Apache-2.0", training_data or manifest.name)
            card = release_bone_judge(checkpoint, where / MODEL_FILE, about, crops=crops, split=split, progress=report)
            message(f"{name or 'validation'}: {dict(card.metrics)}")
            click.echo(where / MODEL_FILE)


def _opened(
    place: Path, files: tuple[Path, ...], folder: Path, side_px: int, margin: float, report: Any
) -> tuple[Any, Any, Any]:
    """The films, their bones, and the crops of these."""
    from osteon.datasets.bone_crops import Framing
    from osteon.datasets.crop_store import OutlinedBones, cut
    from osteon.datasets.recognise import open_dataset

    manifest, bones = open_dataset(place), OutlinedBones.read(files)
    return manifest, bones, cut(manifest, bones, folder, framing=Framing(side_px, margin), progress=report)


def _folds(file: Path, only: tuple[str, ...]) -> dict[str, Any]:
    """Splits with train and valid by name of the fold; one named "" where the file has these parts itself."""
    from osteon.datasets.split import LEFT_OUT, Split

    split = Split.read(file)
    if {"train", "valid"} <= split.parts.keys():
        if only:
            raise ConfigurationError(f"{file.name} has no folds", hint="leave --fold out")
        return {"": split}
    names = only or tuple(name for name in split.parts if name not in (LEFT_OUT, "test"))
    return {name: split.fold(name) for name in names}


@click.command(
    "bone-judge",
    epilog="""\b
Examples:
  osteon evaluate bone-judge runs/judge/fold*/bone-judge.onnx --data FracAtlas --bones bones1.json \\
      --bones bones2.json --split folds.json --crops runs/crops --records fold1.jsonl.gz --records fold2.jsonl.gz
""",
)
@click.argument("models", nargs=-1, required=True, type=FILE)
@_data
@click.option(
    "--records",
    "records_files",
    type=FILE,
    multiple=True,
    help="Boxes of each fold's own detector on that fold (osteon evaluate detector --records).",
)
@click.option(
    "--detector",
    type=FILE,
    help="Detector whose card says how films are scored as a whole, and that judges are joined with. [default: the"
    " installed one]",
)
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Tables instead of JSON.")
def evaluate_bone_judge(
    models: tuple[Path, ...],
    place: Path,
    files: tuple[Path, ...],
    split_file: Path,
    folder: Path,
    records_files: tuple[Path, ...],
    detector: Path | None,
    samples: int,
    as_markdown: bool,
) -> None:
    """AUROC by bone and by film: judges (MODELS, one for each fold), detectors, and both joined, with 95% intervals.

    Every judge is asked about the part that it has not learned from, which its card tells; detectors likewise. Only
    films that both have judged count. The curve that joins them is fitted on the other folds, of a single fold on its
    other half; `osteon models adopt` takes the curve of all into the card of a judge.
    """
    from osteon.datasets.split import Split
    from osteon.evaluation import bone_judge as evaluation
    from osteon.evaluation import bone_judge_report
    from osteon.evaluation.plain import plain
    from osteon.inference.bone_judge import framing_of, spoken
    from osteon.inference.pipeline import DETECTOR_FILE
    from osteon.inference.session import Session, read_card

    sessions = [Session(path, task="bone-judge") for path in models]
    framings = {framing_of(session.card) for session in sessions}
    if len(framings) > 1:
        raise ConfigurationError("the judges want differently cut bones", hint="give judges of one training")
    framing = framings.pop()
    with bars() as report:
        manifest, bones, crops = _opened(place, files, folder, framing.side_px, framing.margin, report)
        parts = evaluation.judges_by_part(sessions, _folds(split_file, ()))
        card, split = read_card(detector or DETECTOR_FILE)[0], Split.read(split_file)
        found = evaluation.boxes_of(records_files, parts, split, scale=card.picture) if records_files else None
        films = evaluation.judge_films(manifest, crops, parts, bones=bones, found=found, progress=report)
    told = bone_judge_report.report(films, with_detector=found is not None, samples=samples)
    told["judges"] = [{**session.ref.to_json(), "split_hash": session.card.split_hash} for session in sessions]
    told["detector"] = spoken(card) if found is not None else None
    click.echo(
        bone_judge_report.markdown(told) if as_markdown else json.dumps(plain(told), indent=1), nl=not as_markdown
    )
