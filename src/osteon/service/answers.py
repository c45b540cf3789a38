"""Readers' answers: what a person says of a page. They are only ever added; the newest of a page counts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Self, get_args

from sqlalchemy import func, select, update

from osteon.errors import AnalysisNotFound, InvalidAnswer
from osteon.findings import BoxXyxy
from osteon.service.admission import trail
from osteon.service.database import Database
from osteon.service.store import not_found
from osteon.service.tables import AnalysisRow, AnswerRow, now

Verdict = Literal["fracture", "no_fracture", "unsure", "unusable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
BoxStatus = Literal["accepted", "rejected", "redrawn", "added"]
STATUSES: tuple[BoxStatus, ...] = get_args(BoxStatus)

MOST_BOXES = 200
MOST_COMMENT_CHARACTERS = 4000
LEAST_SIDE_PX = 1.0
_SAME_BOX_PX = 1.0
"""How far an accepted or rejected box may lie from the model's: what rounding on the way makes of it."""


@dataclass(frozen=True)
class AnswerBox:
    """What a reader says of a box of the model, or a box of the reader's own.

    Attributes:
        box_xyxy_px: in pixels of the page as a person sees it. Accepted and rejected: the model's.
        status: accepted, rejected, redrawn (the model's box, better), added (the model missed it).
        of: index of the model's box in the page's `fractures`, from 0; None where it was added.
    """

    box_xyxy_px: BoxXyxy
    status: BoxStatus
    of: int | None = None

    @property
    def marks(self) -> bool:
        """Whether a fracture is there, as the reader says."""
        return self.status != "rejected"

    def to_json(self) -> dict[str, Any]:
        """The object that is kept and sent."""
        return {"box_xyxy_px": list(self.box_xyxy_px), "status": self.status, "of": self.of}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The box that `to_json` wrote."""
        x0, y0, x1, y1 = (float(number) for number in value["box_xyxy_px"])
        return cls((x0, y0, x1, y1), value["status"], value["of"])


@dataclass(frozen=True)
class Reading:
    """What a reader says of a page, not yet kept.

    Attributes:
        page: from 1.
        verdict: fracture, no_fracture, unsure, or unusable (no picture that can be judged).
        comment: free text.
        boxes: what is said of boxes; boxes of the model that it does not name are left open.
    """

    page: int
    verdict: Verdict
    comment: str = ""
    boxes: tuple[AnswerBox, ...] = ()


@dataclass(frozen=True)
class Answer(Reading):
    """A reading that is kept.

    Attributes:
        id: grows with each answer.
        analysis_id: whose page it is.
        author: name of the key, or "local".
        created_at: when it was given (UTC).
        superseded: a later answer to the same page counts instead.
    """

    id: int = 0
    analysis_id: str = ""
    author: str = ""
    created_at: datetime = datetime.min
    superseded: bool = False

    @classmethod
    def of(cls, row: AnswerRow) -> Self:
        """The answer of a row."""
        values = {name: getattr(row, name) for name in cls.__dataclass_fields__}
        return cls(**values | {"boxes": tuple(AnswerBox.from_json(box) for box in row.boxes)})


class Answers:
    """Keeps readers' answers. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, analysis_id: str, reading: Reading, *, author: str, owner: str | None = None) -> Answer:
        """Keep an answer; the one that counted until now stays in the trail.

        Args:
            analysis_id: whose page it is.
            reading: what the reader says.
            author: who says it, without personal data: the name of the key, or "local".
            owner: whose analysis it must be; None: anybody's.

        Raises:
            AnalysisNotFound: no such analysis, or it has no findings of this page (yet).
            InvalidAnswer: as `checked` says.
        """
        with self._database.writing(durable=True) as session:
            row = session.scalar(select(AnalysisRow).where(AnalysisRow.id == analysis_id).with_for_update())
            if row is None or owner not in (None, row.owner):
                raise not_found()
            answer = checked(reading, _page(row, reading.page))
            earlier = (AnswerRow.analysis_id == analysis_id, AnswerRow.page == reading.page)
            session.execute(update(AnswerRow).where(*earlier, AnswerRow.superseded.is_(False)).values(superseded=True))
            kept = AnswerRow(
                analysis_id=analysis_id,
                page=answer.page,
                author=author,
                created_at=now(),
                verdict=answer.verdict,
                comment=answer.comment,
                boxes=[box.to_json() for box in answer.boxes],
                superseded=False,
            )
            row.changed_at = now()
            session.add_all((kept, trail(analysis_id, row.owner, "answered", author)))
            session.flush()
            return Answer.of(kept)

    def of(self, analysis_id: str) -> list[Answer]:
        """All answers to an analysis, newest first."""
        query = select(AnswerRow).where(AnswerRow.analysis_id == analysis_id).order_by(AnswerRow.id.desc())
        with self._database.reading() as session:
            return [Answer.of(row) for row in session.scalars(query)]

    def counting(self, analysis_id: str) -> dict[int, Answer]:
        """The answer that counts by page (from 1); pages without one are left out."""
        return {answer.page: answer for answer in reversed(self.of(analysis_id))}

    def all_counting(self, *, since: datetime | None = None, owner: str | None = None) -> list[Answer]:
        """The answers that count of all analyses, by analysis and page.

        Args:
            since: only those given then or later.
            owner: only to analyses of this owner; None: of anybody.
        """
        newest = select(func.max(AnswerRow.id)).group_by(AnswerRow.analysis_id, AnswerRow.page)
        query = select(AnswerRow).join(AnalysisRow, AnalysisRow.id == AnswerRow.analysis_id)
        query = query.where(AnswerRow.id.in_(newest)).order_by(AnalysisRow.number, AnswerRow.page)
        if since is not None:
            query = query.where(AnswerRow.created_at >= since)
        if owner is not None:
            query = query.where(AnalysisRow.owner == owner)
        with self._database.reading() as session:
            return [Answer.of(row) for row in session.scalars(query)]


