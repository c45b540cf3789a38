"""What it would do to a detector's figures if fractures outside of every bone found lost a grade.

Bones are looked for once on each picture, and of each box only the share on bones is kept, so that limits can be tried
at no cost: `record_covers`, then `demotion` with one `least_cover` after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osteon.datasets.case import Case
from osteon.evaluation.detection import Judged
from osteon.evaluation.judge import Progress, squares
from osteon.evaluation.operating_points import at_cut
from osteon.findings import Bone
from osteon.inference.anchoring import FAINT_SCORE, LEAST_COVER, cover
from osteon.inference.bones import Cuts, Said, bones
from osteon.inference.postprocess import Detections
from osteon.inference.session import Session


@dataclass(frozen=True, eq=False)
class Covered:
    """One picture's boxes, best first, beside the truth, and (n,) the share of each that lies on bones or metal.

    All shares are 1 where no bones were found at all: nothing can be said then, and nothing is outside.
    """

    judged: Judged
    covers: NDArray[np.float32]


def covered(judged: Judged, found: Sequence[Bone]) -> Covered:
    """A picture's boxes on its bones."""
    boxes = judged.found.boxes_xyxy_px.tolist()
    shares = [cover((x0, y0, x1, y1), found) if found else 1.0 for x0, y0, x1, y1 in boxes]
    return Covered(judged, np.array(shares, np.float32))


def record_covers(
    session: Session,
    pictures: Sequence[Judged],
    cases: Sequence[Case],
    *,
    min_score: float | None = None,
    progress: Progress | None = None,
) -> list[Covered]:
    """A bones model run over the pictures.

    Args:
        session: of task "bones".
        pictures: a detector's boxes, such as `Records.judged()` gives.
        cases: where the pictures lie; those without boxes of a detector are left out.
        min_score: least score of a bone; None: as in the pipeline.
        progress: reporter.
    """
    card, known = session.card, {picture.name: picture for picture in pictures}
    chosen = [case for case in cases if case.name in known]
    least = min(FAINT_SCORE, *Cuts.of(card)) if min_score is None else min_score
    done = []
    for case, _, square in squares(chosen, card.side_px, progress):
        said = Said(**session.named(square.pixels))
        found = bones(said, square.placement, names=card.labels, min_score=least)
        done.append(covered(known[case.name], found))
    return done


def lowered(picture: Covered, *, fracture: float, doubt: float, least_cover: float) -> Judged:
    """The picture's boxes, those outside at the score of a grade below their own: at `doubt`, or just under it."""
    found = picture.judged.found
    below = np.nextafter(np.float32(doubt), np.float32(0))
    grade = np.where(found.scores >= fracture, np.float32(doubt), np.minimum(found.scores, below))
    scores = np.where(picture.covers < least_cover, grade, found.scores).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return replace(picture.judged, found=Detections(found.boxes_xyxy_px[order], scores[order]))


def demotion(
    pictures: Sequence[Covered], *, fracture: float, doubt: float, least_cover: float = LEAST_COVER
) -> dict[str, dict[str, float]]:
    """Figures at both cuts, as they are and with boxes outside of bones a grade lower.

    Returns:
        "fracture", "fracture, demoted", "doubt" and "doubt, demoted": sensitivity, specificity, box_precision,
        box_recall (as `at_cut`), and `boxes_outside`, the number of boxes at that cut which lie outside.
    """
    rows = {}
    after = [lowered(p, fracture=fracture, doubt=doubt, least_cover=least_cover) for p in pictures]
    for name, cut in (("fracture", fracture), ("doubt", doubt)):
        outside = sum(int(((p.judged.found.scores >= cut) & (p.covers < least_cover)).sum()) for p in pictures)
        rows[name] = at_cut([p.judged for p in pictures], cut) | {"boxes_outside": outside}
        rows[f"{name}, demoted"] = at_cut(after, cut) | {"boxes_outside": outside}
    return rows
