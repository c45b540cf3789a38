"""What a cross-validation says of a recipe, taken into the card of one of its models.

A model that is released was trained on all folds but one, so its own validation part is a fifth of what there is. Cuts
and calibration chosen on all folds, each picture judged by the model that did not see it, are steadier than those of
that fifth; the figures that the file itself reached there stay in `metrics`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from osteon.errors import InvalidDataset, ModelMismatch
from osteon.inference.bone_judge import SETTING, Combination, Joint
from osteon.inference.card import Calibration, Card, OperatingPoint, picture_scale

SAME_FIGURES = ("map50", "map50_95")
TOLERANCE = 0.002
"""By which figures of one model may differ between two machines."""
_HINT = "write them with `osteon evaluate folds RECORDS... > folds.json`"
_JUDGE_HINT = "write them with `osteon evaluate bone-judge MODEL --records FILE ... > judged.json`"
_GROUP_CELLS = ("kind", "name", "fractured", "normal", "few")
_GROUP_FIGURES = ("sensitivity", "specificity", "auroc", "map50")


def read_folds(file: Path) -> dict[str, Any]:
    """What `osteon evaluate folds` wrote; raises InvalidDataset where the file is no JSON object."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidDataset(f"{file.name} holds no figures of a cross-validation", hint=_HINT) from error


def adopted(card: Card, found: Mapping[str, Any]) -> Card:
    """The card with cuts, calibration and figures of a cross-validation.

    Args:
        card: of a detector that is one of the folds' models, measured on its own fold.
        found: JSON of `osteon evaluate folds`.

    Raises:
        InvalidDataset: not such a JSON.
        ModelMismatch: no detector, or none of the folds has the figures of the card.
    """
    if card.task != "detector":
        raise ModelMismatch(f"{card.name} is a {card.task} model", hint="folds are of detectors; give a detector")
    try:
        of_fold, value = _own_fold(card, found["by_fold"]["folds"]), _kept(found)
        points = {name: OperatingPoint(p["threshold"], p["measured"]) for name, p in found["operating_points"].items()}
        fitted = found["calibration"]
        calibration = Calibration(**fitted["platt"]) if fitted else card.calibration
        picture = picture_scale(found["picture"]) if found.get("picture") else None
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidDataset(f"the figures of the cross-validation lack {error}", hint=_HINT) from error
    if of_fold is None:
        raise ModelMismatch(
            f"none of the folds has the mAP50 and mAP50-95 of {card.name} {card.version}",
            hint="give the figures of the cross-validation that this model is a fold of, in 8 bit or float as it is",
        )
    own = next(row for row in found["by_fold"]["folds"] if row["fold"] == of_fold)
    metrics = {name: own.get(name, figure) for name, figure in card.metrics.items()}
    if fitted:
        metrics.pop("calibration_error", None)
    return replace(
        card,
        operating_points=points,
        calibration=calibration,
        picture=picture,
        metrics=metrics,
        cross_validation=value | {"own_fold": of_fold},
    )


def adopted_judge(card: Card, found: Mapping[str, Any]) -> Card:
    """The card of a bone judge with how it is joined with the detector, and the AUROC of each and of both.

    Args:
        card: of a judge that is one of those judged.
        found: JSON of `osteon evaluate bone-judge --records ...`.

    Raises:
        InvalidDataset: not such a JSON, or no detector was judged beside it.
        ModelMismatch: the judge is none of those.
    """
    try:
        hashes = {judge["split_hash"] for judge in found["judges"]}
        if not found["detector"] or not found["combination"].get("by_bone"):
            raise InvalidDataset("these figures are of a judge alone", hint=_JUDGE_HINT)
        curves = (Combination.of_json(found["combination"][name]["all"]) for name in ("by_film", "by_bone"))
        joint = Joint(found["detector"], *curves)
        metrics = {
            f"auroc_{name}_{who}": round(float(said["value"]), 4)
            for name in ("by_film", "by_bone", "by_bone_of_a_label")
            for who, said in found[name]["auroc"].items()
        }
        counts = {"films": float(found["films"]), "fractured_films": float(found["fractured"])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidDataset(f"the figures of the bone judge lack {error}", hint=_JUDGE_HINT) from error
    if card.split_hash not in hashes:
        raise ModelMismatch(
            f"{card.name} {card.version} is none of the judges that were measured",
            hint="give the figures of this judge, or a judge of these figures",
        )
    settings = {**card.settings, SETTING: joint.to_json()}
    return replace(card, settings=settings, metrics={**card.metrics, **metrics, **counts})


def _own_fold(card: Card, rows: list[dict[str, Any]]) -> str | None:
    """The fold whose figures are those of the card."""
    for row in rows:
        if all(abs(row[name] - card.metrics.get(name, -1)) <= TOLERANCE for name in SAME_FIGURES):
            return str(row["fold"])
    return None


def _kept(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a card holds of the figures: no curves, and no names of pictures."""
    points = found["operating_points"]
    fitted = found["calibration"]
    errors = {part: fitted["cross_fitted"]["platt"][part]["ece"] for part in ("all", "shown")} if fitted else {}
    cells = (*_GROUP_CELLS, *_GROUP_FIGURES, *(f"{name}_interval" for name in _GROUP_FIGURES))
    return {
        "split": found["split"],
        "pictures": found["pictures"],
        "fractured": found["fractured"],
        "figures": found["pooled"],
        "intervals": found["intervals"],
        "folds": found["by_fold"]["folds"],
        "spread": found["by_fold"]["spread"],
        **({name: found[name] for name in ("by_best_box", "picture_calibration")} if found.get("picture") else {}),
        "operating_points": {
            name: {"intervals": point["intervals"], "cross_fitted": point["cross_fitted"]}
            for name, point in points.items()
        },
        "calibration_error": errors,
        "groups": [{name: row[name] for name in cells} for row in found["groups"]],
    }
