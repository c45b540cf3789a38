"""Single bones as the HTTP interface gives them: COCO's three lists, and how far the work has come."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, Field

from osteon.service.bones import BonesTask
from osteon.service.store import Status
from osteon.web.schemas import DamageOut, ErrorOut, TextOut


class BonePageOut(BaseModel):
    """A page, as COCO lists images."""

    id: int = Field(description="number of the page, from 1")
    width: int
    height: int
    file_name: str


class BoneCategoryOut(BaseModel):
    """A label that was found."""

    id: int
    name: str = Field(description="the label, such as `radius`; `bone` of a model that names none, `implant`: metal")
    names: TextOut
    colour: str = Field(description="of its outline, #rrggbb")


class BoneAnnotationOut(BaseModel):
    """A bone, complete where others overlap it."""

    id: int
    image_id: int = Field(description="number of the page, from 1")
    category_id: int
    label: str
    score: float = Field(description="the model's, 0 to 1")
    bbox: tuple[float, float, float, float] = Field(description="x, y, width, height in pixels, as COCO has it")
    area: int = Field(description="pixels")
    segmentation: list[list[float]] = Field(description="outlines of its parts: x, y, x, y, ... in pixels")
    iscrowd: int = 0
    inside_xy_px: tuple[float, float] = Field(description="a point deep within it, where its name may stand")
    damage: DamageOut | None = Field(None, description="there where bones are judged; never of metal")


class BonesOut(BaseModel):
    """The bones of an analysis; the three lists are empty until they are found."""

    id: str = Field(description="of the analysis")
    status: Status = Field(description="of the search for bones, which waits until the analysis succeeded")
    progress: float = Field(description="0 to 1")
    error: ErrorOut | None = Field(description="why it failed")
    images: list[BonePageOut]
    categories: list[BoneCategoryOut]
    annotations: list[BoneAnnotationOut] = Field(description="by page, the surest first")

    @classmethod
    def of(cls, task: BonesTask, lists: Mapping[str, Any] | None = None) -> Self:
        """As it stands; `lists`: what was found."""
        found = lists or {"images": [], "categories": [], "annotations": []}
        return cls(id=task.id, status=task.status, progress=task.progress, error=task.error, **found)  # type: ignore[arg-type]
