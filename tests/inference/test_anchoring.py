"""Which bone a fracture lies on, and where along it, on drawn masks."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from osteon.anatomy import Third
from osteon.findings import Anchor, Bone, BoxXyxy, Fracture
from osteon.inference.anchoring import anchor, anchored, demoted
from osteon.inference.shafts import shaft_of

SIZE = (600, 400)
FIVE = np.ones((5, 5), np.uint8)


def bone(label: str, *corners_xy: tuple[float, float], score: float = 1.0) -> Bone:
    """A polygon's pixels; two corners are those of a rectangle."""
    points = np.array(corners_xy, np.float64)
    if len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    mask = np.zeros(SIZE, np.uint8)
    cv2.fillPoly(mask, [np.rint(points - [0.5, 0.5]).astype(np.int32)], 1)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return Bone(label, score, (x0, y0, x1, y1), (x0, y0), mask[y0:y1, x0:x1] > 0)


RADIUS, ULNA = bone("radius", (100, 100), (125, 500)), bone("ulna", (160, 100), (185, 500))
CARPALS, HUMERUS = bone("carpals", (95, 510), (190, 560)), bone("humerus", (95, 10), (190, 95))
FOREARM = (RADIUS, ULNA, CARPALS)


def around(x: float, y: float, side: float) -> BoxXyxy:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def on(box: BoxXyxy, *bones: Bone) -> Anchor:
    return anchor(box, bones, SIZE)


class TestLabel:
    @pytest.mark.parametrize("side", [6, 20, 40, 80])
    def test_a_loose_box_lies_on_the_bone_in_its_middle(self, side: float) -> None:
        found = on(around(112, 300, side), *FOREARM)
        assert found.label == "radius"
        assert found.overlap > 0.9

    @pytest.mark.parametrize(("x", "side"), [(96, 12), (128, 8), (97, 40)])
    def test_a_small_box_at_the_rim_lies_on_that_bone(self, x: float, side: float) -> None:
        found = on(around(x, 300, side), *FOREARM)
        assert (found.label, found.outside) == ("radius", False)

    def test_a_box_that_holds_both_is_not_clear(self) -> None:
        found = on(around(142, 300, 120), *FOREARM)
        assert (found.label, found.third, found.outside) == (None, None, False)
        assert found.overlap == pytest.approx(0.5, abs=0.05)
        assert found.confidence < 0.1

    def test_where_two_overlap_neither_is_named_and_beside_that_one_is(self) -> None:
        crossing = bone("ulna", (100, 250), (125, 500))
        assert on(around(112, 400, 30), RADIUS, crossing).label is None
        assert on(around(112, 150, 30), RADIUS, crossing).label == "radius"

    def test_a_doubtful_second_opinion_on_the_same_bone_does_not_unsettle_a_sure_one(self) -> None:
        found = on(around(112, 300, 30), replace(RADIUS, score=0.9), replace(RADIUS, label="ulna", score=0.4))
        assert found.label == "radius"
        assert found.confidence == pytest.approx(0.5)
        surer = replace(RADIUS, label="ulna", score=0.8)
        assert on(around(112, 300, 30), replace(RADIUS, score=0.9), surer).label is None

    def test_an_unsure_bone_is_not_named(self) -> None:
        assert on(around(112, 300, 30), replace(RADIUS, score=0.1)).label is None

    def test_a_box_over_a_whole_hand_names_no_bone(self) -> None:
        hand = [bone("metacarpal", (50 + 60 * i, 300), (70 + 60 * i, 420)) for i in range(5)]
        hand += [bone("phalanx", (50 + 60 * i, 180), (70 + 60 * i, 290)) for i in range(5)]
        hand += [bone("carpals", (60, 430), (310, 500)), bone("radius", (80, 510), (150, 600))]
        found = on((30, 170, 340, 600), *hand)
        assert (found.label, found.outside) == (None, False)

    def test_fingers_side_by_side_are_a_phalanx_but_none_of_its_thirds(self) -> None:
        fingers = [bone("phalanx", (100 + 40 * i, 100), (125 + 40 * i, 200)) for i in range(2)]
        palm = bone("metacarpal", (100, 210), (125, 330))
        both = on((105, 110, 160, 130), *fingers, palm)
        assert (both.label, both.third) == ("phalanx", None)
        assert on((100, 110, 125, 130), *fingers, palm).third == "distal"

    def test_metal_is_no_bone_and_not_outside_either(self) -> None:
        plate = bone("implant", (95, 200), (130, 400))
        assert on(around(112, 300, 30), RADIUS, plate).label == "radius"
        alone = on(around(112, 300, 30), plate, CARPALS)
        assert (alone.label, alone.outside) == (None, False)

    def test_the_order_of_bones_does_not_matter(self) -> None:
        for box in (around(112, 300, 40), around(142, 300, 120), around(150, 505, 60)):
            assert on(box, *FOREARM) == on(box, *reversed(FOREARM))


