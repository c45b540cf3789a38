"""`osteon segment`: bone masks."""

from pathlib import Path

import click

from osteon.cli import message


@click.command(
    epilog="""\b
Examples:
  osteon segment wrist.dcm --out masks
  osteon segment films/ --out masks
"""
)
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the masks.")
@click.option("--gate", type=click.Path(dir_okay=False, path_type=Path), help="Another gate model (ONNX with a card).")
@click.pass_context
def segment(ctx: click.Context, paths: tuple[str, ...], out: Path, gate: Path | None) -> None:
    """Write NAME.mask.png for each picture: 255 where there is bone, else 0, at the picture's size.

    A picture that the gate turns away gets its mask too, and a line on standard error.
    """
    from osteon.cli.progress import bars
    from osteon.errors import OsteonError
    from osteon.files import find, read_pages
    from osteon.files.masks import picture_name, write_mask
    from osteon.inference.pipeline import GATE_FILE, Pipeline

    pipeline = Pipeline.bundled(gate=gate or GATE_FILE)
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
            except OsteonError as error:
                failed = True
                message(f"{path}: {error.message} ({error.hint})")
            report("segmenting", done, len(files))
    ctx.exit(1 if failed else 0)
