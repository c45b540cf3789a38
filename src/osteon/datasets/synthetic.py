"""Drawn radiographs whose truth is known: long bones with their outlines, and fractures with their boxes.

A bone is a bent tube that flares at its ends. Its brightness is the way of the ray through cortex and marrow, so that
the edges of the shaft are bright and its middle is dark, as on film. A fracture parts the tube along a jagged slanting
line, opens a dark gap and moves the far fragment. For tests, miniature trainings and the demonstration only: nothing
learned from these pictures holds on people.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.datasets import coco
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.labels import FRACTURE
from osteon.findings import BoxXyxy
from osteon.geometry import box_of_points

Field = NDArray[np.float32]
"""(height, width) float32."""

ANNOTATION_FILE = "annotations.json"
_MARGIN_PX = 4
_LEAST_BOX_PX = 12
_LONG_BONES = frozenset({"femur", "tibia", "fibula", "radius", "ulna"})


@dataclass(frozen=True)
class _Break:
    """A fracture at `place` along the bone (0 to 1), slanting, `gap` wide, the far part moved by `step` (radii)."""

    place: float
    slant: float
    gap: float
    step: float
    phase: float


@dataclass(frozen=True)
class _Bone:
    """A tube from `start` to `end` (x, y in shares of the picture), `radius` (share of the width) at mid-shaft."""

    label: str
    start: tuple[float, float]
    end: tuple[float, float]
    radius: float
    bend: float
    flares: tuple[float, float]
    breaks: tuple[_Break, ...] = ()


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What a bone adds to the picture: attenuation, its pixels, and those of its fracture gaps."""

    attenuation: Field
    pixels: NDArray[np.bool_]
    gaps: tuple[NDArray[np.bool_], ...]


def draw(seed: int, *, height_px: int = 454, width_px: int = 373, fractures: int = 1) -> tuple[NDArray[np.uint8], Case]:
    """One drawn radiograph and its truth.

    Args:
        seed: the same seed and size draw the same picture.
        height_px: rows.
        width_px: columns.
        fractures: how many bones are broken; no more than there are long bones (two or three).

    Returns:
        (height, width) uint8 pixels, bone bright, and a case with an instance for each fracture (label "fracture",
        a box) and each bone (its name, an outline); its `path` is its bare name.
    """
    random = np.random.default_rng([seed, height_px, width_px, fractures])
    bones, body_part = _layout(random)
    long_bones = [index for index, bone in enumerate(bones) if bone.label in _LONG_BONES]
    for index in random.permutation(long_bones)[:fractures].tolist():
        bones[index] = replace(bones[index], breaks=(_break(bones[index], random),))
    rows, columns = np.mgrid[0:height_px, 0:width_px].astype(np.float32) + 0.5
    drawn = [_draw_bone(bone, columns, rows, random) for bone in bones]
    pixels = _expose(_soft_tissue(bones, columns, rows, random), [item.attenuation for item in drawn], random)
    name = f"drawn-{seed:05d}.png"
    instances = (*_fracture_instances(drawn), *_bone_instances(bones, drawn))
    return pixels, Case(
        name=name,
        path=Path(name),
        fractured=any(item.gaps for item in drawn),
        instances=instances,
        height_px=height_px,
        width_px=width_px,
        body_part=body_part,
        views=("frontal",),
        hardware=False,
    )


def write_dataset(folder: Path, *, count: int, seed: int = 0, height_px: int = 454, width_px: int = 373) -> Manifest:
    """`count` drawn radiographs as a COCO set (`images/*.png`, `annotations.json`), every second one fractured.

    The last fifth is the part "valid". `osteon.datasets.recognise.open_dataset` reads the folder.
    """
    cases: list[Case] = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels, case = draw(seed * 100_000 + index, height_px=height_px, width_px=width_px, fractures=index % 2)
        path = folder / "images" / case.name
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        cases.append(replace(case, path=path, split="valid" if index >= count * 0.8 else "train"))
    manifest = Manifest("drawn", tuple(cases))
    coco.write(manifest, folder / ANNOTATION_FILE)
    return manifest


def _layout(random: np.random.Generator) -> tuple[list[_Bone], str]:
    """Bones of a knee or of a forearm, a little different each time."""
    x, tilt, scale = 0.5 + random.uniform(-0.06, 0.06), random.uniform(-0.08, 0.08), random.uniform(0.9, 1.15)
    if random.random() < 0.5:
        return _knee(random, x, tilt, scale), "leg"
    wrist = random.uniform(0.68, 0.85)
    radius = _Bone("radius", (x - 0.1 * scale - tilt, -0.2), (x - 0.08, wrist), 0.04 * scale, -0.03, (0.3, 0.9))
    ulna = _Bone("ulna", (x + 0.08 * scale - tilt, -0.2), (x + 0.09, wrist - 0.03), 0.035 * scale, 0.02, (0.3, 0.35))
    return [radius, ulna, *_hand(random, x, wrist, scale)], "hand"


