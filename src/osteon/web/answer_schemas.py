"""Readers' answers as the HTTP interface takes and gives them."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from osteon.service.answers import (
    MOST_BOXES,
    MOST_COMMENT_CHARACTERS,
    Answer,
    AnswerBox,
    BoxStatus,
    Reading,
    Verdict,
)

_Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]


class AnswerBoxData(BaseModel):
    """What a reader says of a box."""

    model_config = ConfigDict(extra="forbid")

    box_xyxy_px: tuple[_Number, _Number, _Number, _Number] = Field(
        description="pixels of the page as a person sees it; accepted and rejected: the model's own box"
    )
    status: BoxStatus = Field(description="`redrawn`: the model's box, corrected; `added`: the model missed it")
    of: Annotated[int, Field(ge=0, le=10_000)] | None = Field(
        None, description="index of the model's box in `fractures` of the page, from 0; null: added"
    )


class AnswerIn(BaseModel):
    """A reader's answer to a page."""

    model_config = ConfigDict(extra="forbid")

    page: Annotated[int, Field(ge=1, le=10_000)] = Field(1, description="page or frame, from 1")
    verdict: Verdict = Field(description="`unusable`: the picture cannot be judged")
    comment: Annotated[str, Field(max_length=MOST_COMMENT_CHARACTERS)] = ""
    boxes: Annotated[list[AnswerBoxData], Field(max_length=MOST_BOXES)] = []

    def reading(self) -> Reading:
        """The answer as the service takes it."""
        boxes = tuple(AnswerBox(box.box_xyxy_px, box.status, box.of) for box in self.boxes)
        return Reading(self.page, self.verdict, self.comment.replace("\0", ""), boxes)


class AnswerOut(BaseModel):
    """A reader's answer that is kept."""

    id: str
    page: int
    verdict: Verdict
    comment: str
    boxes: list[AnswerBoxData]
    author: str = Field(description="name of the key that gave it, or `local`")
    created_at: datetime
    counts: bool = Field(description="the newest answer to its page; the others are the trail")

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """From a kept answer."""
        return cls(
            id=str(answer.id),
            page=answer.page,
            verdict=answer.verdict,
            comment=answer.comment,
            boxes=[AnswerBoxData(box_xyxy_px=b.box_xyxy_px, status=b.status, of=b.of) for b in answer.boxes],
            author=answer.author,
            created_at=answer.created_at,
            counts=not answer.superseded,
        )


class AnswersOut(BaseModel):
    """All answers to an analysis, newest first."""

    answers: list[AnswerOut]
