"""Bones cut out upright, told apart as broken, whole or unknown, and kept in a folder."""

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from osteon.datasets import coco, synthetic
from osteon.datasets.bone_crops import Framing, crop, damages, fracture_area, pyramid, touched, upright
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.crop_store import OutlinedBones, cut, drawn_bone
from osteon.errors import InvalidDataset
from osteon.findings import Bone

FRAMING = Framing(side_px=128, margin=0.1)


def bar(centre: tuple[float, float], length: float, width: float, degrees: float, *, label: str = "radius") -> Bone:
    """A rod whose axis is turned by so many degrees from upright."""
    corners = cv2.boxPoints((centre, (width, length), degrees))
    bone = drawn_bone(Instance(label, (0.0, 0.0, 1.0, 1.0), (corners.astype(np.float64),)))
    assert bone is not None
    return bone


def square(x0: float, y0: float, x1: float, y1: float, *, label: str = "fracture") -> Instance:
    points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    return Instance(label, (x0, y0, x1, y1), (points,))


def film(*instances: Instance, fractured: bool | None = True) -> Case:
    return Case("film.png", Path("film.png"), fractured=fractured, instances=instances)


class TestCropping:
    @pytest.mark.parametrize("degrees", [0, 25, 70, 90, 130])
    def test_a_long_bone_stands_upright_in_the_middle_and_fills_the_crop(self, degrees: float) -> None:
        pixels = np.full((300, 300), 40, np.uint8)
        bone = bar((150, 160), 120, 30, degrees)
        pixels[bone.on(300, 300)] = 200
        grey, mask = crop(pyramid(pixels), bone, FRAMING)
        rows, columns = np.nonzero(mask)
        assert mask.shape == (128, 64)
        assert np.ptp(rows) + 1 == pytest.approx(128 / 1.2, abs=3)
        assert np.ptp(columns) + 1 == pytest.approx(128 / 1.2 / 4, abs=4)
        assert rows.mean() == pytest.approx(63.5, abs=1)
        assert columns.mean() == pytest.approx(31.5, abs=1)
        assert set(np.unique(mask)) == {0, 255}
        assert grey[mask > 0].mean() > grey[mask == 0].mean() + 150

    def test_what_lies_below_on_the_film_lies_below_in_the_crop(self) -> None:
        pixels = np.full((300, 300), 40, np.uint8)
        bone = bar((150, 150), 160, 30, 35)
        pixels[bone.on(300, 300)] = 120
        pixels[200:] = 255
        grey, _ = crop(pyramid(pixels), bone, FRAMING)
        assert grey[-10:].mean() > grey[:10].mean() + 100

    def test_a_round_bone_is_not_turned(self) -> None:
        mask = np.zeros((61, 61), np.uint8)
        cv2.ellipse(mask, (30, 30), (30, 24), 40, 0, 360, 1, -1)
        affine = upright(Bone("patella", 1.0, (0, 0, 61, 61), (100, 50), mask > 0), FRAMING)
        assert affine[0, 1] == affine[1, 0] == 0

    def test_small_bones_are_enlarged_so_far_and_no_further(self) -> None:
        bone = bar((50, 50), 10, 4, 30)
        affine = upright(bone, FRAMING)
        assert math.hypot(*affine[:, 0]) == pytest.approx(FRAMING.largest_scale)

    def test_a_film_of_many_pixels_gives_the_same_crop(self) -> None:
        """Fine noise is averaged away rather than sampled."""
        small = np.full((200, 200), 60, np.uint8)
        cv2.line(small, (60, 100), (140, 100), 220, 20)
        large = cv2.resize(small, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST).astype(np.float64)
        large += np.random.default_rng(0).normal(0, 30, large.shape)
        crops = [
            crop(
                pyramid(np.clip(pixels, 0, 255).astype(np.uint8)), bar((100 * f, 100 * f), 80 * f, 20 * f, 90), FRAMING
            )
            for pixels, f in ((small, 1), (large, 8))
        ]
        assert crops[1][0][:, :10].std() < 15
        assert crops[1][0][crops[1][1] > 0].mean() > crops[1][0][crops[1][1] == 0].mean() + 150
        assert (crops[0][1] != crops[1][1]).mean() < 0.03

    def test_a_bone_without_pixels_gives_an_empty_mask(self) -> None:
        bone = Bone("bone", 0.9, (10.0, 10.0, 40.0, 60.0), (10, 10), np.zeros((0, 0), np.bool_))
        grey, mask = crop(pyramid(np.full((100, 100), 90, np.uint8)), bone, FRAMING)
        assert grey.shape == mask.shape == (128, 64)
        assert not mask.any()

    def test_the_fracture_is_marked_where_it_lies_on_the_bone(self) -> None:
        bone = bar((150, 150), 120, 30, 90)
        area = fracture_area(film(square(95, 135, 115, 165)), bone, FRAMING)
        rows = np.nonzero(area)[0]
        assert area[:, 32].sum() == pytest.approx(20 * 128 / 1.2 / 120, abs=2)
        assert 14 <= rows.min() < rows.max() <= 33
        assert not fracture_area(film(), bone, FRAMING).any()


