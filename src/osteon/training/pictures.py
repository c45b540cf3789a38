"""Training pictures in memory: read once, letterboxed once, kept as bytes."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osteon.datasets.case import Case, Instance
from osteon.errors import InvalidImage
from osteon.evaluation.judge import Progress
from osteon.files import read
from osteon.geometry import Placement
from osteon.preprocess import letterbox


@dataclass(frozen=True, eq=False)
class Picture:
    """A case in a model's square, without the padding: (placed height, placed width) uint8, stretched in grey."""

    case: Case
    pixels: NDArray[np.uint8]
    placement: Placement

    def square(self) -> NDArray[np.float32]:
        """(side_px, side_px) float32 in [0, 1], as `preprocess.letterbox` gives it, to 8 bits."""
        square = np.zeros((self.placement.side_px, self.placement.side_px), np.float32)
        square[: self.pixels.shape[0], : self.pixels.shape[1]] = self.pixels / np.float32(255)
        return square

    def outlines(self, labels: frozenset[str]) -> list[NDArray[np.float64]]:
        """Points of each object with one of the labels, in model pixels: its outline, or its box."""
        scale = np.array(
            [
                self.placement.placed_width_px / self.placement.width_px,
                self.placement.placed_height_px / self.placement.height_px,
            ]
        )
        chosen = [i for i in self.case.instances or () if not i.ignore and i.label.lower() in labels]
        outlines = []
        for instance in chosen:
            x0, y0, x1, y1 = instance.box_xyxy_px
            corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
            points = np.concatenate(instance.polygons) if instance.polygons else corners
            outlines.append(points * scale)
        return outlines


def mirrored(picture: Picture) -> list[Picture]:
    """The picture as it is, mirrored left to right, top to bottom, and both, its objects with it."""
    return [
        _mirrored(picture, horizontally, vertically) for horizontally in (False, True) for vertically in (False, True)
    ]


def _mirrored(picture: Picture, horizontally: bool, vertically: bool) -> Picture:
    width, height = picture.placement.width_px, picture.placement.height_px
    signs = np.array([-1.0 if horizontally else 1.0, -1.0 if vertically else 1.0])
    shift = np.array([width if horizontally else 0.0, height if vertically else 0.0])

    def moved(instance: Instance) -> Instance:
        corners = np.array(instance.box_xyxy_px).reshape(2, 2) * signs + shift
        box = (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
        polygons = tuple(polygon * signs + shift for polygon in instance.polygons)
        return replace(instance, box_xyxy_px=box, polygons=polygons, mask=None)

    instances = None if picture.case.instances is None else tuple(map(moved, picture.case.instances))
    pixels = picture.pixels[:: -1 if vertically else 1, :: -1 if horizontally else 1]
    return replace(picture, case=replace(picture.case, instances=instances), pixels=pixels)


def load(cases: Sequence[Case], *, side_px: int, progress: Progress | None = None) -> tuple[list[Picture], list[str]]:
    """The pictures that can be read, in order, and the names of those that cannot."""
    pictures: list[Picture] = []
    broken: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        for done, picture in enumerate(pool.map(lambda case: _picture(case, side_px), cases), start=1):
            if isinstance(picture, Picture):
                pictures.append(picture)
            else:
                broken.append(picture)
            if progress:
                progress("reading pictures", done, len(cases))
    return pictures, broken


def _picture(case: Case, side_px: int) -> Picture | str:
    try:
        radiograph = read(case.path)[0]
    except InvalidImage:
        return case.name
    letterboxed = letterbox(radiograph.pixels, side_px=side_px)
    placement = letterboxed.placement
    placed = letterboxed.pixels[: placement.placed_height_px, : placement.placed_width_px]
    return Picture(case, np.asarray(np.rint(placed * 255), np.uint8), placement)
