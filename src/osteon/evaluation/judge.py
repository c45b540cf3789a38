"""A model file run over the cases of a data set: ONNX Runtime, the same code as in the pipeline, no torch."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from osteon.datasets.case import Case
from osteon.datasets.labels import FRACTURE_LABELS
from osteon.errors import InvalidImage
from osteon.evaluation.detection import Judged
from osteon.evaluation.gate import GateReading, reading
from osteon.evaluation.records import Origin, Record, Records, facts
from osteon.files import read
from osteon.geometry import Boxes
from osteon.inference.postprocess import candidates
from osteon.inference.session import Session
from osteon.preprocess import Letterboxed, letterbox
from osteon.radiograph import Radiograph

MIN_SCORE = 0.005
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""
ShowsBone = Callable[[Radiograph], bool]
"""The gate's decision."""
Run = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]
"""(side_px, side_px) in [0, 1] -> (n, 4) boxes in model pixels and (n,) scores."""


def truth_boxes(case: Case) -> Boxes:
    """(k, 4) boxes of the case's fractures in image pixels; other objects and ignored ones are left out."""
    boxes = [i.box_xyxy_px for i in case.instances or () if not i.ignore and i.label.lower() in FRACTURE_LABELS]
    return np.array(boxes, np.float32).reshape(-1, 4)


def truth_known(case: Case) -> bool:
    """Somebody boxed the case's fractures, or said that there are none; a missing label is no negative."""
    if case.fractured is None or case.instances is None:
        return False
    return case.fractured == bool(len(truth_boxes(case)))


def record_detector(
    session: Session,
    cases: Sequence[Case],
    *,
    split_hash: str = "",
    part: str = "",
    shows_bone: ShowsBone | None = None,
    run: Run | None = None,
    progress: Progress | None = None,
) -> Records:
    """The detector's candidate boxes, before suppression, on every case, and what is known of it; see `Records.judged`.

    Args:
        session: the detector.
        cases: those that cannot be read, or whose truth is not known, are left out.
        split_hash: of the split that the cases are from, or "".
        part: of that split.
        shows_bone: the gate's decision, to be noted; it keeps nothing from the detector here.
        run: the same model run elsewhere, on a GPU, say; else the session runs it.
        progress: reporter.
    """
    known = [case for case in cases if truth_known(case)]
    pictures = []
    for case, radiograph, square in squares(known, session.card.side_px, progress):
        boxes, scores = (run or session.run)(square.pixels)
        found = candidates(boxes, scores, square.placement, min_score=MIN_SCORE)
        noted = facts(case, height_px=radiograph.height_px, width_px=radiograph.width_px)
        bone = bool(shows_bone(radiograph)) if shows_bone else None
        pictures.append(Record(Judged(case.name, found, truth_boxes(case)), noted, bone))
    ref = session.ref
    origin = Origin(ref.name, ref.version, ref.sha256, session.card.iou_threshold, MIN_SCORE, split_hash, part)
    return Records(origin, tuple(pictures))


def judge_gate(session: Session, cases: Sequence[Case], *, progress: Progress | None = None) -> list[GateReading]:
    """The gate's answer on every case that can be read."""
    return [
        reading(case, session.run(square.pixels)[0][0], square.placement)
        for case, _, square in squares(cases, session.card.side_px, progress)
    ]


def squares(
    cases: Sequence[Case], side_px: int, progress: Progress | None
) -> Iterator[tuple[Case, Radiograph, Letterboxed]]:
    """The readable cases, letterboxed ahead of their use by one thread, a few at a time."""
    with ThreadPoolExecutor(1) as pool:
        for start in range(0, len(cases), 16):
            chosen = cases[start : start + 16]
            for case, seen in zip(chosen, pool.map(lambda c: _square(c, side_px), chosen), strict=True):
                if seen:
                    yield case, *seen
            if progress:
                progress("analysing", start + len(chosen), len(cases))


def _square(case: Case, side_px: int) -> tuple[Radiograph, Letterboxed] | None:
    try:
        radiograph = read(case.path)[0]
    except InvalidImage:
        return None
    return radiograph, letterbox(radiograph.pixels, side_px=side_px)
