"""A model's card for a reader: Markdown made from what stands in the model file, so that the two cannot differ."""

import json
from collections.abc import Mapping

from osteon.findings import ModelRef
from osteon.inference.card import Card

USES = {
    "gate": "Tells whether a picture is a radiograph that shows bone, and where the bone is. "
    "The first stage of Osteon: what it turns away never reaches the fracture detector.",
    "detector": "Draws boxes around suspected fractures on radiographs that have passed the gate. "
    "One class; it does not name the bone or the kind of fracture.",
    "bones": "Outlines each bone, and metal, as an object of its own and names it, so that a suspected fracture can be "
    "told by the bone that it lies on. Run only where somebody asks for bones.",
}


def markdown(card: Card, ref: ModelRef, size_bytes: int) -> str:
    """The model card (Mitchell et al. 2019) of a model file."""
    lines = [
        f"# {card.name} {card.version}",
        "",
        USES[card.task],
        "",
        f"**{card.limits}** A clean answer does not rule a fracture out.",
        "",
        "| | |",
        "|---|---|",
        f"| file | sha256 `{ref.sha256}`, {size_bytes / 1e6:.1f} MB |",
        f"| architecture | {card.arch} |",
        f"| input | (1, 1, {card.side_px}, {card.side_px}) float32 in [0, 1] from `osteon.preprocess.letterbox` |",
        f"| labels | {', '.join(card.labels)} |",
        f"| licence | {card.licence} |",
        f"| trained on | {card.training_data} |",
        f"| split | `{card.split_hash}` (docs/splits) |",
        "",
        "## Figures on the validation part",
        "",
        *_table(card.metrics),
        "",
        "## Operating points",
        "",
        "| name | cut | measured on validation |",
        "|---|---|---|",
    ]
    for name, point in card.operating_points.items():
        measured = ", ".join(f"{figure} {_number(value)}" for figure, value in point.measured.items())
        lines.append(f"| {name} | {point.threshold:g} | {measured} |")
    if card.calibration:
        curve = f"logistic({card.calibration.slope:.3f} logit(score) + {card.calibration.intercept:.3f})"
        lines += ["", f"`probability` = {curve}, fitted on validation boxes."]
    lines += ["", "## Training settings", "", "```json", json.dumps(card.settings, indent=1, sort_keys=True), "```", ""]
    return "\n".join(lines)


def _table(metrics: Mapping[str, float]) -> list[str]:
    rows = [f"| {name} | {_number(value)} |" for name, value in metrics.items()]
    return ["| figure | value |", "|---|---|", *rows]


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.4g}"
