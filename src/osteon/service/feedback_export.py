"""Readers' answers -> a data set to train on: COCO, CVAT, and pictures under neutral names.

What a reader accepted, redrew or added is a fracture; what the reader rejected is none. A box of the model that nobody
judged on a fractured page is neither: a region to ignore. Only pages with a clear verdict become cases.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from osteon.datasets import coco, cvat
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.labels import FRACTURE
from osteon.errors import AnalysisNotFound, ConfigurationError
from osteon.service import pictures
from osteon.service.answers import Answer, Answers
from osteon.service.store import Analysis, AnalysisStore

Format = Literal["coco", "cvat", "both"]
FORMATS: tuple[Format, ...] = get_args(Format)

COCO_FILE = "annotations.json"
CVAT_FILE = "annotations.xml"
ANSWERS_FILE = "answers.json"
IMAGES = "images"
NAME = "feedback"


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and what it left out.

    Attributes:
        fractured: pages with fractures.
        normal: pages without.
        boxes: fractures with a box.
        open_boxes: boxes of the model that nobody judged, to be ignored.
        without_box: fractured pages on which no box was accepted or drawn; training passes them over.
        left_out: answered pages that are no case, by reason: unsure, unusable, repeated (a later answer to the same
            picture counts), gone (the picture is not there any more).
    """

    fractured: int
    normal: int
    boxes: int
    open_boxes: int
    without_box: int
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class _Answered:
    analysis: Analysis
    answer: Answer

    @property
    def findings(self) -> Mapping[str, Any]:
        return self.analysis.pages[self.answer.page - 1]

    @property
    def picture(self) -> tuple[str, int]:
        """What is the same for one picture that was sent twice."""
        return self.findings["sha256"] or self.analysis.id, self.answer.page

    @property
    def name(self) -> str:
        """Of the picture in the export: nothing of what its sender called it."""
        return f"{self.analysis.id[:16]}-{self.answer.page}.png"


def export_feedback(
    store: AnalysisStore,
    out: Path,
    *,
    form: Format = "both",
    since: datetime | None = None,
    copy_images: bool = True,
) -> Exported:
    """Write the answers that count as a data set.

    Args:
        store: with the analyses and the answers to them.
        out: folder to make: `annotations.json` (COCO), `annotations.xml` (CVAT), `images/`, and `answers.json`: which
            answer gave which case, by whom and when; no comments.
        form: which of the two.
        since: only answers given then or later.
        copy_images: the pages as people see them, 8-bit PNG without any metadata, into `images/`.

    Raises:
        ConfigurationError: the folder is not empty, or cannot be written.
    """
    answered = _answered(store, since)
    newest = {one.picture: one for one in sorted(answered, key=lambda one: one.answer.id)}
    clear = [one for one in newest.values() if one.answer.verdict in ("fracture", "no_fracture")]
    left_out: Counter[str] = Counter(one.answer.verdict for one in newest.values() if one not in clear)
    left_out["repeated"] = len(answered) - len(newest)
    try:
        _make(out)
        kept = [one for one in clear if not copy_images or _copied(store, one, out / IMAGES)]
        left_out["gone"] = len(clear) - len(kept)
        manifest = Manifest(NAME, tuple(_case(one, out / IMAGES / one.name) for one in kept))
        if form in ("coco", "both"):
            coco.write(manifest, out / COCO_FILE)
        if form in ("cvat", "both"):
            cvat.write(manifest, out / CVAT_FILE)
        (out / ANSWERS_FILE).write_text(json.dumps([_origin(one) for one in kept], indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {out}: {error.strerror}", hint="choose another folder") from error
    return _counted(manifest, +left_out)


def _answered(store: AnalysisStore, since: datetime | None) -> list[_Answered]:
    found = []
    analyses: dict[str, Analysis] = {}
    for answer in Answers(store.database).all_counting(since=since):
        try:
            analysis = analyses.setdefault(answer.analysis_id, store.find(answer.analysis_id))
        except AnalysisNotFound:  # removed meanwhile
            continue
        found.append(_Answered(analysis, answer))
    return found


def _make(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise ConfigurationError(f"{out} is not empty", hint="give a new folder, so that no older export is mixed in")


def _copied(store: AnalysisStore, one: _Answered, folder: Path) -> bool:
    """Write the page's picture; False where it is gone."""
    try:
        content = pictures.image_png(store.files, one.analysis.id, one.answer.page - 1)
    except AnalysisNotFound:
        return False
    folder.mkdir(exist_ok=True)
    (folder / one.name).write_bytes(content)
    return True


def _case(one: _Answered, path: Path) -> Case:
    fractured = one.answer.verdict == "fracture"
    instances = tuple(_instances(one)) if fractured else ()
    marked = any(not instance.ignore for instance in instances)
    return Case(
        name=one.name,
        path=path,
        fractured=fractured,
        instances=instances if marked or not fractured else None,
        height_px=one.findings["height_px"],
        width_px=one.findings["width_px"],
        patient=one.analysis.study,
    )


def _instances(one: _Answered) -> Iterable[Instance]:
    for box in one.answer.boxes:
        if box.marks:
            yield Instance(FRACTURE, box.box_xyxy_px)
    named = {box.of for box in one.answer.boxes}
    for index, fracture in enumerate(one.findings["fractures"]):
        if index not in named:
            x0, y0, x1, y1 = map(float, fracture["box_xyxy_px"])
            yield Instance(FRACTURE, (x0, y0, x1, y1), ignore=True)


def _origin(one: _Answered) -> dict[str, Any]:
    """Which answer a case comes from; the comment is left out, since people write names into comments."""
    return {
        "file_name": one.name,
        "analysis": one.analysis.id,
        "page": one.answer.page,
        "answer": one.answer.id,
        "author": one.answer.author,
        "created_at": one.answer.created_at.isoformat(),
        "verdict": one.answer.verdict,
        "boxes": dict(Counter(box.status for box in one.answer.boxes)),
        "models": one.findings["models"],
    }


def _counted(manifest: Manifest, left_out: Mapping[str, int]) -> Exported:
    fractured: Sequence[Case] = [case for case in manifest if case.fractured]
    instances = [instance for case in fractured for instance in case.instances or ()]
    return Exported(
        fractured=len(fractured),
        normal=len(manifest) - len(fractured),
        boxes=sum(not instance.ignore for instance in instances),
        open_boxes=sum(instance.ignore for instance in instances),
        without_box=sum(case.instances is None for case in fractured),
        left_out=left_out,
    )
