"""ADDI PH2 (Mendonça et al. 2013): dermoscopy pictures with lesion masks, for pre-training and as no radiographs."""

from pathlib import Path

from osteon.datasets.case import Case, Manifest
from osteon.errors import InvalidDataset

IMAGES_FOLDER = "PH2 Dataset images"
LABEL = "lesion"


def read(folder: Path) -> Manifest:
    """The pictures `IMDxxx`; `mask_path` is the lesion's mask. Takes the archive's folder or the images' one.

    Raises:
        InvalidDataset: no picture at `IMDxxx/IMDxxx_Dermoscopic_Image/IMDxxx.bmp`.
    """
    images = next((path for path in (folder / IMAGES_FOLDER, folder) if path.is_dir()), folder)
    paths = sorted(images.glob("IMD*/IMD*_Dermoscopic_Image/IMD*.*"))
    if not paths:
        raise InvalidDataset(
            f"no dermoscopy pictures below {folder.name}",
            hint=f"the layout is '{IMAGES_FOLDER}/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp'",
        )
    cases = tuple(_case(path) for path in paths)
    bare = sum(case.mask_path is None for case in cases)
    return Manifest("ph2", cases, (f"{bare} pictures have no lesion mask",) if bare else ())


def _case(path: Path) -> Case:
    mask = path.parent.parent / f"{path.stem}_lesion" / f"{path.stem}_lesion{path.suffix}"
    known = mask if mask.is_file() else None
    return Case(path.name, path, radiograph=False, mask_path=known, mask_label=LABEL if known else "")