def _hand(random: np.random.Generator, x: float, wrist: float, scale: float) -> list[_Bone]:
    """Carpals as short knobs, metacarpals as fanned rods; below the wrist, partly beyond the picture."""
    bones: list[_Bone] = []
    for number in range(5):
        offset = (number - 2) * 0.05 * scale
        top = wrist + 0.035 + random.uniform(0, 0.012)
        if number < 4:
            centre = x + offset + 0.025
            bones.append(_Bone("carpals", (centre, top), (centre, top + 0.05), 0.022 * scale, 0.0, (0.1, 0.1)))
        fan, foot = x + 1.7 * offset, top + 0.27 + random.uniform(-0.02, 0.02)
        bones.append(_Bone("metacarpal", (x + offset, top + 0.065), (fan, foot), 0.014 * scale, 0.0, (0.6, 0.7)))
    return bones


def _knee(random: np.random.Generator, x: float, tilt: float, scale: float) -> list[_Bone]:
    joint = random.uniform(0.36, 0.5)
    bends = random.uniform(-0.02, 0.02, 3).tolist()
    foot = x + 0.1 * scale + tilt
    return [
        _Bone("femur", (x - tilt, -0.25), (x, joint), 0.062 * scale, bends[0], (0.4, 1.05)),
        _Bone("tibia", (x, joint + 0.015), (x + tilt, 1.3), 0.056 * scale, bends[1], (1.15, 0.4)),
        _Bone("fibula", (x + 0.14 * scale, joint + 0.09), (foot, 1.25), 0.021 * scale, bends[2], (0.7, 0.4)),
    ]


def _break(bone: _Bone, random: np.random.Generator) -> _Break:
    """A fracture of the shaft, within the picture."""
    top, bottom = bone.start[1], bone.end[1]
    low, high = ((y - top) / (bottom - top) for y in (0.1, 0.9))
    return _Break(
        place=random.uniform(max(0.3, low), min(0.72, high)),
        slant=random.uniform(-0.9, 0.9),
        gap=random.uniform(0.10, 0.22),
        step=random.choice([-1, 1]) * random.uniform(0.08, 0.45),
        phase=random.uniform(0, 6.28),
    )


def _draw_bone(bone: _Bone, columns: Field, rows: Field, random: np.random.Generator) -> _Drawn:
    width = rows.shape[1]
    along, across, length = _axes(bone, columns, rows)
    radius_px = bone.radius * width
    gaps: list[NDArray[np.bool_]] = []
    in_gap = np.zeros(rows.shape, bool)
    for broken in bone.breaks:
        line = along - broken.place * length - _jagged(across / radius_px, broken) * radius_px
        across = across + np.where(line > 0, broken.step * radius_px, 0).astype(np.float32)
        in_gap |= np.abs(line) < max(broken.gap * radius_px, 0.9)
        gaps.append(in_gap)
    outer = _outline_radius(along / length, radius_px, bone.flares, length)
    way = _chord(outer, across)
    ends = np.clip((outer / radius_px - 1) / 0.6, 0, 1)
    marrow = _chord(outer * (0.6 + 0.3 * ends), across)
    trabeculae = 1 + 0.35 * ends * _grain(rows.shape, random, coarse_px=1.3)
    attenuation = ((way - marrow) * 1.0 + marrow * (0.28 + 0.12 * ends) * trabeculae) / (radius_px**0.75 * width**0.25)
    attenuation = np.where(in_gap, attenuation * 0.3, attenuation)
    solid = way > 0
    visible = tuple(gap & solid for gap in gaps if (gap & solid).any())
    return _Drawn(attenuation.astype(np.float32) * 2.6, solid, visible)


def _axes(bone: _Bone, columns: Field, rows: Field) -> tuple[Field, Field, float]:
    """Pixels along and across the bent axis, and its length in pixels."""
    height, width = rows.shape
    x0, y0 = bone.start[0] * width, bone.start[1] * height
    x1, y1 = bone.end[0] * width, bone.end[1] * height
    length = float(np.hypot(x1 - x0, y1 - y0))
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    along = (columns - x0) * ux + (rows - y0) * uy
    across = -(columns - x0) * uy + (rows - y0) * ux
    bow = bone.bend * width * np.sin(np.clip(along / length, 0, 1) * np.pi)
    return along.astype(np.float32), (across - bow).astype(np.float32), length


def _jagged(across: Field, broken: _Break) -> Field:
    """The fracture line: slanting, with teeth; in radii."""
    teeth = 0.16 * np.sin(across * 4.1 + broken.phase) + 0.09 * np.sin(across * 9.7 + 2 * broken.phase)
    return np.asarray(broken.slant * across + teeth, np.float32)


def _outline_radius(share: Field, radius_px: float, flares: tuple[float, float], length: float) -> Field:
    """The tube's radius along the bone: slim at mid-shaft, flaring to condyles, rounded off at both ends."""
    inside = np.clip(share, 0, 1)
    flare = flares[0] * np.exp(-inside / 0.11) + flares[1] * np.exp(-(1 - inside) / 0.11)
    radius = radius_px * (1 + flare)
    to_end = np.minimum(share, 1 - share) * length / (radius_px * 0.9)
    cap = np.clip(1 - (1 - np.clip(to_end, 0, 1)) ** 3, 0, 1) ** 0.5
    return np.where((share > 0) & (share < 1), radius * cap, 0).astype(np.float32)