class TestDamage:
    BONES = (bar((50, 100), 160, 20, 0), bar((80, 100), 160, 20, 0), bar((150, 100), 160, 20, 0))

    def test_bones_of_a_normal_film_are_whole(self) -> None:
        assert damages(film(fractured=False), self.BONES) == ("intact",) * 3

    def test_nobody_knows_the_other_bones_of_a_fractured_film(self) -> None:
        assert damages(film(square(42, 90, 58, 110)), self.BONES) == ("damaged", "unknown", "unknown")

    def test_a_fracture_on_two_bones_is_shared(self) -> None:
        """Equally, and half as much on the second, but not where the second is merely brushed."""
        assert damages(film(square(40, 90, 90, 110)), self.BONES) == ("shared", "shared", "unknown")
        assert damages(film(square(40, 90, 82, 110)), self.BONES) == ("shared", "shared", "unknown")
        assert damages(film(square(40, 90, 76, 110)), self.BONES) == ("damaged", "unknown", "unknown")

    def test_bones_over_each_other_share_a_fracture(self) -> None:
        over = (*self.BONES, bar((50, 100), 150, 24, 0, label="ulna"))
        assert damages(film(square(42, 90, 58, 110)), over) == ("shared", "unknown", "unknown", "shared")

    def test_a_bone_with_a_fracture_of_its_own_stays_damaged(self) -> None:
        own, both = square(42, 20, 58, 40), square(40, 90, 90, 110)
        for order in ((own, both), (both, own)):
            assert damages(film(*order), self.BONES) == ("damaged", "shared", "unknown")

    def test_a_fracture_beside_the_bones_breaks_none(self) -> None:
        assert damages(film(square(100, 90, 130, 110)), self.BONES) == ("unknown",) * 3
        assert damages(film(square(57, 90, 69, 110)), self.BONES[:1]) == ("damaged",)
        assert damages(film(square(58, 90, 90, 110)), self.BONES[:1]) == ("unknown",)

    def test_a_box_does_where_there_is_no_outline(self) -> None:
        boxed = Instance("fracture", (42.0, 90.0, 58.0, 110.0))
        assert damages(film(boxed), self.BONES) == ("damaged", "unknown", "unknown")

    def test_without_a_label_or_an_outline_nothing_is_known(self) -> None:
        unlabelled = Case("film.png", Path(), fractured=None, instances=(square(42, 90, 58, 110),))
        assert damages(unlabelled, self.BONES) == ("unknown",) * 3
        assert damages(replace(unlabelled, fractured=True, instances=None), self.BONES) == ("unknown",) * 3

    def test_ignored_regions_and_bones_are_no_fractures(self) -> None:
        ignored = replace(square(42, 90, 58, 110), ignore=True)
        assert damages(film(ignored, square(42, 90, 58, 110, label="radius")), self.BONES) == ("unknown",) * 3

    def test_the_bone_that_holds_most_comes_first(self) -> None:
        assert touched(square(44, 90, 95, 110).polygons, self.BONES) == (1, 0)
        assert touched(square(0, 0, 10, 10).polygons, self.BONES) == ()
        assert touched(square(0, 0, 10, 10).polygons, ()) == ()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path]:
    """Six drawn films, every second one fractured, and the file of their bones."""
    folder = tmp_path_factory.mktemp("drawn")
    return synthetic.write_dataset(folder, count=6, height_px=110, width_px=90), folder / synthetic.ANNOTATION_FILE


