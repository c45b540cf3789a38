"""A model's card for a reader: Markdown made from what stands in the model file, so that the two cannot differ."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from osteon.findings import ModelRef
from osteon.inference.bone_judge import Joint
from osteon.inference.card import Card

USES = {
    "gate": "Tells whether a picture is a radiograph that shows bone, and where the bone is. "
    "The first stage of Osteon: what it turns away never reaches the fracture detector.",
    "detector": "Draws boxes around suspected fractures on radiographs that have passed the gate. "
    "One class; it does not name the bone or the kind of fracture.",
    "bones": "Outlines each bone, and metal, as an object of its own and names it, so that a suspected fracture can be "
    "told by the bone that it lies on. Run only where somebody asks for bones.",
    "bone-judge": "Says of each bone that was found how likely it is broken, by its crop alone: a second opinion on "
    "the bone and on the film. Run where somebody asks for bones; the decision stays the detector's.",
}

LEAST_IN_GROUP = 20
"""Pictures of a kind that a group's figure rests on at least."""
GROUPS = (
    "Over all folds; sensitivity and specificity at the cut `doubt`. Groups of fractures are set against all normal "
    f"pictures. Figures that rest on fewer than {LEAST_IN_GROUP} pictures are left out."
)


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
        f"| input | {_input(card)} |",
        f"| labels | {', '.join(card.labels)} |",
        f"| licence | {card.licence} |",
        f"| trained on | {card.training_data} |",
        f"| split | `{card.split_hash}` (docs/splits) |",
        "",
        "## Figures on the validation part",
        "",
        *_table(card.metrics),
        "",
        *(_cross_validation(card.cross_validation) if card.cross_validation else ()),
        "## Operating points",
        "",
        *_operating_points(card),
    ]
    if card.picture:
        lines += ["", _picture_scale(card)]
    if joint := Joint.of(card):
        lines += ["", _combination(joint)]
    if card.calibration:
        curve = f"logistic({card.calibration.slope:.3f} logit(score) + {card.calibration.intercept:.3f})"
        lines += ["", f"`probability` = {curve}, fitted on {_calibrated_on(card)}."]
    if card.cross_validation:
        lines += ["", "## By group", "", GROUPS, "", *group_table(card.cross_validation["groups"])]
    lines += ["", "## Training settings", "", "```json", json.dumps(card.settings, indent=1, sort_keys=True), "```", ""]
    return "\n".join(lines)


def _input(card: Card) -> str:
    if card.task == "bone-judge":
        shape = f"(1, 2, {card.side_px}, {card.side_px // 2}) float32 in [0, 1]"
        return f"{shape}: the bone cut out upright, and its own mask, from `osteon.datasets.bone_crops.crop`"
    return f"(1, 1, {card.side_px}, {card.side_px}) float32 in [0, 1] from `osteon.preprocess.letterbox`"


def _combination(joint: Joint) -> str:
    """How a judge is joined with the detector."""
    film, bone = (
        f"logistic({curve.detector:.3f} logit({of}) + {curve.judge:.3f} logit({damage}) + {curve.intercept:.3f})"
        for curve, of, damage in (
            (joint.film, "the film's score", "its most damaged bone's"),
            (joint.bone, "the score of the best box on it", "its own"),
        )
    )
    return (
        f"Joined with {joint.detector}, a film's `probability` = {film}; a bone's = {bone}. Both were fitted on the "
        "validation part. With another detector there is no joint probability."
    )


def _cross_validation(found: Mapping[str, Any]) -> list[str]:
    """Figures of all folds together, and by fold."""
    names = [name for name in found["figures"] if name != "best_iou_max"]
    normal = found["pictures"] - found["fractured"]
    head = " | ".join(str(row["fold"]) for row in found["folds"])
    rows = [
        f"| {name} | {found['figures'][name]:.3f} {ends_text(found['intervals'][name])} | "
        + " | ".join(f"{row[name]:.3f}" for row in found["folds"])
        + " |"
        for name in names
    ]
    return [
        f"## Cross-validation of the recipe, {len(found['folds'])} folds",
        "",
        f"{found['fractured']} fractured and {normal} normal pictures of split `{found['split']}`, each judged by the "
        f"model that did not see it; this file is the model of {found['own_fold']}. In brackets 95% intervals.",
        "",
        f"| figure | all folds | {head} |",
        "|---" * (2 + len(found["folds"])) + "|",
        *rows,
        "",
    ]


