"""A model's bones on films, written for a person to correct: CVAT for images 1.1 and COCO, with the pictures.

The folder that is written is a data set of its own: `annotations.xml`, `annotations.json`, `labels.json` to paste into
CVAT's new task, and `images/`. What an annotation tool opens as a person sees it (JPEG, PNG, BMP and WebP with 8 bits)
goes there as it is, under its own name; a DICOM frame, a page of a TIFF, a picture with 16 bits becomes an 8-bit PNG
named after it: `hand.dcm.png`, of a second page `hand.dcm.2.png`.
"""

import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from osteon.datasets import coco, cvat
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.duplicates import fingerprint_of_pixels
from osteon.datasets.labels import IGNORE
from osteon.datasets.outlines import outlined
from osteon.datasets.recognise import open_dataset, recognise
from osteon.datasets.uncertainty import Candidate, Doubt, doubt, mirror_image
from osteon.errors import InvalidDataset, OsteonError
from osteon.files.reader import read_pages
from osteon.files.search import find
from osteon.findings import Bone, Failure
from osteon.radiograph import Radiograph

IMAGES, CVAT_FILE, COCO_FILE, LABELS_FILE = "images", "annotations.xml", "annotations.json", "labels.json"
AUTO, FILMS = "auto", "films"
_SHOWN_ALIKE = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
"""Formats that every annotation tool opens as Osteon does: one picture, turned by its EXIF orientation."""

Finder = Callable[[Radiograph], tuple[Bone, ...] | None]
"""The bones of a radiograph; None where the picture is none."""
Progress = Callable[[int, int], None]
"""Called with how many of how many are done."""


@dataclass(frozen=True, eq=False)
class Page:
    """One picture with the model's bones on it.

    Attributes:
        case: named as in the annotations; its path is that of the file it comes from.
        page: index of the page or frame in that file.
        kept_as_is: an annotation tool opens the file itself as a person sees it.
        candidate: how unsure the model is; None where nobody asked.
    """

    case: Case
    page: int
    kept_as_is: bool
    candidate: Candidate | None = None


@dataclass(frozen=True, eq=False)
class Prelabels:
    """The pages that are films, in the order of the input; how many pages are none; files that could not be read."""

    pages: tuple[Page, ...]
    no_films: int
    failures: tuple[Failure, ...]


def films_of(place: Path, *, format: str = AUTO, images: Path | None = None) -> tuple[Case, ...]:  # noqa: A002
    """The films of a data set, or those in a folder (searched through) with nothing known of them.

    Args:
        place: a data set in any known format, a folder of films, or one film.
        format: a name in `recognise.FORMATS`, "films" for a plain folder, "auto" for a data set if one is recognised.
        images: folder of the pictures, for formats whose annotations may lie apart.

    Raises:
        InvalidDataset: nothing there.
    """
    if format != FILMS and _is_dataset(place, format):
        return tuple(case for case in open_dataset(place, format=format, images=images) if case.radiograph)
    paths = list(find([place]))
    if not place.exists() or not paths:
        raise InvalidDataset(f"no films at {place}", hint="give a data set, a folder with films, or a film")
    folder = place if place.is_dir() else place.parent
    return tuple(Case(path.relative_to(folder).as_posix(), path) for path in paths)


def _is_dataset(place: Path, format_name: str) -> bool:
    if format_name != AUTO:
        return True
    try:
        recognise(place)
    except InvalidDataset:
        return False
    return True


def prelabel(
    films: Sequence[Case], finder: Finder, *, doubts: bool = False, progress: Progress | None = None
) -> Prelabels:
    """The model's bones on every page of the films; one page is held at a time.

    Args:
        films: as `films_of` gives them.
        finder: asked once for each page, with `doubts` again for its mirror image.
        doubts: find out how unsure the model is of each page.
        progress: called after each file.
    """
    pages: list[Page] = []
    failures: list[Failure] = []
    no_films, taken = 0, {film.name for film in films}  # hand.dcm is not to become hand.dcm.png where that is a film
    for done, film in enumerate(films, start=1):
        try:
            _check_name(film.name)
            for radiograph in read_pages(film.path):
                bones = finder(radiograph)
                if bones is None:
                    no_films += 1
                    continue
                page = _page(film, radiograph, bones, taken)
                pages.append(replace(page, candidate=_candidate(page, radiograph, bones, finder)) if doubts else page)
        except OsteonError as error:
            failures.append(Failure(film.name, type(error).__name__, error.message, error.hint))
        if progress:
            progress(done, len(films))
    return Prelabels(tuple(pages), no_films, tuple(failures))