class TestStore:
    def test_crops_are_those_that_inference_cuts(self, drawn: tuple[Manifest, Path], tmp_path: Path) -> None:
        manifest, file = drawn
        bones = OutlinedBones.read([file])
        crops = cut(manifest, bones, tmp_path, framing=FRAMING)
        assert crops.films == tuple(case.name for case in manifest)
        assert len(crops) == sum(len(bones.bones(case.name)) for case in manifest) > 12
        row = crops.rows[-1]
        own = bones.bones(row.film)
        pixels = cv2.imread(str(next(c.path for c in manifest if c.name == row.film)), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(crops.crop(len(crops) - 1), crop(pyramid(pixels), own[row.bone], FRAMING))
        broken = [i for i, row in enumerate(crops.rows) if row.damage in ("damaged", "shared")]
        assert {crops.rows[i].film for i in broken} == {case.name for case in manifest if case.fractured}
        assert all((crops.fracture(i)[crops.crop(i)[1] > 0] == 255).any() for i in broken)
        whole = crops.of({manifest.cases[0].name})
        assert {crops.rows[i].damage for i in whole} == {"intact"}
        assert not any(crops.fracture(i).any() for i in whole)

    def test_they_are_cut_once_and_again_where_anything_differs(
        self, drawn: tuple[Manifest, Path], tmp_path: Path
    ) -> None:
        manifest, file = drawn
        two = Manifest("two", manifest.cases[:2])
        bones = OutlinedBones.read([file])
        seen: list[int] = []

        def count(_what: str, done: int, _of: int) -> None:
            seen.append(done)

        first = cut(two, bones, tmp_path, framing=FRAMING, progress=count)
        assert cut(two, bones, tmp_path, framing=FRAMING, progress=count).rows == first.rows
        assert seen == [1, 2]
        healed = Manifest("two", tuple(replace(case, fractured=False, instances=()) for case in two))
        again = cut(healed, bones, tmp_path, framing=FRAMING, progress=count)
        assert {row.damage for row in again.rows} == {"intact"}
        assert len(cut(healed, bones, tmp_path, framing=Framing(64), progress=count).grey[0]) == 64
        assert seen == [1, 2] * 3
        (tmp_path / "masks.bits").write_bytes(b"cut off")
        assert len(cut(healed, bones, tmp_path, framing=Framing(64), progress=count)) == len(again)
        assert seen == [1, 2] * 4

    def test_films_that_cannot_be_read_are_left_out_and_those_without_bones_kept(
        self, drawn: tuple[Manifest, Path], tmp_path: Path
    ) -> None:
        manifest, file = drawn
        document = json.loads(file.read_text("utf-8"))
        bare = document["images"][0]["id"]
        document["annotations"] = [a for a in document["annotations"] if a["image_id"] != bare]
        (tmp_path / "bones.json").write_text(json.dumps(document), "utf-8")
        (tmp_path / "broken.png").write_bytes(b"no picture")
        cases = (manifest.cases[0], replace(manifest.cases[1], path=tmp_path / "broken.png"), manifest.cases[2])
        bones = OutlinedBones.read([tmp_path / "bones.json"])
        crops = cut(Manifest("three", cases), bones, tmp_path / "crops", framing=FRAMING)
        assert crops.films == (cases[0].name, cases[2].name)
        assert {row.film for row in crops.rows} == {cases[2].name}

    def test_other_films_are_refused(self, drawn: tuple[Manifest, Path], tmp_path: Path) -> None:
        other = Manifest("other", (Case("other.png", tmp_path / "other.png"),))
        with pytest.raises(InvalidDataset, match="none of the 1 films"):
            cut(other, OutlinedBones.read([drawn[1]]), tmp_path, framing=FRAMING)

    def test_a_film_has_its_bones_from_one_file(self, drawn: tuple[Manifest, Path], tmp_path: Path) -> None:
        (tmp_path / "again.json").write_bytes(drawn[1].read_bytes())
        with pytest.raises(InvalidDataset, match=r"two places, the second again\.json"):
            OutlinedBones.read([drawn[1], tmp_path / "again.json"])

    def test_masks_and_outlines_give_the_same_bone_and_only_bones_count(self, tmp_path: Path) -> None:
        mask = np.zeros((60, 50), np.bool_)
        mask[10:40, 5:20] = True
        outline = square(5, 10, 20, 40, label="tibia")
        objects = (
            outline,
            Instance("tibia", (5.0, 10.0, 20.0, 40.0), (), mask),
            square(1, 1, 9, 9, label="implant"),
            square(1, 1, 9, 9),
            replace(square(1, 1, 9, 9, label="rib"), ignore=True),
            Instance("ulna", (1.0, 1.0, 9.0, 9.0)),
        )
        case = Case("deep/film.png", Path("film.png"), height_px=60, width_px=50, instances=objects)
        coco.write(Manifest("one", (case,)), tmp_path / "bones.json")
        found = OutlinedBones.read([tmp_path / "bones.json"]).bones("film.png")
        assert [bone.label for bone in found] == ["tibia", "tibia"]
        assert all(np.array_equal(bone.on(60, 50), mask) for bone in found)
