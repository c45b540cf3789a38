"""`osteon evaluate demotion`: would it help if fractures outside of every bone found lost a grade?"""

import json
from pathlib import Path

import click

from osteon.cli.progress import bars

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PLACE = click.Path(exists=True, path_type=Path)


@click.command(
    "demotion",
    epilog="""\b
Examples:
  osteon evaluate detector --data FracAtlas --split docs/splits/folds.json --part fold1 --records fold1.jsonl.gz
  osteon evaluate demotion fold1.jsonl.gz --data FracAtlas
  osteon evaluate demotion fold2.jsonl.gz --data FracAtlas --detector fold2.onnx --bones bones2.onnx --least-cover 0.2
""",
)
@click.argument("records_file", type=FILE)
@click.option("--data", "place", type=PLACE, required=True, help="The data set that the records are of.")
@click.option("--detector", type=FILE, help="Detector whose cuts are taken. [default: the installed one]")
@click.option("--bones", type=FILE, help="Model of single bones. [default: the installed one]")
@click.option(
    "--least-cover",
    "covers",
    type=click.FloatRange(0, 1),
    multiple=True,
    help="Share of a box that must lie on bone, else it is outside; may be given several times. [default: 0.05]",
)
def evaluate_demotion(
    records_file: Path, place: Path, detector: Path | None, bones: Path | None, covers: tuple[float, ...]
) -> None:
    """Figures at "fracture" and at "doubt", as they are and with boxes outside of bones a grade lower.

    RECORDS_FILE is what `osteon evaluate detector --records` keeps. A box is outside where bones were found on its
    film, and less than the least cover of the box lies on them. JSON: for each least cover the sensitivity and
    specificity by film, precision and recall of boxes, and how many boxes are outside.
    """
    from osteon.datasets.recognise import open_dataset
    from osteon.evaluation import records
    from osteon.evaluation.demotion import demotion, record_covers
    from osteon.evaluation.plain import plain
    from osteon.inference.anchoring import LEAST_COVER
    from osteon.inference.pipeline import DETECTOR_FILE, Pipeline
    from osteon.inference.session import read_card

    card, _ = read_card(detector or DETECTOR_FILE)
    session = Pipeline.bundled(bones=bones).bones_session()
    with bars() as progress:
        found = record_covers(
            session, records.read(records_file).judged(), open_dataset(place).cases, progress=progress
        )
    cuts = {"fracture": card.cut("fracture"), "doubt": card.cut("doubt")}
    told = {f"{least:g}": demotion(found, **cuts, least_cover=least) for least in covers or (LEAST_COVER,)}
    click.echo(json.dumps(plain({"pictures": len(found), "cuts": cuts, "least_cover": told}), indent=1))