class TestOutside:
    def test_beside_every_bone(self) -> None:
        found = on(around(300, 300, 40), *FOREARM)
        assert found == Anchor(None, 0.0, 0.0, outside=True)

    def test_where_no_bones_were_found_nothing_is_outside(self) -> None:
        assert on(around(300, 300, 40)) == Anchor(None, 0.0, 0.0)

    def test_a_corner_that_touches_a_bone_is_still_outside(self) -> None:
        assert on((120, 300, 180, 310), RADIUS).outside is False
        assert on((123, 498, 180, 560), RADIUS).outside is True

    def test_least_cover_moves_the_line(self) -> None:
        box = (115, 300, 215, 310)
        assert not anchor(box, [RADIUS], SIZE, least_cover=0.05).outside
        assert anchor(box, [RADIUS], SIZE, least_cover=0.2).outside

    @pytest.mark.parametrize("box", [(-40, -40, -5, -5), (10, 10, 10, 10), (500, 700, 520, 720)])
    def test_boxes_beside_the_picture_or_of_no_size_are_no_error(self, box: BoxXyxy) -> None:
        assert on(box, *FOREARM).label is None

    def test_they_lose_a_grade(self) -> None:
        outside, inside = Anchor(None, 0.0, 0.0, outside=True), Anchor("radius", 1.0, 1.0)
        box = (0.0, 0.0, 9.0, 9.0)
        given = [
            Fracture(box, 0.9, 0.9, grade, where)
            for grade in ("fracture", "doubt", None)
            for where in (outside, inside, None)
        ]
        assert [fracture.grade for fracture in demoted(given)] == [
            "doubt", "fracture", "fracture", None, "doubt", "doubt", None, None, None
        ]  # fmt: skip
        assert [fracture.anchor for fracture in demoted(given)] == [fracture.anchor for fracture in given]


def third(y: float, *bones: Bone, x: float = 112) -> Third | None:
    return on(around(x, y, 24), *bones).third


