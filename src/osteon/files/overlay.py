"""Findings drawn over their radiograph, for people: bone outlined, fractures boxed, the decision written below."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from osteon.anatomy import BONE as UNNAMED
from osteon.anatomy import Colour, bone_name
from osteon.anatomy import Language as Language
from osteon.errors import ConfigurationError
from osteon.files.masks import full_size
from osteon.findings import Bone, Findings, Fracture
from osteon.radiograph import Radiograph

BONE: Colour = (0, 190, 200)
GRADES: dict[str, Colour] = {"fracture": (235, 52, 52), "doubt": (250, 176, 5)}
_DECISIONS: dict[str, Colour] = {**GRADES, "no_fracture": (90, 200, 120), "not_a_radiograph": (170, 170, 170)}
_TINT = 0.12
_OBJECT_TINT = 0.25
_FONT_PX = (9, 72)
_STROKE_PX = 2

WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "fracture": "fracture",
        "doubt": "doubt",
        "decision.fracture": "Fracture suspected",
        "decision.doubt": "In doubt: look again",
        "decision.no_fracture": "No fracture found",
        "decision.not_a_radiograph": "Not a radiograph",
        "notice": "Research decision support, not a medical device",
    },
    "ru": {
        "fracture": "перелом",
        "doubt": "сомнение",
        "decision.fracture": "Подозрение на перелом",
        "decision.doubt": "Сомнительно: проверьте",
        "decision.no_fracture": "Перелом не найден",
        "decision.not_a_radiograph": "Не рентгенограмма",
        "notice": "Для исследований, не медицинское изделие",
    },
}


def draw(radiograph: Radiograph, findings: Findings, *, language: Language = "en") -> NDArray[np.uint8]:
    """The radiograph with what was found on it.

    Returns:
        (height, width, 3) uint8 RGB, the size of the radiograph: bone tinted and outlined (each bone by itself, and
        named, where single bones were asked for), boxes red and solid for a fracture, amber and dashed for a doubt,
        each with its score, and a strip with the decision along the lower edge.
    """
    words = WORDS[language]
    if findings.bones:
        pixels = draw_bones(radiograph, findings.bones, language=language)
    else:
        pixels = np.asarray(cv2.cvtColor(radiograph.as_uint8(), cv2.COLOR_GRAY2RGB), np.uint8)
        if findings.bone.probability_map is not None and findings.decision != "not_a_radiograph":
            _draw_bone(pixels, full_size(findings.bone, radiograph))
    image = Image.fromarray(pixels)
    _draw_caption(image, findings, words)
    for fracture in reversed(findings.fractures):  # the surest comes last, on top
        _draw_fracture(image, fracture, words, language)
    return np.array(image)


def draw_bones(radiograph: Radiograph, bones: Sequence[Bone], *, language: Language = "en") -> NDArray[np.uint8]:
    """The radiograph with its single bones.

    Returns:
        (height, width, 3) uint8 RGB, the size of the radiograph: each bone tinted and outlined in its label's colour,
        with its name where there is room for it.
    """
    pixels: NDArray[np.uint8] = np.asarray(cv2.cvtColor(radiograph.as_uint8(), cv2.COLOR_GRAY2RGB), np.uint8)
    by_size = sorted(bones, key=lambda bone: -bone.area_px)  # small ones, such as metal, on top
    for bone in by_size:
        _draw_object(pixels, bone)
    image = Image.fromarray(pixels)
    named: list[tuple[float, float, float, float]] = []
    for bone in by_size:
        _name_object(image, bone, bone_name(bone.label).name(language), named)
    return np.array(image)


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """The picture as PNG."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def write(path: Path, pixels: NDArray[np.uint8]) -> None:
    """The picture as a PNG file; its folder is made.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(pixels))
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror}", hint="choose a folder that you may write to"
        ) from error


def _draw_bone(pixels: NDArray[np.uint8], bone: NDArray[np.uint8]) -> None:
    height, width = bone.shape
    tint = np.arange(256)[:, None, None] * (1 - _TINT) + np.array(BONE) * _TINT
    cv2.copyTo(cv2.LUT(pixels, tint.astype(np.uint8)), bone, pixels)
    outlines, _ = cv2.findContours(bone, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(pixels, outlines, -1, BONE, thickness=max(1, min(height, width) // 600), lineType=cv2.LINE_AA)


def _draw_object(pixels: NDArray[np.uint8], bone: Bone) -> None:
    """Tint and outline a bone in place."""
    colour = bone_name(bone.label).colour
    x, y = bone.corner_xy_px
    height, width = bone.mask.shape
    part = pixels[y : y + height, x : x + width]
    part[bone.mask] = (part[bone.mask] * (1 - _OBJECT_TINT) + np.array(colour) * _OBJECT_TINT).astype(np.uint8)
    outlines, _ = cv2.findContours(bone.mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    line = max(1, min(pixels.shape[:2]) // 600)
    cv2.drawContours(pixels, outlines, -1, colour, thickness=line, lineType=cv2.LINE_AA)


def _name_object(image: Image.Image, bone: Bone, name: str, named: list[tuple[float, float, float, float]]) -> None:
    """Write a bone's name over its thickest part where no other name stands, if any; its box is added to `named`."""
    font = _fitting(name, image.width, wanted_px=min(image.size) / 45)
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), name, font=font, stroke_width=_STROKE_PX)
    width, height = right - left, bottom - top
    thickness = cv2.distanceTransform(np.pad(bone.mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = (np.arange(length) for length in thickness.shape)
    x = np.clip(bone.corner_xy_px[0] + columns - width / 2, 0, max(0, image.width - width))
    y = np.clip(bone.corner_xy_px[1] + rows - height / 2, 0, max(0, image.height - height))
    for x0, y0, x1, y1 in named:
        thickness[np.ix_((y < y1) & (y + height > y0), (x < x1) & (x + width > x0))] = 0
    if not thickness.any():
        return
    row, column = np.unravel_index(int(thickness.argmax()), thickness.shape)
    at = float(x[column]), float(y[row])
    named.append((*at, at[0] + width, at[1] + height))
    colour = bone_name(bone.label).colour
    pen.text((at[0] - left, at[1] - top), name, font=font, fill=colour, stroke_width=_STROKE_PX, stroke_fill="black")


def _draw_fracture(image: Image.Image, fracture: Fracture, words: dict[str, str], language: Language) -> None:
    grade = fracture.grade or "doubt"
    colour, line = GRADES[grade], max(2, round(min(image.size) / 250))
    x0, y0, x1, y1 = (round(value) for value in fracture.box_xyxy_px)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    pen = ImageDraw.Draw(image)
    if grade == "fracture":
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    else:
        _dashed(pen, (x0, y0, x1, y1), colour, line)
    text = f"{words[grade]} {fracture.score:.2f}"
    if fracture.anchor and fracture.anchor.label not in (None, UNNAMED):
        text += f", {bone_name(fracture.anchor.label).name(language)}"
    font = _fitting(text, image.width, wanted_px=min(image.size) / 40)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = line
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(x0, 0), max(image.width - width, 0))
    y = y0 - height if y0 >= height else min(y1, image.height - height)
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    pen.text((x + pad - left, y + pad - top), text, font=font, fill="white" if grade == "fracture" else "black")


def _dashed(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: Colour, line: int) -> None:
    x0, y0, x1, y1 = box
    dash = 4 * line
    for start in range(x0, x1, 2 * dash):
        for y in (y0, y1 - line):
            pen.rectangle((start, y, min(start + dash, x1), y + line - 1), fill=colour)
    for start in range(y0, y1, 2 * dash):
        for x in (x0, x1 - line):
            pen.rectangle((x, start, x + line - 1, min(start + dash, y1)), fill=colour)


def _draw_caption(image: Image.Image, findings: Findings, words: dict[str, str]) -> None:
    """A dark strip along the lower edge: the decision in its colour, then what Osteon is not."""
    decision, notice = words[f"decision.{findings.decision}"], words["notice"]
    large = _fitting(decision, image.width, wanted_px=min(image.size) / 32)
    small = _fitting(notice, image.width, wanted_px=min(image.size) / 55)
    pad = max(2, round(large.size / 3))
    strip = round(large.size * 1.25 + small.size * 1.25 + 2 * pad)
    top = image.height - strip
    below = image.crop((0, top, image.width, image.height))
    image.paste(Image.blend(below, Image.new("RGB", below.size), 0.65), (0, top))
    pen = ImageDraw.Draw(image)
    pen.text((pad, top + pad), decision, font=large, fill=_DECISIONS[findings.decision])
    pen.text((pad, top + pad + round(large.size * 1.25)), notice, font=small, fill=(220, 220, 220))


def _fitting(text: str, width_px: int, *, wanted_px: float) -> ImageFont.FreeTypeFont:
    """The font at the size wanted, smaller where the text would not fit the picture's width."""
    least, most = _FONT_PX
    size = round(min(max(wanted_px, least + 3), most))
    length = _font(size).getlength(text)
    if length > width_px * 0.95:
        size = max(least, int(size * width_px * 0.95 / length))
    return _font(size)


@lru_cache(maxsize=16)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which has Cyrillic; Pillow's own font has not."""
    data = files("osteon.files").joinpath("fonts/DejaVuSans.ttf").read_bytes()
    return ImageFont.truetype(BytesIO(data), size_px)
