"""Each bone judged by itself: how likely it is broken, and that joined with what the detector says of the film."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import IMPLANT
from osteon.datasets.bone_crops import Framing, box_outline, crop, pyramid, touched
from osteon.errors import ModelMismatch
from osteon.findings import Bone, Damage, ModelRef
from osteon.inference.card import Card
from osteon.inference.postprocess import Detections
from osteon.inference.session import Session
from osteon.radiograph import Radiograph

LEAST_OF_BOX = 0.1
"""Of a detector's box that must lie on a bone, so that it speaks of it; less than of outlines, for boxes hold air."""
LEAST_DETECTED = 0.005
"""Boxes of this score speak of a bone, here as where the two were joined."""
SURELY = 1e-3
"""Scores are kept this far from 0 and 1 before they become logits."""
SETTING = "combination"
"""Where a card keeps it among its settings."""


@dataclass(frozen=True)
class Combination:
    """The detector's score and the judge's probability as one: a logistic curve over both logits."""

    detector: float
    judge: float
    intercept: float

    def probability(self, detector_score: float, damage: float) -> float:
        """The joint probability of a fracture, on a film (best score, most damaged bone) or on one bone.

        >>> Combination(1.0, 0.0, 0.0).probability(0.25, 0.9)
        0.25
        """
        line = self.detector * logit(detector_score) + self.judge * logit(damage) + self.intercept
        return round(1 / (1 + math.exp(-max(-500.0, min(500.0, line)))), 6)

    def to_json(self) -> dict[str, float]:
        """As `of_json` reads it."""
        return {"detector": self.detector, "judge": self.judge, "intercept": self.intercept}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> "Combination":
        """The one that was written; raises KeyError, TypeError or ValueError where that is none."""
        return cls(*(float(value[name]) for name in ("detector", "judge", "intercept")))


@dataclass(frozen=True)
class Joint:
    """How a judge is joined with one detector, whose scores another's are not.

    Attributes:
        detector: its name and version, as `spoken` has them.
        film: joins its score of the film with that of the most damaged bone.
        bone: joins the score of its best box on a bone with that of the bone.
    """

    detector: str
    film: Combination
    bone: Combination

    def to_json(self) -> dict[str, Any]:
        """As a card's `settings.combination` has it."""
        return {"detector": self.detector, "film": self.film.to_json(), "bone": self.bone.to_json()}

    @classmethod
    def of(cls, card: Card) -> "Joint | None":
        """The one in a judge's card; None where it has none.

        Raises:
            ModelMismatch: it is malformed.
        """
        value: Mapping[str, Any] | None = card.settings.get(SETTING)
        if value is None:
            return None
        try:
            return cls(str(value["detector"]), *(Combination.of_json(value[name]) for name in ("film", "bone")))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelMismatch(
                f"the combination in the card of {card.name} cannot be read",
                hint="fit it again with `osteon evaluate bone-judge`, and take it in with `osteon models adopt`",
            ) from error


def spoken(model: Card | ModelRef) -> str:
    """What tells a detector from others here, such as "osteon-detector 0.4.0"."""
    return f"{model.name} {model.version}"


def logit(score: float) -> float:
    """Log odds of a score, which is kept a little away from 0 and 1.

    >>> logit(0.5)
    0.0
    """
    inside = min(max(score, SURELY), 1 - SURELY)
    return math.log(inside / (1 - inside))


def framing_of(card: Card) -> Framing:
    """How a judge wants its bones cut.

    Raises:
        ModelMismatch: the card does not say.
    """
    try:
        return Framing(card.side_px, float(card.settings[card.task]["margin"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelMismatch(
            f"the card of {card.name} does not say how bones are cut", hint="train it with `osteon train bone-judge`"
        ) from error


def damage(session: Session, cut: NDArray[np.uint8]) -> float:
    """How likely the bone of one crop is broken, 0 to 1.

    Args:
        session: of a model of the task "bone-judge".
        cut: (2, side, side / 2), as `bone_crops.crop` gives it.
    """
    return float(session.run(cut.astype(np.float32) / np.float32(255))[0])


def damages(session: Session, radiograph: Radiograph, bones: Sequence[Bone]) -> tuple[float, ...]:
    """How likely each of a film's bones is broken, 0 to 1, in their order."""
    framing, film = framing_of(session.card), pyramid(radiograph.pixels)
    return tuple(damage(session, crop(film, bone, framing)) for bone in bones)


def judged(
    session: Session, radiograph: Radiograph, bones: Sequence[Bone], found: Detections, detector: ModelRef
) -> tuple[tuple[Bone, ...], Damage | None]:
    """The bones, each but metal with how likely it is broken, and the same of the film; None where there is no bone.

    Args:
        session: of a model of the task "bone-judge".
        radiograph: the film.
        bones: of this film.
        found: what a detector says of it, down to `LEAST_DETECTED`.
        detector: which one that is.

    Raises:
        ModelMismatch: the judge's card does not say how bones are cut, or its combination is malformed.
    """
    joint = Joint.of(session.card)
    joint = joint if joint and joint.detector == spoken(detector) else None
    whole = [index for index, bone in enumerate(bones) if bone.label != IMPLANT]
    if not whole:
        return tuple(bones), None
    alone = [bones[index] for index in whole]
    damaged = damages(session, radiograph, alone)
    seen = list(bones)
    for index, score, boxes in zip(whole, damaged, detector_scores(found, alone), strict=True):
        told = joint.bone.probability(boxes, score) if joint else None
        seen[index] = replace(seen[index], damage=Damage(score, told))
    worst = max(damaged)
    return tuple(seen), Damage(worst, joint.film.probability(found.best, worst) if joint else None)


def detector_scores(found: Detections, bones: Sequence[Bone]) -> tuple[float, ...]:
    """The score of the best of the detector's boxes that speak of each bone; 0 where none does.

    A box goes to the bone that holds most of it, and to those that hold nearly as much, as drawn fractures do.
    """
    best = [0.0] * len(bones)
    for box, score in zip(found.boxes_xyxy_px.tolist(), found.scores.tolist(), strict=True):
        x0, y0, x1, y1 = box
        for index in touched(box_outline((x0, y0, x1, y1)), bones, least=LEAST_OF_BOX):
            best[index] = max(best[index], float(score))
    return tuple(best)
