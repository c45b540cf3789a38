"""`osteon segment`: bone masks, and single bones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from osteon.anatomy import Language
from osteon.cli import message

if TYPE_CHECKING:
    from osteon.findings import BoneEvidence
    from osteon.inference.instances import ImageRecord
    from osteon.inference.pipeline import Pipeline
    from osteon.radiograph import Radiograph

INSTANCES = "instances.json"


@click.command(
    epilog="""\b
Examples:
  osteon segment wrist.dcm --out masks
  osteon segment films/ --out masks
  osteon segment films/ --out masks --instances --language ru
"""
)
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the masks.")
@click.option("--instances", is_flag=True, help="Write each bone as an object of its own, too.")
@click.option("--language", type=click.Choice(("en", "ru")), default="en", show_default=True, help="Of overlays.")
@click.option("--gate", type=click.Path(dir_okay=False, path_type=Path), help="Another gate model (ONNX with a card).")
@click.option("--bones", type=click.Path(dir_okay=False, path_type=Path), help="Another model of single bones.")
@click.pass_context
def segment(
    ctx: click.Context,
    paths: tuple[str, ...],
    out: Path,
    instances: bool,
    language: str,
    gate: Path | None,
    bones: Path | None,
) -> None:
    """Write NAME.mask.png for each picture: 255 where there is bone, else 0, at the picture's size.

    A picture that the gate turns away gets its mask too, and a line on standard error. Instances go into instances.json
    (COCO: a run-length mask, box and score for each bone and implant), and NAME.instances.png is an overlay with their
    names, for each radiograph.
    """
    from osteon.cli.progress import bars
    from osteon.errors import OsteonError
    from osteon.files import find, read_pages
    from osteon.files.masks import picture_name, write_mask
    from osteon.inference.pipeline import GATE_FILE, Pipeline

    if bones and not instances:
        raise click.UsageError("--bones goes with --instances")
    pipeline = Pipeline.bundled(gate=gate or GATE_FILE, bones=bones)
    images: list[ImageRecord] = []
    single = _finder(pipeline, out, cast(Language, language), images) if instances else None
    files = list(find(paths))
    failed = False
    taken: set[str] = set()
    with bars() as report:
        for done, path in enumerate(files, start=1):
            try:
                for radiograph in read_pages(path):
                    bone = pipeline.bone(radiograph)
                    write_mask(out / picture_name(radiograph, "mask", taken), bone, radiograph)
                    if not bone.present:
                        message(f"{radiograph.source}: not a radiograph")
                    if single:
                        single(radiograph, bone)
            except OsteonError as error:
                failed = True
                message(f"{path}: {error.message} ({error.hint})")
            report("segmenting", done, len(files))
    if instances:
        _write(out / INSTANCES, images)
    ctx.exit(1 if failed else 0)


def _finder(
    pipeline: "Pipeline", out: Path, language: Language, images: "list[ImageRecord]"
) -> "Callable[[Radiograph, BoneEvidence], None]":
    """What finds, draws and adds to `images` the bones of a radiograph; where the gate saw none, there are none."""
    from osteon.files import overlay
    from osteon.files.masks import picture_name
    from osteon.inference.instances import ImageRecord

    pipeline.bones_session()  # a missing model is told before any work
    taken: set[str] = set()

    def find(radiograph: "Radiograph", bone: "BoneEvidence") -> None:
        bones = pipeline.bones(radiograph) if bone.present else ()
        images.append(ImageRecord.of(radiograph, bones))
        if bone.present:
            name = picture_name(radiograph, "instances", taken)
            overlay.write(out / name, overlay.draw_bones(radiograph, bones, language=language))

    return find


def _write(path: Path, images: "list[ImageRecord]") -> None:
    from osteon.inference.instances import document

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(images)) + "\n", encoding="utf-8")
    message(f"wrote {path}")
