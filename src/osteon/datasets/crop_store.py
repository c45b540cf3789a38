"""Crops of the bones of a whole data set in a folder, cut once: bytes to map into memory, and a table of what they are.

The folder holds `grey.bytes` (a byte a pixel), `masks.bits` and `fractures.bits` (a bit a pixel), and `table.json`,
which is written last and carries a digest of everything that the crops depend on. They are pictures of patients: keep
them where the films are kept.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.datasets import coco
from osteon.datasets.bone_crops import (
    AS_GOOD,
    ELONGATED,
    LEAST_SHARE,
    Damage,
    Framing,
    crop,
    damages,
    fracture_area,
    fractures,
    outlines,
    pyramid,
)
from osteon.datasets.case import Case, Instance, Manifest, digest
from osteon.datasets.masks import NOT_BONE, outlined
from osteon.errors import InvalidDataset, InvalidImage
from osteon.files import read as read_film
from osteon.findings import Bone

SCHEMA_VERSION = 1
TABLE_FILE = "table.json"
_FILES = ("grey.bytes", "masks.bits", "fractures.bits")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class OutlinedBones:
    """The bones of many films, as COCO files have them; those of a film are painted when they are asked for.

    Attributes:
        films: by file name of the film: its COCO record, its annotations, the categories of its file.
        digest: of the files.
    """

    films: Mapping[str, tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], Sequence[Any]]]
    digest: str

    @classmethod
    def read(cls, files: Sequence[Path]) -> "OutlinedBones":
        """The films of all files together, such as one file for each fold.

        Raises:
            InvalidDataset: no COCO file, or a film is in two of them.
        """
        films: dict[str, tuple[Mapping[str, Any], list[Mapping[str, Any]], Sequence[Any]]] = {}
        for file in files:
            document = coco.load(file)
            by_id: dict[Any, list[Mapping[str, Any]]] = {}
            for record in document["images"]:
                name = Path(record["file_name"]).name
                if name in films:
                    raise InvalidDataset(
                        f"{name} has bones in two places, the second {file.name}",
                        hint="give each film's bones once, from a model that has not learned from that film",
                    )
                films[name] = (record, by_id.setdefault(record["id"], []), document["categories"])
            for annotation in document["annotations"]:
                if annotation.get("image_id") in by_id:
                    by_id[annotation["image_id"]].append(annotation)
        hashes = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        return cls(films, digest(hashes))

    def bones(self, film: str) -> tuple[Bone, ...]:
        """The film's bones, without metal and ignored regions; those that a person drew have the score 1.

        Raises:
            InvalidDataset: an annotation is malformed.
        """
        record, annotations, categories = self.films[film]
        part = {"images": [record], "annotations": annotations, "categories": categories}
        instances = coco.instances_by_image(part, []).get(record["id"], ())
        drawn = (drawn_bone(i) for i in instances if not i.ignore and i.label not in NOT_BONE)
        return tuple(bone for bone in drawn if bone is not None)


def drawn_bone(instance: Instance) -> Bone | None:
    """An outlined object as a bone; None where nobody outlined it (a mere box)."""
    points = np.concatenate(instance.polygons or (np.reshape(instance.box_xyxy_px, (2, 2)),))
    left, top = (max(0, int(value)) for value in np.floor(points.min(axis=0)))
    right, bottom = (int(value) for value in np.ceil(points.max(axis=0)))
    if instance.mask is not None:
        mask = instance.mask[top:bottom, left:right].copy()
    elif instance.polygons:
        moved = tuple(polygon - np.array([left, top], np.float64) for polygon in instance.polygons)
        mask = outlined(replace(instance, polygons=moved), (max(1, bottom - top), max(1, right - left)))
    else:
        return None
    score = 1.0 if instance.score is None else instance.score
    return Bone(instance.label, score, instance.box_xyxy_px, (left, top), mask)


@dataclass(frozen=True)
class Row:
    """A crop: the film, the bone's place among the film's bones, its label, and what is known of it."""

    film: str
    bone: int
    label: str
    damage: Damage


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of a data set.

    Attributes:
        framing: how they were cut.
        films: every film that was looked at, also those on which no bone was found.
        rows: what each crop is of; those of a film stand together, in the order of its bones.
        grey: (n, side, side / 2) uint8.
        masks: (n, bytes) packed bits of the bone's own pixels.
        drawn: (n, bytes) packed bits of drawn fractures.
    """

    framing: Framing
    films: tuple[str, ...]
    rows: tuple[Row, ...]
    grey: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    drawn: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)

    def crop(self, index: int) -> NDArray[np.uint8]:
        """(2, side, side / 2) uint8, as `bone_crops.crop` gave it."""
        return np.stack([self.grey[index], self._bits(self.masks[index])])

    def fracture(self, index: int) -> NDArray[np.uint8]:
        """(side, side / 2) uint8: 255 where a fracture is drawn, else 0."""
        return self._bits(self.drawn[index])

    def _bits(self, packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self.framing.shape
        return np.unpackbits(packed, count=height * width).reshape(height, width) * np.uint8(255)

    def of(self, films: Iterable[str]) -> list[int]:
        """Indices of the crops of some films."""
        wanted = frozenset(films)
        return [index for index, row in enumerate(self.rows) if row.film in wanted]


def cut(
    manifest: Manifest, bones: OutlinedBones, folder: Path, *, framing: Framing, progress: Progress | None = None
) -> Crops:
    """Crops of every bone of the films that are in both, from the folder where it holds just these, else cut anew.

    Films that cannot be read are left out.

    Raises:
        InvalidDataset: no film of the manifest has bones.
    """
    cases = [case for case in manifest if case.name in bones.films]
    if not cases:
        raise InvalidDataset(
            f"the bones are of none of the {len(manifest)} films", hint="give bones of the films of --data"
        )
    key = _key(cases, bones, framing)
    if (kept := _read(folder, key, framing)) is not None:
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE_FILE).unlink(missing_ok=True)
    films: list[str] = []
    rows: list[Row] = []
    writers = [(folder / name).open("wb") for name in _FILES]
    try:
        for done, (case, found) in enumerate(_cut_ahead(cases, bones, framing), start=1):
            if found is not None:
                films.append(case.name)
                rows += found[0]
                for writer, content in zip(writers, found[1:], strict=True):
                    writer.write(content)
            if progress:
                progress("cutting out bones", done, len(cases))
    finally:
        for writer in writers:
            writer.close()
    _write_table(folder, key, films, rows)
    made = _read(folder, key, framing)
    if made is None:
        raise InvalidDataset("the crops were changed while they were cut", hint="give each run its own folder")
    return made


