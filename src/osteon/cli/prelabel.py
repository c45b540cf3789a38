"""`osteon data prelabel`: a model's bones, for a person to correct."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteon.cli import message
from osteon.cli.progress import bars
from osteon.datasets import prelabel as labels
from osteon.datasets import uncertainty
from osteon.datasets.recognise import FORMATS

if TYPE_CHECKING:
    from osteon.datasets.case import Case
    from osteon.findings import Bone
    from osteon.inference.pipeline import Pipeline
    from osteon.radiograph import Radiograph

_PLACE = click.Path(path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
RANKING_FILE = "uncertain.csv"


@click.command(
    epilog="""\b
Examples:
  osteon data prelabel films/ --out to-correct
  osteon data prelabel FracAtlas --out next --select uncertain --count 50
"""
)
@click.argument("place", type=_PLACE)
@click.option("--out", type=_FOLDER, required=True, help="Folder to write, a data set of its own.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice([labels.AUTO, labels.FILMS, *(known.name for known in FORMATS if known.name != "pictures")]),
    default=labels.AUTO,
    show_default=True,
    help="Layout of a data set; films: a plain folder; auto: a data set where one is recognised.",
)
@click.option("--images", type=_PLACE, help="Folder of a data set's pictures, if not beside the labels.")
@click.option("--bones", type=_FILE, help="Another model of single bones (ONNX with a card).")
@click.option("--gate", type=_FILE, help="Another gate model.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Least score of a bone. [default: the model's]")
@click.option("--select", type=click.Choice(["uncertain"]), help="Only the films that the model is least sure of.")
@click.option("--count", type=click.IntRange(min=1), help="With --select: how many.")
@click.option("--copy-images/--no-copy-images", default=True, show_default=True, help="Pictures into OUT/images.")
@click.pass_context
def prelabel(
    ctx: click.Context,
    /,
    place: Path,
    out: Path,
    format_name: str,
    images: Path | None,
    bones: Path | None,
    gate: Path | None,
    min_score: float | None,
    select: str | None,
    count: int | None,
    copy_images: bool,
) -> None:
    """Write the model's bones on the films of PLACE for a person to correct in CVAT.

    OUT gets annotations.xml (CVAT for images 1.1), annotations.json (COCO), labels.json (the labels, for CVAT's new
    task) and images/. What CVAT exports after correction comes back by `osteon data import`.

    With --select uncertain OUT gets --count films only, and uncertain.csv ranks all of them and says why; the model is
    then run twice on each, on the film and on its mirror image.
    """
    if (select is None) != (count is None):
        raise click.UsageError("give --select and --count together")
    from osteon.inference.pipeline import GATE_FILE, Pipeline

    pipeline = Pipeline.bundled(gate=gate or GATE_FILE, bones=bones)
    card = pipeline.bones_session().card
    films = _films(place, format_name, images, out / labels.IMAGES)
    finder = partial(_bones, pipeline, min_score=min_score)
    with bars() as report:
        progress = partial(report, "finding bones")
        made = labels.prelabel(films, finder, doubts=bool(select), progress=progress)
    pages = _most_doubtful(made.pages, count, out) if count else made.pages
    written = labels.write(pages, out, labels=card.labels, copy_images=copy_images)
    for failure in made.failures:
        message(f"{failure.source}: {failure.message} ({failure.hint})")
    if made.no_films:
        message(f"{made.no_films} pictures are no radiographs and left out")
    message(f"{sum(len(case.instances or ()) for case in written)} bones on {len(written)} films")
    click.echo(out / labels.CVAT_FILE)
    ctx.exit(1 if made.failures else 0)


def _bones(pipeline: "Pipeline", radiograph: "Radiograph", *, min_score: float | None) -> "tuple[Bone, ...] | None":
    if not pipeline.bone(radiograph).present:
        return None
    return pipeline.bones(radiograph, min_score=min_score)


def _films(place: Path, format_name: str, images: Path | None, written: Path) -> list["Case"]:
    """The films of a place, without the pictures that an earlier run wrote below it."""
    found = labels.films_of(place, format=format_name, images=images)
    if place.resolve().is_relative_to(written.resolve()):
        return list(found)
    return [film for film in found if not film.path.resolve().is_relative_to(written.resolve())]


def _most_doubtful(pages: Sequence[labels.Page], count: int, out: Path) -> list[labels.Page]:
    """The chosen pages, most doubtful first; the ranking of all is written."""
    candidates = [page.candidate for page in pages if page.candidate]
    ranking = uncertainty.rank(candidates, count=count)
    uncertainty.write_csv(ranking, out / RANKING_FILE)
    by_name = {page.case.name: page for page in pages}
    return [by_name[item.candidate.name] for item in ranking if item.chosen]
