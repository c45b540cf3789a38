"""Pictures to try Osteon with, for the page, the demonstration and the benchmark: nothing from a network.

`photograph.jpg` is a photograph of the cat Chelsea by Stéfan van der Walt, CC0, cropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.errors import MissingExtra

if TYPE_CHECKING:
    from osteon.datasets.case import Case

DRAWN_SEED = 2
DRAWN_SIZE_PX = (1362, 1119)
PHOTOGRAPH = Path(__file__).parent / "photograph.jpg"


@dataclass(frozen=True)
class Sample:
    """A picture to try.

    Attributes:
        key: its word in addresses; `sample.KEY` names it in the page's catalogue.
        file_name: what the file is called when it is sent or written.
        content: gives the file's bytes.
    """

    key: str
    file_name: str
    content: Callable[[], bytes]


@cache
def samples() -> tuple[Sample, ...]:
    """The samples at hand: real CR images where the package `pydicom-data` is installed, the others always."""
    others = (Sample("drawn", "drawn.png", drawn_radiograph), Sample("photograph", "photograph.jpg", photograph))
    if _folder() is None:
        return others
    packaged = (("leg", "RG3_J2KR.dcm"), ("chest", "RG1_J2KR.dcm"))
    return (*(Sample(key, name, packaged_file(name).read_bytes) for key, name in packaged), *others)


def packaged_file(name: str) -> Path:
    """A DICOM file of the package `pydicom-data`, e.g. RG3_UNCR.dcm.

    Raises:
        MissingExtra: the package is not installed.
    """
    folder = _folder()
    if folder is None:
        raise MissingExtra("the sample radiographs are not installed", hint="pip install 'osteon[samples]'")
    return folder / name


def _folder() -> Path | None:
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def drawn() -> tuple[NDArray[np.uint8], "Case"]:
    """(1362, 1119) uint8 pixels of a drawn radiograph with one fracture, always the same, and its truth."""
    from osteon.datasets.synthetic import draw  # only who uses the sample waits for the import

    return draw(DRAWN_SEED, height_px=DRAWN_SIZE_PX[0], width_px=DRAWN_SIZE_PX[1], fractures=1)


@cache
def drawn_radiograph() -> bytes:
    """PNG of the drawn radiograph."""
    return cv2.imencode(".png", drawn()[0])[1].tobytes()


def photograph() -> bytes:
    """JPEG of a photograph in colour, 400 by 300: a cat."""
    return PHOTOGRAPH.read_bytes()
