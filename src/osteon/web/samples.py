"""Pictures to try the page with: what is installed and drawn, nothing from a network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """A picture to click.

    Attributes:
        key: its word in addresses; `sample.KEY` names it in the catalogue.
        file_name: what the file is called when it is sent.
        content: gives the file's bytes.
    """

    key: str
    file_name: str
    content: Callable[[], bytes]


@cache
def samples() -> tuple[Sample, ...]:
    """The samples at hand: real CR images where the package `pydicom-data` is installed, drawn ones always."""
    drawn = (Sample("drawn", "drawn.png", drawn_radiograph), Sample("photograph", "photograph.jpg", photograph))
    return (*_packaged(), *drawn)


def _packaged() -> tuple[Sample, ...]:
    """CR images of a lower leg and a chest, JPEG 2000, from the package that ships them."""
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        return ()
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    wanted = (("leg", "RG3_J2KR.dcm"), ("chest", "RG1_J2KR.dcm"))
    return tuple(Sample(key, name, (folder / name).read_bytes) for key, name in wanted if (folder / name).is_file())


@cache
def drawn_radiograph() -> bytes:
    """PNG of a drawn radiograph with a fracture; always the same."""
    from osteon.datasets.synthetic import draw  # only who clicks the sample waits for the import

    pixels, _ = draw(11, height_px=1362, width_px=1119, fractures=1)
    return cv2.imencode(".png", pixels)[1].tobytes()


@cache
def photograph() -> bytes:
    """JPEG of a drawn landscape in colour: bright sky, sun, hills, a house; certainly no radiograph."""
    height, width = 900, 1200
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    sky = np.stack([250 - 0.02 * y, 225 - 0.06 * y, 170 - 0.1 * y + 60 * y / height], axis=-1)
    picture = np.ascontiguousarray(np.clip(sky, 0, 255).astype(np.uint8))
    cv2.circle(picture, (930, 190), 90, (140, 235, 255), -1, cv2.LINE_AA)
    for level, swing, colour in ((520, 60, (150, 190, 160)), (620, 45, (110, 190, 120)), (720, 30, (70, 170, 90))):
        line = level + swing * np.sin(x[0] / (90 + swing) + level)
        picture[y > line] = colour
    cv2.rectangle(picture, (300, 560), (480, 720), (190, 210, 240), -1)
    cv2.fillPoly(picture, [np.array([[280, 560], [390, 470], [500, 560]])], (60, 70, 190), cv2.LINE_AA)
    cv2.rectangle(picture, (365, 640), (415, 720), (70, 90, 130), -1)
    grain = np.random.default_rng(5).normal(0, 6, picture.shape)
    return cv2.imencode(".jpg", _grained(picture, grain))[1].tobytes()


def _grained(picture: NDArray[np.uint8], grain: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(picture + grain, 0, 255).astype(np.uint8)