def _chord(radius: Field, across: Field) -> Field:
    """Half the way of a ray through a round rod of this radius, at a distance from its axis."""
    return np.asarray(np.sqrt(np.maximum(radius**2 - across**2, 0)), np.float32)


def _grain(shape: tuple[int, ...], random: np.random.Generator, *, coarse_px: float) -> Field:
    """Noise of unit deviation, as coarse as `coarse_px`."""
    noise = cv2.GaussianBlur(random.standard_normal(shape).astype(np.float32), (0, 0), coarse_px)
    return np.asarray(noise / (noise.std() + 1e-6), np.float32)


def _soft_tissue(bones: Sequence[_Bone], columns: Field, rows: Field, random: np.random.Generator) -> Field:
    """The limb around the bones: a bent rod that swells and narrows."""
    height, width = rows.shape
    starts, ends = np.array([bone.start for bone in bones]), np.array([bone.end for bone in bones])
    share = rows / height
    centre = (starts[:, 0].mean() * (1 - share) + ends[:, 0].mean() * share) * width
    reach = max(float(np.ptp(starts[:, 0])), float(np.ptp(ends[:, 0])), 0.1) / 2 + 0.15
    swell = 1 + 0.1 * np.sin(share * 3 + random.uniform(0, 6))
    tissue = _chord((reach * width * swell).astype(np.float32), (columns - centre).astype(np.float32)) / (reach * width)
    return np.asarray(0.55 * tissue * (1 + 0.03 * _grain(rows.shape, random, coarse_px=width / 25)), np.float32)


def _expose(tissue: Field, bones: Sequence[Field], random: np.random.Generator) -> NDArray[np.uint8]:
    """Pixels of an exposure: saturating film, uneven plate, blur, noise, collimator, side marker."""
    height, width = tissue.shape
    total = cv2.GaussianBlur(tissue + np.sum(bones, axis=0), (0, 0), max(0.7, width / 700))
    film = 1 - np.exp(-1.05 * total)
    shade = 1 + random.uniform(-0.08, 0.08) * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    film = (0.04 + 0.92 * film) * shade
    film = film + 0.012 * _grain(tissue.shape, random, coarse_px=0.6)
    _mark_side(film, random)
    left, top, right, bottom = (random.uniform(0, 0.05) for _ in range(4))
    field = np.zeros_like(film)
    field[int(top * height) : height - int(bottom * height), int(left * width) : width - int(right * width)] = 1
    film = film * (0.12 + 0.88 * cv2.GaussianBlur(field, (0, 0), max(0.8, width / 300)))
    return np.asarray(np.clip(film * 255, 0, 255), np.uint8)


def _mark_side(film: Field, random: np.random.Generator) -> None:
    if random.random() > 0.7:
        return
    height, width = film.shape
    corner = (int(width * random.choice([0.1, 0.84])), int(height * random.uniform(0.12, 0.9)))
    size = width / 480
    letter = np.zeros(film.shape, np.uint8)
    cv2.putText(
        letter,
        "L" if random.random() < 0.5 else "R",
        corner,
        cv2.FONT_HERSHEY_SIMPLEX,
        size,
        255,
        max(1, round(size * 2)),
        cv2.LINE_AA,
    )
    np.maximum(film, letter.astype(np.float32) * np.float32(0.93 / 255), out=film)


def _fracture_instances(drawn: Sequence[_Drawn]) -> list[Instance]:
    return [Instance(FRACTURE, _padded_box(gap)) for item in drawn for gap in item.gaps]


def _padded_box(gap: NDArray[np.bool_]) -> BoxXyxy:
    """The box around a gap with a margin, as a person draws it, within the picture."""
    rows, columns = np.flatnonzero(gap.any(axis=1)), np.flatnonzero(gap.any(axis=0))
    (y0, y1), (x0, x1) = (_widened(found, size) for found, size in zip((rows, columns), gap.shape, strict=True))
    return x0, y0, x1, y1


def _widened(found: NDArray[np.intp], size: int) -> tuple[float, float]:
    low, high = float(found[0]), float(found[-1] + 1)
    margin = max(_MARGIN_PX, (_LEAST_BOX_PX - (high - low)) / 2)
    return max(0.0, low - margin), min(float(size), high + margin)


def _bone_instances(bones: Sequence[_Bone], drawn: Sequence[_Drawn]) -> list[Instance]:
    instances: list[Instance] = []
    for bone, item in zip(bones, drawn, strict=True):
        contours, _ = cv2.findContours(item.pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        smooth = [cv2.approxPolyDP(contour, 0.7, True).reshape(-1, 2) for contour in contours]
        polygons = tuple(points.astype(np.float64) + 0.5 for points in smooth if len(points) >= 3)
        if polygons:
            instances.append(Instance(bone.label, box_of_points(np.concatenate(polygons)), polygons))
    return instances
