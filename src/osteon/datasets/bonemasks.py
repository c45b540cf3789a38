"""Drawn bones on FracAtlas films together with pictures that are no radiographs: what the gate learns from."""

from dataclasses import replace
from pathlib import Path

from osteon.datasets import coco, fracatlas, pictures
from osteon.datasets.case import Manifest
from osteon.datasets.recognise import open_dataset


def read(outlines: Path, films: Path, negatives: Path | None = None) -> Manifest:
    """The outlined films, with body part and label from FracAtlas, then the pictures below `negatives`.

    Args:
        outlines: COCO file of bone outlines, keyed to FracAtlas file names.
        films: FracAtlas in its official layout.
        negatives: folder of pictures that are not radiographs.

    Raises:
        InvalidDataset: one of the three is not what it should be.
    """
    known = {case.name: case for case in fracatlas.read(films)}
    bones = coco.read(outlines, images=films / "images", name="bonemasks")
    cases = tuple(
        replace(known[case.name], instances=case.instances, height_px=case.height_px, width_px=case.width_px)
        for case in bones
        if case.name in known
    )
    others = pictures.read(negatives).cases if negatives else ()
    return Manifest("bonemasks", cases + others, bones.remarks)


def open_masks(place: Path, *, films: Path | None = None, negatives: Path | None = None) -> Manifest:
    """Any data set with masks or outlines, with the pictures below `negatives` behind it.

    Args:
        place: the data set; the COCO file of bone outlines where `films` is given.
        films: FracAtlas, whose films `place` outlines.
        negatives: folder of pictures that are not radiographs.

    Raises:
        InvalidDataset: one of them is not what it should be.
    """
    if films:
        return read(place, films, negatives)
    manifest = open_dataset(place)
    others = pictures.read(negatives).cases if negatives else ()
    return replace(manifest, cases=manifest.cases + others)