_Found = tuple[list[Row], bytes, bytes, bytes]


def _cut_ahead(cases: Sequence[Case], bones: OutlinedBones, framing: Framing) -> Iterator[tuple[Case, _Found | None]]:
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(cases), 16):
            chosen = cases[start : start + 16]
            yield from zip(chosen, pool.map(lambda case: _cut_film(case, bones, framing), chosen), strict=True)


def _cut_film(case: Case, bones: OutlinedBones, framing: Framing) -> _Found | None:
    """The rows and bytes of a film's crops; None where it cannot be read."""
    try:
        film = pyramid(read_film(case.path)[0].pixels)
    except InvalidImage:
        return None
    own = bones.bones(case.name)
    known = damages(case, own)
    rows = [Row(case.name, number, bone.label, known[number]) for number, bone in enumerate(own)]
    crops = [crop(film, bone, framing) for bone in own]
    drawn = [fracture_area(case, bone, framing) for bone in own]
    return (
        rows,
        b"".join(made[0].tobytes() for made in crops),
        b"".join(np.packbits(made[1] > 0).tobytes() for made in crops),
        b"".join(np.packbits(area).tobytes() for area in drawn),
    )


def _key(cases: Sequence[Case], bones: OutlinedBones, framing: Framing) -> str:
    truth = [
        [case.name, case.fractured, [[np.round(p, 2).tolist() for p in outlines(i)] for i in fractures(case)]]
        for case in cases
    ]
    rule = [SCHEMA_VERSION, LEAST_SHARE, AS_GOOD, ELONGATED]
    return digest([rule, asdict(framing), bones.digest, truth])


def _write_table(folder: Path, key: str, films: Sequence[str], rows: Sequence[Row]) -> None:
    value = {
        "osteon_crops": SCHEMA_VERSION,
        "key": key,
        "films": list(films),
        "rows": [[row.film, row.bone, row.label, row.damage] for row in rows],
    }
    unfinished = folder / "table.part"
    unfinished.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(folder / TABLE_FILE)


def _read(folder: Path, key: str, framing: Framing) -> Crops | None:
    """The crops of the folder; None where there are none, or others."""
    try:
        value = json.loads((folder / TABLE_FILE).read_text(encoding="utf-8"))
        if value["key"] != key:
            return None
        rows = tuple(Row(*row) for row in value["rows"])
        height, width = framing.shape
        shapes = ((height, width), ((height * width + 7) // 8,), ((height * width + 7) // 8,))
        arrays = [_mapped(folder / name, (len(rows), *shape)) for name, shape in zip(_FILES, shapes, strict=True)]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Crops(framing, tuple(value["films"]), rows, *arrays)


def _mapped(file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The file's bytes as an array that is read when it is used.

    Raises:
        ValueError: it holds another number of bytes.
    """
    if file.stat().st_size != int(np.prod(shape)):
        raise ValueError(file.name)
    return np.memmap(file, np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)
