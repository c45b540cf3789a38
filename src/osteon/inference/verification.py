"""Are the installed models the released ones, and do they say here what they said there?

A release stores, beside its models, the sha256 of each and what it finds on a known picture (a drawn radiograph, so
nobody's). Processors differ a little in the last digits, most with 8-bit models; a damaged, exchanged or wrongly run
model differs by far more than the tolerances.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from osteon.errors import ConfigurationError, ModelMismatch
from osteon.files import read
from osteon.findings import Bone
from osteon.geometry import iou
from osteon.inference.bone_judge import damages
from osteon.inference.bones import Said, bones
from osteon.inference.card import Task
from osteon.inference.pipeline import (
    BONE_JUDGE_FILE,
    BONES_FILE,
    DETECTOR_FILE,
    DETECTOR_FLOAT_FILE,
    GATE_FILE,
    WEIGHTS,
)
from osteon.inference.postprocess import bone_measures, detections
from osteon.inference.session import Session
from osteon.preprocess import Letterboxed, letterbox
from osteon.radiograph import Radiograph

EXPECTED_FILE = "expected.json"
PICTURE_FILE = "known.png"
FILES: Mapping[str, Task] = {GATE_FILE.name: "gate", DETECTOR_FILE.name: "detector"}
"""What every release has."""
OPTIONAL_FILES: Mapping[str, Task] = {
    DETECTOR_FLOAT_FILE.name: "detector",
    BONES_FILE.name: "bones",
    BONE_JUDGE_FILE.name: "bone-judge",
}
"""Verified where the release lists it, listed where it is there."""
SHARE_TOLERANCE = 0.02
"""Of scores, confidence, area and bone probability."""
AREA_TOLERANCE = 0.1
"""Of the area of masks, as a share."""
LEAST_OVERLAP = 0.9
"""IoU that a box must have with the stored one."""
LEAST_SCORE = 0.1
_GRID = 8
_STRIPS = 4


@dataclass(frozen=True)
class Check:
    """A model file and what is wrong with it, in words; nothing where all is as released."""

    file: str
    problems: tuple[str, ...]


def verify(folder: Path = WEIGHTS) -> list[Check]:
    """Each released model: its sha256, whether it loads, and what it finds on the known picture.

    Raises:
        ModelMismatch: the list of what is expected, or the known picture, is missing or damaged.
    """
    expected = _expected(folder)
    known = _picture(folder, expected["picture_sha256"])
    return [
        Check(name, tuple(_problems(folder / name, task, expected["models"][name], known)))
        for name, task in {**FILES, **OPTIONAL_FILES}.items()
        if name in FILES or name in expected["models"]
    ]


def store(folder: Path = WEIGHTS) -> None:
    """Write what the models of a folder are and find, to be expected from now on; the known picture must be there.

    Raises:
        ModelMismatch: a model or the picture is missing or cannot be read.
        ConfigurationError: the list cannot be written.
    """
    content = _content(folder / PICTURE_FILE)
    known = read(content, name=PICTURE_FILE)[0].pixels
    models = {
        name: {
            "sha256": hashlib.sha256(_content(folder / name)).hexdigest(),
            "finds": _finds(folder / name, task, known),
        }
        for name, task in {**FILES, **OPTIONAL_FILES}.items()
        if name in FILES or (folder / name).is_file()
    }
    value = {"picture_sha256": hashlib.sha256(content).hexdigest(), "models": models}
    try:
        (folder / EXPECTED_FILE).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {EXPECTED_FILE}: {error.strerror}", hint="run this on a working copy that you may write to"
        ) from error


def _expected(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads(_content(folder / EXPECTED_FILE))
        if not value["picture_sha256"] or not value["models"].keys() >= FILES.keys():
            raise ValueError("incomplete")
        return dict(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelMismatch(f"{EXPECTED_FILE} cannot be read", hint="install Osteon again") from error


def _picture(folder: Path, sha256: str) -> Any:
    content = _content(folder / PICTURE_FILE)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelMismatch(f"{PICTURE_FILE} is not the released picture", hint="install Osteon again")
    return read(content, name=PICTURE_FILE)[0].pixels


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelMismatch(f"no file {path.name} beside the models", hint="install Osteon again") from error


def _problems(path: Path, task: Task, expected: Mapping[str, Any], known: Any) -> list[str]:
    if not path.is_file():
        return ["the file is missing"]
    problems = []
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != expected["sha256"]:
        problems.append(f"sha256 is {sha256[:12]}…, the released file's is {expected['sha256'][:12]}…")
    try:
        found = _finds(path, task, known)
    except ModelMismatch as error:
        return [*problems, error.message]
    return problems + _COMPARISONS[task](found, expected["finds"])


def _finds(path: Path, task: Task, known: Any) -> dict[str, Any]:
    """What a model says of the known picture, rounded, as JSON."""
    session = Session(path, task=task, threads=1)
    if task == "bone-judge":
        return _judge_finds(session, known)
    square = letterbox(known, side_px=session.card.side_px)
    return _LOOKS[task](session, square)


def _gate_finds(session: Session, square: Letterboxed) -> dict[str, Any]:
    over_picture, area, confidence = bone_measures(session.run(square.pixels)[0][0], square.placement)
    grid = cv2.resize(over_picture, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    rows = [[round(float(value), 3) for value in row] for row in grid]
    return {"area_fraction": round(area, 4), "confidence": round(confidence, 4), "probability": rows}


def _detector_finds(session: Session, square: Letterboxed) -> dict[str, Any]:
    boxes, scores = session.run(square.pixels)
    threshold = session.card.iou_threshold
    found = detections(boxes, scores, square.placement, min_score=LEAST_SCORE, iou_threshold=threshold)
    rows = [[round(float(value), 1) for value in box] for box in found.boxes_xyxy_px]
    return {"boxes_xyxy_px": rows, "scores": [round(float(score), 4) for score in found.scores]}


def _bones_finds(session: Session, square: Letterboxed) -> dict[str, Any]:
    """Boxes, scores and areas by label."""
    said = Said(**session.named(square.pixels))
    found = bones(said, square.placement, names=session.card.labels, min_score=LEAST_SCORE)
    return {
        label: {
            "boxes_xyxy_px": [[round(value, 1) for value in bone.box_xyxy_px] for bone in found if bone.label == label],
            "scores": [round(bone.score, 4) for bone in found if bone.label == label],
            "areas_px": [bone.area_px for bone in found if bone.label == label],
        }
        for label in dict.fromkeys(bone.label for bone in found)
    }


def _judge_finds(session: Session, known: Any) -> dict[str, Any]:
    """How damaged upright strips of the picture are, side by side; no other model's bones are asked for."""
    height, width = known.shape
    step = width // _STRIPS
    strips = [
        Bone("bone", 1.0, (x, 0.0, x + step, height), (x, 0), np.ones((height, step), np.bool_))
        for x in range(0, step * _STRIPS, step)
    ]
    scores = damages(session, Radiograph(known, PICTURE_FILE, ""), strips)
    return {"damage": [round(score, 4) for score in scores]}


