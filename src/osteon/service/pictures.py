"""Pictures of a stored analysis: kept by the job as PNG, drawn again with findings when somebody asks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.errors import AnalysisNotFound
from osteon.files import overlay
from osteon.findings import BoneEvidence, Findings, Fracture, ModelRef
from osteon.radiograph import Radiograph

BONE_RGB = (0, 190, 200)
_TINT_ALPHA, _EDGE_ALPHA = 42, 150
# Measured on a 1760x1760 CR image: 60 ms and 480 KiB; OpenCV's default takes twice as long for more.
_QUICK_PNG = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
)


def save(folder: Path, radiograph: Radiograph, bone: BoneEvidence) -> None:
    """Keep a page as people see it, and the gate's bone probabilities over it, both 8-bit grey PNG."""
    _image_file(folder, radiograph.page).write_bytes(png(radiograph.as_uint8()))
    if bone.probability_map is not None:
        _bone_file(folder, radiograph.page).write_bytes(png(np.rint(bone.probability_map * 255).astype(np.uint8)))


def image_png(folder: Path, page: int) -> bytes:
    """The page as people see it; raises AnalysisNotFound where there is none (yet)."""
    try:
        return _image_file(folder, page).read_bytes()
    except FileNotFoundError as error:
        raise AnalysisNotFound(
            f"the analysis has no picture of page {page + 1}",
            hint="wait until the analysis succeeded, and ask for a page that the file has",
        ) from error


def bone_png(folder: Path, page: int) -> bytes:
    """The bone mask of a page to lay over its picture; transparent where there is none."""
    probabilities = _bone(folder, page)
    return mask_png(np.zeros((1, 1), np.float32) if probabilities is None else probabilities)


def mask_png(probability_map: NDArray[np.float32]) -> bytes:
    """(h, w) bone probabilities as an RGBA PNG: a teal tint where bone is likelier than not, stronger at its edge."""
    inside = (probability_map > 0.5).astype(np.uint8)
    edge = inside - cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=0)
    red, green, blue = BONE_RGB
    pixels = np.empty((*probability_map.shape, 4), np.uint8)
    pixels[..., :3] = (blue, green, red)
    pixels[..., 3] = inside * _TINT_ALPHA + edge * _EDGE_ALPHA
    return png(pixels)


def overlay_pixels(folder: Path, page: int, findings: Mapping[str, Any], *, language: overlay.Language) -> NDArray[Any]:
    """(height, width, 3) uint8 RGB: the page with its findings drawn on it."""
    radiograph = Radiograph(_grey(image_png(folder, page)), str(findings["source"]), str(findings["sha256"]), page=page)
    return overlay.draw(radiograph, findings_from_json(findings, _bone(folder, page)), language=language)


def findings_from_json(value: Mapping[str, Any], probability_map: NDArray[np.float32] | None = None) -> Findings:
    """The findings that `Findings.to_json` wrote."""
    models = value["models"]
    return Findings(
        source=value["source"],
        sha256=value["sha256"],
        height_px=value["height_px"],
        width_px=value["width_px"],
        bone=BoneEvidence(**value["bone"], probability_map=probability_map),
        decision=value["decision"],
        fractures=_fractures(value["fractures"]),
        gate=ModelRef(**models["gate"]),
        detector=ModelRef(**models["detector"]) if models["detector"] else None,
        timing_ms=value["timing_ms"],
        candidates=_fractures(value.get("candidates", ())),
    )


def _fractures(values: Any) -> tuple[Fracture, ...]:
    return tuple(Fracture(**value | {"box_xyxy_px": tuple(value["box_xyxy_px"])}) for value in values)


def _image_file(folder: Path, page: int) -> Path:
    return folder / f"page-{page + 1}.png"


def _bone_file(folder: Path, page: int) -> Path:
    return folder / f"bone-{page + 1}.png"


def _bone(folder: Path, page: int) -> NDArray[np.float32] | None:
    try:
        return _grey(_bone_file(folder, page).read_bytes()).astype(np.float32) / np.float32(255)
    except FileNotFoundError:
        return None


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Grey or BGRA pixels as PNG, quickly rather than small."""
    return cv2.imencode(".png", pixels, _QUICK_PNG)[1].tobytes()


def _grey(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