def _operating_points(card: Card) -> list[str]:
    """Cuts and what they give: on the validation part, or on all folds with intervals, and as chosen on others."""
    honest = card.cross_validation.get("operating_points", {})
    where = "measured on all folds (95%) | chosen on the other folds" if honest else "measured on validation"
    lines = [f"| name | cut | {where} |", "|---" * (4 if honest else 3) + "|"]
    for name, point in card.operating_points.items():
        more = honest.get(name)
        if not more:
            cells = ", ".join(f"{figure} {_number(value)}" for figure, value in point.measured.items())
        else:
            figures = [f"{f} {value:.3f} {ends_text(more['intervals'][f])}" for f, value in point.measured.items()]
            fitted = more["cross_fitted"]
            others = [
                f"{f} {fitted[f]:.3f} {ends_text(fitted[f + '_interval'])}" for f in ("sensitivity", "specificity")
            ]
            cells = f"{', '.join(figures)} | {', '.join(others)}"
        lines.append(f"| {name} | {point.threshold:g} | {cells} |")
    return lines


def _picture_scale(card: Card) -> str:
    """How a picture is scored as a whole, and what that gains."""
    scale, found = card.picture, card.cross_validation.get("by_best_box")
    assert scale
    text = (
        "A picture is called by the sum of the scores of all points, whatever box they are part of: its score is "
        f"logistic({scale.slope:.3f} log(sum) + {scale.intercept:.3f}), drawn so that the cuts of boxes serve it. "
        "A picture below a cut shows no box at it, and one that reaches it shows its best box at least."
    )
    if scale.calibration:
        curve = f"logistic({scale.calibration.slope:.3f} logit(score) + {scale.calibration.intercept:.3f})"
        text += f" The picture's `probability` = {curve}"
        held = card.cross_validation.get("picture_calibration")
        text += f" (fitted on the other folds, expected calibration error {held['ece']:.3f})." if held else "."
    if found:
        doubt, fracture = found["doubt"], found["fracture"]
        text += (
            f" By its best box alone AUROC would be {found['auroc']:.3f}, at `doubt` sensitivity "
            f"{doubt['sensitivity']:.3f} and specificity {doubt['specificity']:.3f}, at `fracture` "
            f"{fracture['sensitivity']:.3f} and {fracture['specificity']:.3f}."
        )
    return text


def _calibrated_on(card: Card) -> str:
    errors = card.cross_validation.get("calibration_error")
    if not errors:
        return "validation boxes"
    return (
        f"boxes of all folds; fitted on the other folds its expected calibration error is {errors['all']:.4f} "
        f"({errors['shown']:.3f} over boxes of probability 0.05 or more)"
    )


def group_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of Markdown: figures by group (`evaluation.groups`), at the cut `doubt`, with their intervals.

    Those that rest on fewer than `LEAST_IN_GROUP` pictures of a kind are left out.
    """
    lines = ["| group | fractured | normal | sensitivity | specificity | AUROC | mAP50 |", "|---" * 7 + "|"]
    for row in rows:
        normal = "all" if row["normal"] is None else str(row["normal"])
        cells = [f"{row['kind']}: {row['name']}", str(row["fractured"]), normal]
        enough = [row["fractured"] >= LEAST_IN_GROUP, row["normal"] is None or row["normal"] >= LEAST_IN_GROUP]
        told = {"sensitivity": enough[0], "specificity": enough[1], "auroc": all(enough), "map50": enough[0]}
        for name, large in told.items():
            known = large and row[name] is not None and not math.isnan(row[name])
            cells.append(f"{row[name]:.2f} {ends_text(row[f'{name}_interval'], places=2)}" if known else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ends_text(ends: Sequence[float | None], *, places: int = 3) -> str:
    """An interval in brackets; nothing where it has no value.

    >>> ends_text((0.25, 0.5), places=2)
    '(0.25 to 0.50)'
    """
    low, high = ends
    return "" if low is None or high is None else f"({low:.{places}f} to {high:.{places}f})"


def _table(metrics: Mapping[str, float]) -> list[str]:
    rows = [f"| {name} | {_number(value)} |" for name, value in metrics.items()]
    return ["| figure | value |", "|---|---|", *rows]


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.4g}"