def _gate_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{name.replace('_', ' ')} on the known picture is {found[name]:.3f}, expected {expected[name]:.3f}"
        for name in ("area_fraction", "confidence")
        if not abs(found[name] - expected[name]) <= SHARE_TOLERANCE
    ]
    gap = float(np.abs(np.subtract(found["probability"], expected["probability"])).max())
    if not gap <= SHARE_TOLERANCE:
        problems.append(f"bone probability on the known picture differs by up to {gap:.3f}")
    return problems


def _detector_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Every stored box is found again, and no new one that is clearly above the least score."""
    mine, theirs = (_boxes(value["boxes_xyxy_px"]) for value in (found, expected))
    overlaps = iou(theirs, mine)
    problems = []
    for number, score in enumerate(expected["scores"]):
        near = [s for s, overlap in zip(found["scores"], overlaps[number], strict=True) if overlap >= LEAST_OVERLAP]
        if not near and score > LEAST_SCORE + SHARE_TOLERANCE:
            problems.append(f"the known picture's box with score {score:.3f} is not found")
        elif near and not abs(max(near) - score) <= SHARE_TOLERANCE:
            problems.append(f"a box on the known picture scores {max(near):.3f}, expected {score:.3f}")
    nearest = overlaps.max(axis=0, initial=0.0)
    new = [score for score, near in zip(found["scores"], nearest, strict=True) if near < LEAST_OVERLAP]
    if any(score > LEAST_SCORE + SHARE_TOLERANCE for score in new):
        problems.append(f"an unexpected box on the known picture scores {max(new):.3f}")
    return problems


def _bones_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Boxes and scores of each label as those of a detector, and how much of the picture the label covers."""
    none: dict[str, Any] = {"boxes_xyxy_px": [], "scores": [], "areas_px": []}
    problems = []
    for label in dict.fromkeys([*expected, *found]):
        mine, theirs = found.get(label, none), expected.get(label, none)
        differences = _detector_differences(mine, theirs)
        area, wanted = (float(np.dot(value["areas_px"], value["scores"])) for value in (mine, theirs))
        if not differences and not abs(area - wanted) <= AREA_TOLERANCE * max(area, wanted):
            differences = [f"masks on the known picture cover {area:.0f} px by score, expected {wanted:.0f}"]
        problems += [f"{label}: {difference}" for difference in differences]
    return problems


def _judge_differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    gap = float(np.abs(np.subtract(found["damage"], expected["damage"])).max())
    return [] if gap <= SHARE_TOLERANCE else [f"damage on the known picture differs by up to {gap:.3f}"]


def _boxes(rows: list[list[float]]) -> Any:
    return np.array(rows, np.float32).reshape(-1, 4)


_LOOKS = {"gate": _gate_finds, "detector": _detector_finds, "bones": _bones_finds}
_COMPARISONS = {
    "gate": _gate_differences,
    "detector": _detector_differences,
    "bones": _bones_differences,
    "bone-judge": _judge_differences,
}
