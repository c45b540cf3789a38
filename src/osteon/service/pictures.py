"""Pictures of a stored analysis: kept by the job, drawn again with findings when somebody asks."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.errors import AnalysisNotFound
from osteon.files import overlay
from osteon.findings import Anchor, Bone, BoneEvidence, Damage, Findings, Fracture, ModelRef, Suspicion
from osteon.radiograph import Radiograph
from osteon.service import bone_files
from osteon.service.decoders import DecodedFile, DecodedPage
from osteon.service.encodings import jpeg, png
from osteon.service.files import AnalysisFiles
from osteon.service.handover import THUMBNAIL_SIDE_PX

BONE_RGB = (0, 190, 200)
_TINT_ALPHA, _EDGE_ALPHA = 42, 150
THUMBNAIL = "thumbnail.jpg"


def save(files: AnalysisFiles, analysis_id: str, file: DecodedFile, page: DecodedPage, bone: BoneEvidence) -> None:
    """Keep a page as people see it, the gate's bone probabilities over it, and of the first page a thumbnail."""
    files.put(analysis_id, _image_name(page.page), page.picture)
    if bone.probability_map is not None:
        probabilities = np.rint(bone.probability_map * 255).astype(np.uint8)
        files.put(analysis_id, _bone_name(page.page), png(probabilities))
    if page.page == 0:
        files.put(analysis_id, THUMBNAIL, file.thumbnail)


def image_png(files: AnalysisFiles, analysis_id: str, page: int) -> bytes:
    """The page as people see it; raises AnalysisNotFound where there is none (yet)."""
    return _read(files, analysis_id, _image_name(page), f"picture of page {page + 1}")


def thumbnail_jpg(files: AnalysisFiles, analysis_id: str) -> bytes:
    """The first page, at most 160 px a side; raises AnalysisNotFound where there is none (yet)."""
    try:
        return files.read(analysis_id, THUMBNAIL)
    except FileNotFoundError:  # analysed by version 0.1, or not yet
        return jpeg(_grey(image_png(files, analysis_id, 0)), side_px=THUMBNAIL_SIDE_PX)


def _read(files: AnalysisFiles, analysis_id: str, name: str, what: str) -> bytes:
    try:
        return files.read(analysis_id, name)
    except FileNotFoundError as error:
        raise AnalysisNotFound(
            f"the analysis has no {what}",
            hint="wait until the analysis succeeded, and ask for a page that the file has",
        ) from error


def bone_png(files: AnalysisFiles, analysis_id: str, page: int) -> bytes:
    """The bone mask of a page to lay over its picture; transparent where there is none."""
    probabilities = _bone(files, analysis_id, page)
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


def overlay_pixels(
    files: AnalysisFiles, analysis_id: str, page: int, findings: Mapping[str, Any], *, language: overlay.Language
) -> NDArray[Any]:
    """(height, width, 3) uint8 RGB: the page with its findings drawn on it, its bones too where they were found."""
    grey = _grey(image_png(files, analysis_id, page))
    radiograph = Radiograph(grey, str(findings["source"]), str(findings["sha256"]), page=page)
    bones = bone_files.bones(files, analysis_id, page) if "bones" in findings else None
    found = findings_from_json(findings, _bone(files, analysis_id, page), bones=bones)
    return overlay.draw(radiograph, found, language=language)


def findings_from_json(
    value: Mapping[str, Any],
    probability_map: NDArray[np.float32] | None = None,
    *,
    bones: tuple[Bone, ...] | None = None,
) -> Findings:
    """The findings that `Findings.to_json` wrote; masks lie elsewhere, so whole bones come from there, too."""
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
        suspicion=Suspicion(**value["suspicion"]) if value.get("suspicion") else None,
        bones=bones,
        instances=ModelRef(**models["bones"]) if models.get("bones") else None,
        damage=Damage(**value["damage"]) if value.get("damage") else None,
        judge=ModelRef(**models["bone_judge"]) if models.get("bone_judge") else None,
    )


def _fractures(values: Any) -> tuple[Fracture, ...]:
    return tuple(
        Fracture(tuple(one["box_xyxy_px"]), one["score"], one["probability"], one["grade"], _anchor(one))
        for one in values
    )


def _anchor(value: Mapping[str, Any]) -> Anchor | None:
    if "bone_overlap" not in value:
        return None
    overlap, confidence = value["bone_overlap"], value["bone_confidence"]
    return Anchor(value["bone"], overlap, confidence, value["bone_third"], value["outside_bone"])


def _image_name(page: int) -> str:
    return f"page-{page + 1}.png"


def _bone_name(page: int) -> str:
    return f"bone-{page + 1}.png"


def _bone(files: AnalysisFiles, analysis_id: str, page: int) -> NDArray[np.float32] | None:
    try:
        return _grey(files.read(analysis_id, _bone_name(page))).astype(np.float32) / np.float32(255)
    except FileNotFoundError:
        return None


def _grey(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