def _check_name(name: str) -> None:
    """Raises InvalidDataset for a name that would lead out of the folder, or that XML cannot carry."""
    parts = PurePosixPath(name).parts
    if ".." in parts or PurePosixPath(name).is_absolute() or "\\" in name:
        raise InvalidDataset("a film's name leads out of the data set's folder", hint="name films by paths within it")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise InvalidDataset("a film's name has characters that are no text", hint="rename the file")


def _page(film: Case, radiograph: Radiograph, bones: Iterable[Bone], taken: set[str]) -> Page:
    size = radiograph.height_px, radiograph.width_px
    found = (outlined(bone.label, bone.mask, bone.corner_xy_px, size_px=size, score=bone.score) for bone in bones)
    plain = film.path.suffix.lower() in _SHOWN_ALIKE and radiograph.pixels.dtype == np.uint8
    name = film.name if plain else _png_name(film.name, radiograph, taken)
    taken.add(name)
    case = replace(
        film,
        name=name,
        instances=tuple(item for item in found if item is not None),
        height_px=size[0],
        width_px=size[1],
        body_part=film.body_part or radiograph.body_part.lower(),
        mask_path=None,
        mask_label="",
    )
    return Page(case, radiograph.page, plain)


def _png_name(name: str, radiograph: Radiograph, taken: set[str]) -> str:
    stem = f"{name}.{radiograph.page + 1}" if radiograph.page else name
    return f"{stem}.png" if f"{stem}.png" not in taken else f"{stem}.{radiograph.sha256[:8]}.png"


def _candidate(page: Page, radiograph: Radiograph, bones: Sequence[Bone], finder: Finder) -> Candidate:
    found: Doubt = doubt(bones, finder(mirror_image(radiograph)) or (), width_px=radiograph.width_px)
    name = page.case.name
    print_ = fingerprint_of_pixels(name, radiograph.as_uint8(), radiograph.sha256)
    return Candidate(name, found, page.case.body_part or _largest(page.case.instances or ()), print_)


def _largest(instances: Sequence[Instance]) -> str:
    """The label with the largest box, which stands for the body part where nobody told it."""

    def size(item: Instance) -> float:
        x0, y0, x1, y1 = item.box_xyxy_px
        return (x1 - x0) * (y1 - y0)

    return max(instances, key=size).label if instances else ""


def write(pages: Sequence[Page], out: Path, *, labels: Iterable[str] = (), copy_images: bool = True) -> Manifest:
    """The pages' annotations and pictures.

    Args:
        pages: which to write.
        out: folder to write into.
        labels: what a person may draw beside what is drawn; for `labels.json`.
        copy_images: also the pictures that need no conversion; else these stay where they lie.

    Returns:
        What was written, as reading it back gives it.

    Raises:
        InvalidDataset: a picture cannot be written.
    """
    try:
        for page in pages:
            if page.kept_as_is and copy_images:
                _copy(page.case.path, _place(out, page))
        for page, radiograph in _converted(pages):
            target = _place(out, page)
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(radiograph.as_uint8()).save(target, "PNG")
    except OSError as error:
        raise InvalidDataset(
            f"a picture cannot be written below {out.name}: {error.strerror}", hint="check space and permissions"
        ) from error
    cases = tuple(page.case if page.kept_as_is and not copy_images else _moved(page, out) for page in pages)
    manifest = Manifest(out.name, cases)
    cvat.write(manifest, out / CVAT_FILE)
    coco.write(manifest, out / COCO_FILE)
    drawn = {item.label for case in cases for item in case.instances or ()}
    cvat.write_label_settings({*labels, *drawn, IGNORE}, out / LABELS_FILE)
    return manifest


def _place(out: Path, page: Page) -> Path:
    return out / IMAGES / page.case.name


def _moved(page: Page, out: Path) -> Case:
    return replace(page.case, path=_place(out, page))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not (target.exists() and target.samefile(source)):
        shutil.copyfile(source, target)


def _converted(pages: Sequence[Page]) -> Iterator[tuple[Page, Radiograph]]:
    """The pages that become PNG, with their pixels; each file is read once."""
    wanted: dict[Path, dict[int, Page]] = {}
    for page in pages:
        if not page.kept_as_is:
            wanted.setdefault(page.case.path, {})[page.page] = page
    for path, of_file in wanted.items():
        for radiograph in read_pages(path):
            if radiograph.page in of_file:
                yield of_file[radiograph.page], radiograph
