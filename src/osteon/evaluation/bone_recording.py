"""A bones model run over drawn cases: ONNX Runtime, the same code as in the pipeline, no torch."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np

from osteon.datasets.case import Case, Instance
from osteon.datasets.labels import FRACTURE_LABELS
from osteon.datasets.masks import outlined
from osteon.datasets.rle import box_of_mask
from osteon.errors import InvalidDataset
from osteon.evaluation.bone_records import BoneOrigin, BoneRecords
from osteon.evaluation.instances import Mask, Outlined
from osteon.evaluation.judge import Progress, squares
from osteon.evaluation.records import facts
from osteon.findings import Bone, BoneEvidence
from osteon.inference.bones import Cuts, Said, bones
from osteon.inference.session import Session
from osteon.radiograph import Radiograph

MIN_SCORE = 0.02
GATE_CUT = 0.5
"""Probability over which stage 1 calls a pixel bone, as `evaluation.gate` has it."""
Evidence = Callable[[Radiograph], BoneEvidence]
"""The gate alone; `Pipeline.bone`."""


def record_bones(
    session: Session,
    cases: Sequence[Case],
    *,
    split_hash: str = "",
    part: str = "",
    gate: Evidence | None = None,
    gate_saw: frozenset[str] | None = None,
    progress: Progress | None = None,
) -> BoneRecords:
    """The model's bones on every drawn case, down to a score of 0.02, beside the truth.

    Args:
        session: a bones model.
        cases: those without outlines, and those that cannot be read, are left out.
        split_hash: of the split that the cases are from, or "".
        part: of that split.
        gate: stage 1, to compare masks.
        gate_saw: names of the cases that stage 1 was trained on; None: nobody said.
        progress: reporter.

    Raises:
        InvalidDataset: nobody drew bones on any case.
    """
    known = [case for case in cases if case.instances and any(_drawn(item) for item in case.instances)]
    if not known:
        raise InvalidDataset("no outlines of bones in this data set or part", hint="give COCO or CVAT with polygons")
    card, pictures = session.card, []
    for case, radiograph, square in squares(known, card.side_px, progress):
        height_px, width_px = radiograph.height_px, radiograph.width_px
        said = Said(**session.named(square.pixels))
        found = bones(said, square.placement, names=card.labels, min_score=MIN_SCORE)
        pictures.append(
            replace(
                against_truth(case, found, height_px=height_px, width_px=width_px),
                gate=_bone_mask(gate(radiograph), (height_px, width_px)) if gate else None,
                gate_saw=case.name in gate_saw if gate_saw is not None else None,
            )
        )
    ref = session.ref
    origin = BoneOrigin(ref.name, ref.version, ref.sha256, card.labels, Cuts.of(card), MIN_SCORE, split_hash, part)
    return BoneRecords(origin, tuple(pictures))


def against_truth(case: Case, found: Sequence[Bone], *, height_px: int, width_px: int) -> Outlined:
    """A case's bones, found and drawn, on its picture of this size."""
    truth, ignored = drawn(case, (height_px, width_px))
    return Outlined(
        case.name,
        facts(case, height_px=height_px, width_px=width_px),
        tuple(found),
        truth,
        ignored,
    )


def drawn(case: Case, shape: tuple[int, int]) -> tuple[tuple[Bone, ...], Mask]:
    """A case's outlined objects as bones, and the union of its ignored regions.

    Args:
        case: with instances; those without an outline or pixels are left out.
        shape: (height, width) of the picture.
    """
    ignored = np.zeros(shape, np.bool_)
    truth = []
    for instance in case.instances or ():
        if instance.ignore:
            ignored |= outlined(instance, shape)
        elif _drawn(instance):
            bone = Bone(instance.label, 1.0, instance.box_xyxy_px, (0, 0), outlined(instance, shape))
            truth.append(_cropped(bone))
    return tuple(bone for bone in truth if bone.mask.size), ignored


def _cropped(bone: Bone) -> Bone:
    x0, y0, x1, y1 = (int(value) for value in box_of_mask(bone.mask) or (0, 0, 0, 0))
    return Bone(bone.label, bone.score, bone.box_xyxy_px, (x0, y0), bone.mask[y0:y1, x0:x1].copy())


def _drawn(instance: Instance) -> bool:
    """An outline of something that is no fracture: a bone, or metal."""
    outline = bool(instance.polygons) or instance.mask is not None
    return outline and not instance.ignore and instance.label.lower() not in FRACTURE_LABELS


def _bone_mask(evidence: BoneEvidence, shape: tuple[int, int]) -> Mask:
    if evidence.probability_map is None:
        return np.zeros(shape, np.bool_)
    probabilities = cv2.resize(evidence.probability_map, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(probabilities > GATE_CUT, np.bool_)
