"""A detector's report as one HTML page that loads nothing."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from osteon.evaluation.charts import charts
from osteon.evaluation.gallery import Tile
from osteon.evaluation.svg import range_bar

LISTED = 25
TILES = (
    ("auroc", "AUROC", "pictures with and without a fracture told apart"),
    ("sensitivity", "Sensitivity at 'doubt'", "fractured pictures that are called"),
    ("specificity", "Specificity at 'fracture'", "normal pictures that are not"),
    ("map50", "mAP50", "fractures boxed, fractured pictures only"),
    ("sensitivity_at_0.25", "Sensitivity by fracture", "at 0.25 false positives a picture"),
)
FIGURES = {
    "map50": "mAP50 on fractured pictures",
    "map50_all": "mAP50 on all pictures",
    "map50_95": "mAP50-95 on fractured pictures",
    "map30": "mAP30 on fractured pictures",
    "auroc": "AUROC by picture",
    "best_iou_mean": "IoU of the best box, mean over fractured pictures",
    "best_iou_max": "IoU of the best box, largest",
    "image_map50": "mAP50 within a picture, mean over fractured pictures",
    "sensitivity_at_0.1": "sensitivity by fracture at 0.1 false positives a picture",
    "sensitivity_at_0.25": "sensitivity by fracture at 0.25",
    "sensitivity_at_0.5": "sensitivity by fracture at 0.5",
    "sensitivity_at_1.0": "sensitivity by fracture at 1",
}
AT_CUT = {
    "sensitivity": "sensitivity by picture",
    "specificity": "specificity by picture",
    "box_recall": "fractures boxed (IoU 0.5)",
    "box_precision": "boxes right (IoU 0.5)",
}
SHELVES = {
    "misses": ("Worst misses", "Fractured, but no box at or above 'doubt' points at a fracture."),
    "false alarms": ("Worst false alarms", "Normal, but called, the highest scores first."),
    "hits": ("Hits", "From the surest to the least sure, evenly taken."),
}


def html(found: Mapping[str, Any], shelves: Mapping[str, Sequence[Tile]]) -> str:
    """The page of a report's document.

    Args:
        found: the document of `report.document`.
        shelves: tiles of the gallery by a name of `SHELVES`.
    """
    environment = Environment(
        loader=PackageLoader("osteon.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "ends": ends, "bar": bar, "signed": signed}
    return environment.get_template("report.html").render(
        found=found,
        data=found["data"],
        model=found["model"],
        points=found["operating_points"],
        tiles=_tiles(found),
        charts=[(title, Markup(drawing), text) for title, drawing, text in charts(found)],
        shelves=[(*SHELVES[name], tiles) for name, tiles in shelves.items()],
        figure_names=FIGURES,
        at_cut=AT_CUT,
        listed=LISTED,
        groups=[(kind, list(rows)) for kind, rows in groupby(found["groups"], key=itemgetter("kind"))],
    )


def share(value: float | None, places: int = 2) -> str:
    """A figure for people; a dash where there is none.

    >>> share(0.876), share(None), share(float("nan"))
    ('0.88', '–', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{value:.{places}f}"


def ends(interval: Sequence[float | None]) -> str:
    """An interval for people; nothing where there is none.

    >>> ends([0.1, 0.25])
    '0.10 to 0.25'
    """
    low, high = interval
    if low is None or high is None or math.isnan(low + high):
        return ""
    return f"{low:.2f} to {high:.2f}"


def signed(value: float) -> str:
    """A number with its sign, as in a formula.

    >>> signed(-0.5), signed(0.25)
    ('- 0.500', '+ 0.250')
    """
    return f"{'-' if value < 0 else '+'} {abs(value):.3f}"


def bar(row: Mapping[str, Any], name: str) -> Markup:
    """The interval of a row's figure, drawn."""
    return Markup(range_bar(row[name], *row[f"{name}_interval"]))


def _tiles(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures at the head of the page."""
    points, made = found["operating_points"], []
    for name, title, text in TILES:
        source = {"sensitivity": points["doubt"], "specificity": points["fracture"]}.get(name, found)
        made.append(
            {"title": title, "value": source["figures"][name], "interval": source["intervals"][name], "text": text}
        )
    return made
