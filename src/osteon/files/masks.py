"""Bone masks out, and names for the pictures that go with a radiograph."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.findings import BoneEvidence
from osteon.radiograph import Radiograph

BONE_THRESHOLD = 0.5


def full_size(bone: BoneEvidence, radiograph: Radiograph) -> NDArray[np.uint8]:
    """(height, width) uint8 mask at the radiograph's size: 255 where bone is likelier than not, else 0.

    Raises:
        ValueError: the evidence has no probability map.
    """
    if bone.probability_map is None:
        raise ValueError("bone evidence without a probability map")
    size = (radiograph.width_px, radiograph.height_px)
    enlarged = cv2.resize(bone.probability_map, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged > BONE_THRESHOLD, np.uint8) * np.uint8(255)


def write_mask(path: Path, bone: BoneEvidence, radiograph: Radiograph) -> None:
    """The mask as a PNG file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(full_size(bone, radiograph)).save(path, "PNG")


def picture_name(radiograph: Radiograph, kind: str, taken: set[str]) -> str:
    """A file name for a picture that goes with a radiograph, added to `taken`.

    `STEM.KIND.png`; the page follows the stem where it is not the first, and where two files of one name lie in
    different folders the second gets the start of its hash too.

    >>> film = Radiograph(np.zeros((1, 1), np.uint8), source="a/wrist.dcm", sha256="5f70bf18a0")
    >>> taken = set()
    >>> picture_name(film, "mask", taken), picture_name(film, "mask", taken)
    ('wrist.mask.png', 'wrist.5f70bf18.mask.png')
    """
    file = radiograph.source.rsplit("#", 1)[0] if radiograph.page else radiograph.source
    stem = Path(file).stem + (f".{radiograph.page + 1}" if radiograph.page else "")
    name = f"{stem}.{kind}.png"
    if name in taken:
        name = f"{stem}.{radiograph.sha256[:8]}.{kind}.png"
    taken.add(name)
    return name