class TestThirds:
    @pytest.mark.parametrize(("y", "expected"), [(120, "proximal"), (300, "middle"), (480, "distal")])
    def test_carpals_tell_the_distal_end_of_a_radius(self, y: float, expected: Third) -> None:
        assert third(y, RADIUS, CARPALS) == expected

    @pytest.mark.parametrize(("y", "expected"), [(120, "proximal"), (300, "middle"), (480, "distal")])
    def test_so_does_a_humerus_at_the_other_end(self, y: float, expected: Third) -> None:
        assert third(y, RADIUS, HUMERUS) == expected

    def test_upside_down_and_oblique(self) -> None:
        hand = bone("carpals", (95, 40), (190, 90))
        assert [third(y, RADIUS, hand) for y in (120, 300, 480)] == ["distal", "middle", "proximal"]
        oblique = bone("radius", (60, 100), (80, 90), (350, 420), (330, 430))
        wrist = bone("carpals", (340, 430), (390, 480))
        assert third(150, oblique, wrist, x=110) == "proximal"
        assert third(390, oblique, wrist, x=310) == "distal"

    def test_without_neighbours_only_the_middle_is_told(self) -> None:
        assert [third(y, RADIUS) for y in (120, 300, 480)] == [None, "middle", None]

    def test_neighbours_that_contradict_each_other_tell_nothing(self) -> None:
        other = bone("carpals", (95, 40), (190, 90))
        assert third(120, RADIUS, CARPALS, other) is None

    def test_a_neighbour_at_the_side_tells_nothing(self) -> None:
        assert third(480, RADIUS, bone("carpals", (250, 280), (300, 320))) is None

    def test_of_a_bone_that_the_border_cuts_only_the_whole_end_is_told(self) -> None:
        cut = bone("radius", (100, 0), (125, 500))
        assert [third(y, cut, CARPALS) for y in (60, 300, 480)] == [None, None, "distal"]

    def test_a_bone_too_plump_to_be_complete_is_cut_by_a_diaphragm(self) -> None:
        stub = bone("radius", (100, 400), (125, 505))
        assert [third(y, stub, CARPALS) for y in (415, 452, 490)] == [None, None, "distal"]

    def test_a_bone_as_wide_as_long_has_no_thirds(self) -> None:
        square = bone("radius", (100, 400), (190, 500))
        assert third(490, square, CARPALS, x=145) is None
        assert shaft_of(square, SIZE) is None

    def test_a_box_along_the_whole_bone_is_in_none(self) -> None:
        assert on((95, 90, 130, 510), RADIUS, CARPALS) == Anchor("radius", pytest.approx(1.0), pytest.approx(1.0))

    def test_bones_without_a_shaft_have_none(self) -> None:
        assert third(300, replace(RADIUS, label="pelvis"), CARPALS) is None
        assert third(300, replace(RADIUS, label="hamate"), CARPALS) is None

    @pytest.mark.parametrize(
        ("label", "proximal", "distal"),
        [
            ("phalanx", "metacarpal", None),
            ("phalanx", "metatarsal", None),
            ("metacarpal", "carpals", "phalanx"),
            ("metatarsal", "tarsals", "phalanx"),
            ("femur", "pelvis", "tibia"),
            ("tibia", "femur", "talus"),
            ("fibula", "patella", "calcaneus"),
            ("humerus", "scapula", "ulna"),
            ("clavicle", "spine", "scapula"),
        ],
    )
    def test_each_long_bone_by_either_neighbour(self, label: str, proximal: str, distal: str | None) -> None:
        shaft = replace(RADIUS, label=label)
        if distal:
            assert third(480, shaft, replace(CARPALS, label=distal)) == "distal"
        assert third(480, shaft, replace(CARPALS, label=proximal)) == "proximal"


def test_fractures_keep_their_order_and_everything_else() -> None:
    given = [Fracture(around(112, y, 24), 0.5, 0.4, "doubt") for y in (480, 300)]
    found = anchored(given, FOREARM, height_px=600, width_px=400)
    assert [fracture.anchor and fracture.anchor.third for fracture in found] == ["distal", "middle"]
    assert [replace(fracture, anchor=None) for fracture in found] == given


def test_a_large_picture_is_told_as_a_small_one() -> None:
    large = [
        Bone(b.label, b.score, (0, 0, 0, 0), (5 * b.corner_xy_px[0], 5 * b.corner_xy_px[1]), np.kron(b.mask, FIVE) > 0)
        for b in FOREARM
    ]
    for box in (around(112, 480, 30), around(142, 300, 120), around(300, 300, 40)):
        small = anchor(box, FOREARM, SIZE)
        big = anchor(tuple(5 * v for v in box), large, (3000, 2000))  # type: ignore[arg-type]
        assert (big.label, big.third, big.outside) == (small.label, small.third, small.outside)
        assert big.overlap == pytest.approx(small.overlap, abs=0.02)