def checked(reading: Reading, findings: Mapping[str, Any]) -> Reading:
    """The reading as it will be kept: accepted and rejected boxes exactly the model's, the comment without margins.

    Args:
        reading: what the reader says.
        findings: what the model said of the page, as JSON.

    Raises:
        InvalidAnswer: a box outside of the page or without area, one that names no box of the model, two that name
            the same, a verdict that contradicts the boxes, or more of anything than one may send.
    """
    comment = reading.comment.strip()
    if len(comment) > MOST_COMMENT_CHARACTERS:
        raise InvalidAnswer(
            f"the comment has {len(comment)} characters, at most {MOST_COMMENT_CHARACTERS} are kept",
            hint="write the rest into the report",
        )
    if len(reading.boxes) > MOST_BOXES:
        raise InvalidAnswer(f"{len(reading.boxes)} boxes, at most {MOST_BOXES} are kept", hint="send fewer boxes")
    boxes = tuple(_checked_box(number, box, findings) for number, box in enumerate(reading.boxes, start=1))
    named = [box.of for box in boxes if box.of is not None]
    if len(set(named)) < len(named):
        raise InvalidAnswer("two boxes are of the same box of the model", hint="send each `of` once")
    if reading.verdict in ("no_fracture", "unusable") and any(box.marks for box in boxes):
        raise InvalidAnswer(
            f"the verdict is {reading.verdict}, yet a box marks a fracture",
            hint="reject or leave out the boxes, or give the verdict `fracture`",
        )
    return replace(reading, comment=comment, boxes=boxes)


def _checked_box(number: int, box: AnswerBox, findings: Mapping[str, Any]) -> AnswerBox:
    given = [tuple(fracture["box_xyxy_px"]) for fracture in findings["fractures"]]
    if (box.of is None) != (box.status == "added"):
        raise InvalidAnswer(
            f"box {number} is {box.status} {'without' if box.of is None else 'with'} `of`",
            hint="`of` is the index of the model's box; only an added box has none",
        )
    if box.of is not None and not 0 <= box.of < len(given):
        raise InvalidAnswer(
            f"box {number} is of the model's box {box.of}, and there are {len(given)} on this page",
            hint="`of` counts from 0 through `fractures` of the page",
        )
    if box.of is not None and box.status in ("accepted", "rejected"):
        if any(abs(mine - model) > _SAME_BOX_PX for mine, model in zip(box.box_xyxy_px, given[box.of], strict=True)):
            raise InvalidAnswer(
                f"box {number} is {box.status}, but is not the model's box", hint="send it as `redrawn`"
            )
        return replace(box, box_xyxy_px=given[box.of])
    _check_inside(number, box.box_xyxy_px, width_px=findings["width_px"], height_px=findings["height_px"])
    return box


def _check_inside(number: int, box_xyxy_px: BoxXyxy, *, width_px: int, height_px: int) -> None:
    x0, y0, x1, y1 = box_xyxy_px
    if not all(math.isfinite(value) for value in box_xyxy_px) or min(x1 - x0, y1 - y0) < LEAST_SIDE_PX:
        raise InvalidAnswer(
            f"box {number} is no box of at least {LEAST_SIDE_PX:.0f} px each way", hint="boxes are [x0, y0, x1, y1]"
        )
    if x0 < 0 or y0 < 0 or x1 > width_px or y1 > height_px:
        raise InvalidAnswer(
            f"box {number} reaches beyond the page of {width_px} x {height_px} px",
            hint="boxes are in pixels of the page as image.png shows it",
        )


def _page(row: AnalysisRow, page: int) -> Mapping[str, Any]:
    if not 1 <= page <= len(row.pages):
        raise AnalysisNotFound(
            f"the analysis has no findings of page {page} (it is {row.status}, {len(row.pages)} pages)",
            hint="wait until the analysis succeeded, and answer to a page that the file has",
        )
    return row.pages[page - 1]
