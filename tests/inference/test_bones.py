"""Outputs of a bones model become bones in image pixels; the pipeline finds them on request, and only then."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import bone_judges
import models
from osteon.anatomy import IMPLANT
from osteon.errors import ModelMismatch
from osteon.findings import Bone
from osteon.geometry import Placement
from osteon.inference.analysis import slim
from osteon.inference.bones import Said, bones, pasted
from osteon.inference.card import OperatingPoint
from osteon.inference.pipeline import Lazy, Pipeline
from osteon.inference.session import Session
from osteon.radiograph import Radiograph

NAMES = ("radius", "ulna")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return models.pipeline(tmp_path_factory.mktemp("models"))


def film(height_px: int = 450, width_px: int = 350, *, spot: int = 255) -> Radiograph:
    return Radiograph(models.radiograph_pixels(height_px, width_px, spot=spot), "drawn.png", "0" * 64)


def blank() -> Radiograph:
    return Radiograph(np.zeros((60, 90), np.uint8), "blank.png", "0" * 64)


def slowly(cells: np.ndarray, box: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """The whole picture's mask, pixel by pixel: cells interpolated at each pixel's centre within the box."""
    whole = np.zeros((height_px, width_px), bool)
    side = len(cells)
    x0, y0, x1, y1 = (float(value) for value in box)
    for row in range(height_px):
        for column in range(width_px):
            if x0 <= column + 0.5 < x1 and y0 <= row + 0.5 < y1:
                u = np.clip((column + 0.5 - x0) / (x1 - x0) * side - 0.5, 0, side - 1)
                v = np.clip((row + 0.5 - y0) / (y1 - y0) * side - 0.5, 0, side - 1)
                left, top = min(int(u), side - 2), min(int(v), side - 2)
                a, b = u - left, v - top
                upper = cells[top, left] * (1 - a) + cells[top, left + 1] * a
                lower = cells[top + 1, left] * (1 - a) + cells[top + 1, left + 1] * a
                whole[row, column] = upper * (1 - b) + lower * b > 0.5
    return whole


def pasted_whole(cells: np.ndarray, box: Any, height_px: int, width_px: int) -> np.ndarray:
    mask, corner = pasted(cells, np.array(box, np.float32), height_px, width_px)
    return Bone("radius", 1.0, (0, 0, 0, 0), corner, mask).on(height_px, width_px)


class TestPasting:
    @pytest.mark.parametrize(
        "box", [(3, 4, 30, 35), (2.3, 5.6, 25.1, 33.9), (-7.4, -3, 20, 28.2), (20.5, 22, 61, 55), (-9, -9, 60, 60)]
    )
    def test_equals_the_pixel_by_pixel_reference(self, box: tuple[float, ...]) -> None:
        cells = np.random.default_rng(3).random((7, 7)).astype(np.float32)
        expected = slowly(cells, np.array(box), 40, 36)
        assert expected.any() and not expected.all()
        np.testing.assert_array_equal(pasted_whole(cells, box, 40, 36), expected)

    def test_small_boxes_average_their_cells(self) -> None:
        """28 cells on 4 pixels: a striped object is half of every pixel, and a solid half keeps its edge."""
        cells = np.zeros((28, 28), np.float32)
        cells[:, :14] = 1
        mask = pasted_whole(cells, (10, 10, 14, 14), 30, 30)
        np.testing.assert_array_equal(np.argwhere(mask), [[y, x] for y in range(10, 14) for x in (10, 11)])
        stripes = np.zeros((28, 28), np.float32)
        stripes[:, ::2] = 0.9
        assert not pasted_whole(stripes, (10, 10, 14, 14), 30, 30).any()

    @pytest.mark.parametrize(
        "box",
        [
            (50, 5, 70, 20),
            (-30, 5, -2, 20),
            (5, 45, 20, 70),
            (5, 5, 5, 20),
            (20, 5, 5, 20),
            (5.6, 5, 6.4, 9),
            (np.nan, 0, 9, 9),
            (0, 0, np.inf, 9),
        ],
    )
    def test_boxes_beside_the_picture_or_of_no_size_give_nothing(self, box: tuple[float, ...]) -> None:
        assert not pasted_whole(np.ones((7, 7), np.float32), box, 40, 36).any()

    def test_the_mask_is_no_larger_than_the_box_and_the_picture(self) -> None:
        mask, corner = pasted(np.ones((4, 4), np.float32), np.array([-5, 30, 8, 90], np.float32), 40, 36)
        assert (mask.shape, corner) == ((10, 8), (0, 30))
        assert mask.all()


class TestBones:
    def test_come_back_through_the_letterbox(self) -> None:
        """A box of 640 model pixels lies on the same share of a picture of any shape."""
        for height, width in ((900, 700), (333, 1201), (64, 64)):
            placement = Placement.fit(height, width, side_px=640)
            share = np.array([[0.25, 0.5, 0.75, 1.0]], np.float32)
            boxes = placement.to_model(share * np.array([width, height, width, height], np.float32))
            numbers = (np.array([value], np.float32) for value in (0.9, 1))
            said = Said(boxes, *numbers, np.ones((1, 14, 14), np.float32))
            (bone,) = bones(said, placement, names=NAMES, min_score=0.5)
            assert bone.label == "ulna"
            np.testing.assert_allclose(bone.box_xyxy_px, (width / 4, height / 2, width * 3 / 4, height), atol=1)
            drawn = np.zeros((height, width), bool)
            drawn[round(height / 2) :, round(width / 4) : round(width * 3 / 4)] = True
            assert (bone.on(height, width) ^ drawn).sum() <= 2 * (height + width)

    def of(self, boxes: list[Any], scores: list[float], labels: list[float], **changes: Any) -> tuple[Bone, ...]:
        count = len(boxes)
        said = Said(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(scores, np.float32),
            np.array(labels, np.float32),
            np.ones((count, 4, 4), np.float32),
        )
        return bones(said, Placement.fit(40, 36, side_px=40), **{"names": NAMES, "min_score": 0.5} | changes)

    @pytest.mark.parametrize(("height", "width"), [(64, 48), (333, 1201), (20, 32)])
    def test_metal_is_where_its_map_says(self, height: int, width: int) -> None:
        """Two plates that do not touch are two objects, in the picture's own pixels; a dot is none."""
        placement = Placement.fit(height, width, side_px=64)
        metal = np.zeros((32, 32), np.float32)
        metal[4:8, 6:12], metal[2:9, 18:20] = 0.9, 0.7
        nothing = [np.zeros(shape, np.float32) for shape in ((0, 4), 0, 0, (0, 4, 4))]
        long, short = bones(Said(*nothing, metal=metal), placement, names=NAMES, min_score=0.3)
        assert long.score > short.score > 0.5
        scale = 2 / placement.scale
        for bone, (x0, y0, x1, y1) in ((long, (6, 4, 12, 8)), (short, (18, 2, 20, 9))):
            assert bone.label == IMPLANT
            np.testing.assert_allclose(bone.box_xyxy_px, np.array([x0, y0, x1, y1]) * scale, atol=scale)
            assert bone.area_px == pytest.approx((x1 - x0) * (y1 - y0) * scale**2, rel=0.3)
        (sure,) = bones(Said(*nothing, metal=metal), placement, names=NAMES, min_score=0.75)
        assert sure.box_xyxy_px == long.box_xyxy_px
        large = Placement.fit(2000, 2000, side_px=2000)
        dot = np.zeros((1000, 1000), np.float32)
        dot[500:504, 500:503] = 1
        assert bones(Said(*nothing, metal=dot), large, names=NAMES, min_score=0.3) == ()

    def test_bones_are_named_in_company(self) -> None:
        """Alone it looks more like a humerus; beside bones of a foot it is a tibia. Metal stays metal."""
        names = ("humerus", "tibia", "talus", "calcaneus", IMPLANT)
        boxes = np.array([[2, 2, 12, 12], [14, 2, 24, 12], [26, 2, 36, 12], [2, 20, 20, 36]], np.float32)
        scores, labels = np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.array([0, 4, 2, 3], np.float32)
        odds = np.array([[0.5, 0.4, 0.1, 0], [1, 0, 0, 0], [0, 0, 0.9, 0.1], [0, 0.1, 0, 0.9]], np.float32)
        said = Said(boxes, scores, labels, np.ones((4, 4, 4), np.float32), odds)
        square = Placement.fit(40, 36, side_px=40)
        found = bones(said, square, names=names, min_score=0.5)
        assert [bone.label for bone in found] == ["tibia", IMPLANT, "talus", "calcaneus"]
        alone = bones(said._replace(odds=None), square, names=names, min_score=0.5)
        assert [bone.label for bone in alone] == ["humerus", IMPLANT, "talus", "calcaneus"]
        assert [bone.box_xyxy_px for bone in alone] == [bone.box_xyxy_px for bone in found]
        (first,) = bones(said, square, names=names, min_score=0.85)
        assert first.label == "tibia", "what is not shown tells all the same"

    def test_map_of_metal_takes_the_place_of_its_boxes(self) -> None:
        boxes, names = [[2, 2, 20, 20], [2, 20, 20, 36]], ("radius", IMPLANT)
        arrays = (np.array(boxes, np.float32), np.full(2, 0.9, np.float32), np.arange(2, dtype=np.float32))
        masks, square = np.ones((2, 4, 4), np.float32), Placement.fit(40, 36, side_px=40)
        metal = np.zeros((20, 20), np.float32)
        without, with_map = (
            bones(Said(*arrays, masks, metal=said), square, names=names, min_score=0.5) for said in (None, metal)
        )
        assert [bone.label for bone in without] == ["radius", IMPLANT]
        assert [bone.label for bone in with_map] == ["radius"]

    def test_one_that_shows_bone_nobody_else_has_is_believed_more(self) -> None:
        """Half of the first is beside the bone, the second is a part of the first, the third is all new bone."""
        boxes = np.array([[0, 0, 40, 20], [4, 0, 24, 20], [0, 20, 40, 40]], np.float32)
        arrays = (boxes, np.array([0.9, 0.8, 0.4], np.float32), np.zeros(3, np.float32))
        square, masks = Placement.fit(40, 40, side_px=40), np.ones((3, 4, 4), np.float32)
        map_of_bone = np.full((10, 10), 1.0, np.float32)
        map_of_bone[:5, 5:] = 0
        said = Said(*arrays, masks, bone=map_of_bone)
        found = bones(said, square, names=("radius",), min_score=0.1)
        scores = {bone.box_xyxy_px: bone.score for bone in found}
        assert [bone.score for bone in found] == sorted(scores.values(), reverse=True)
        assert scores[0, 20, 40, 40] == pytest.approx(0.4**0.5, abs=0.02)
        assert scores[0, 0, 40, 20] == pytest.approx(0.45**0.5, abs=0.02)
        assert (4, 0, 24, 20) not in scores, "it adds nothing"
        few = bones(said, square, names=("radius",), min_score=0.65)
        assert [bone.box_xyxy_px for bone in few] == [(0, 0, 40, 20)], "the same scores, whatever the least one"
        metal = bones(said, square, names=("radius", IMPLANT)[1:], min_score=0.1)
        assert [bone.score for bone in metal] == pytest.approx([0.9, 0.8, 0.4]), "metal lies on bone"

    def test_box_is_that_of_the_pixels(self) -> None:
        """A model's mask covers more than the object."""
        cells = np.zeros((1, 4, 4), np.float32)
        cells[0, 1:3, 2] = 1
        numbers = (np.array([value], np.float32) for value in (0.9, 0))
        box, square = np.array([[4, 8, 8, 12]], np.float32), Placement.fit(40, 36, side_px=40)
        (bone,) = bones(Said(box, *numbers, cells), square, names=NAMES, min_score=0.5)
        assert bone.box_xyxy_px == (6, 9, 7, 11)
        assert bone.corner_xy_px == (6, 9) and bone.mask.all()

    def test_are_sorted_and_cut_by_score(self) -> None:
        boxes = [[2, 2, 20, 20], [2, 20, 20, 36], [20, 2, 36, 20]]
        found = self.of(boxes, [0.6, 0.4, 0.9], [0, 1, 1])
        assert [(bone.label, round(bone.score, 2)) for bone in found] == [("ulna", 0.9), ("radius", 0.6)]
        assert len(self.of(boxes, [0.6, 0.4, 0.9], [0, 1, 1], min_score=0.0)) == 3

    def test_of_two_with_one_mask_the_surer_stays_whatever_its_name(self) -> None:
        found = self.of([[2, 2, 20, 20], [2, 2, 20, 22], [12, 2, 30, 20]], [0.6, 0.9, 0.7], [0, 1, 0])
        assert [(bone.label, round(bone.score, 2)) for bone in found] == [("ulna", 0.9), ("radius", 0.7)]

    def test_a_part_of_a_large_one_is_no_double(self) -> None:
        assert len(self.of([[2, 2, 22, 22], [2, 2, 22, 12]], [0.9, 0.8], [0, 1])) == 2
        assert len(self.of([[2, 2, 22, 22], [2, 2, 22, 13]], [0.9, 0.8], [0, 1])) == 1

    def test_metal_is_no_double_of_the_bone_below(self) -> None:
        box = [2, 2, 20, 20]
        assert len(self.of([box, box], [0.6, 0.9], [0, 1], names=("implant", "femur"))) == 2

    def test_none_is_no_error(self) -> None:
        assert self.of([], [], []) == ()

    def test_those_without_a_pixel_are_left_out_and_boxes_are_cut_at_the_border(self) -> None:
        (found,) = self.of([[60, 60, 80, 80], [-5, 10, 8, 99]], [0.9, 0.8], [0, 0])
        assert found.box_xyxy_px == (0.0, 10.0, 8.0, 40.0)
        assert found.mask.shape == (30, 8)

    def test_overlapping_bones_are_each_complete(self) -> None:
        first, second = self.of([[2, 2, 20, 20], [10, 2, 30, 20]], [0.9, 0.8], [0, 1])
        assert (first.area_px, second.area_px) == (18 * 18, 20 * 18)
        assert (first.on(40, 36) & second.on(40, 36)).sum() == 10 * 18

    def test_a_label_without_a_name_is_a_broken_model(self) -> None:
        with pytest.raises(ModelMismatch, match="label 2"):
            self.of([[2, 2, 20, 20]], [0.9], [2])


class TestPipeline:
    def test_finds_what_is_drawn(self, pipeline: Pipeline) -> None:
        found = pipeline.bones(film())
        assert [bone.label for bone in found] == ["radius", "carpals"]
        union = np.any([bone.on(450, 350) for bone in found], axis=0)
        drawn = np.zeros((450, 350), bool)
        drawn[22:-22, 122:227] = True
        assert (union & drawn).sum() / (union | drawn).sum() > 0.93
        edge = round(256 / 320 * 450)
        assert not found[0].on(450, 350)[edge:].any() and not found[1].on(450, 350)[:edge].any()

    def test_many_bones_or_none(self, pipeline: Pipeline) -> None:
        pixels = np.zeros((320, 320), np.uint8)
        pixels[20:300, 40:100] = 255
        pixels[20:300, 220:280] = 200
        assert {bone.label for bone in pipeline.bones(Radiograph(pixels, "", ""))} == set(models.PARTS)
        assert pipeline.bones(blank()) == ()

    def test_min_score_is_the_cards_unless_given(self, pipeline: Pipeline, tmp_path: Path) -> None:
        pixels = np.zeros((320, 320), np.uint8)
        pixels[20:200, 40:100] = 255
        pixels[20:200, 220:280] = 80
        faint = Radiograph(pixels, "", "")
        assert [bone.label for bone in pipeline.bones(faint)] == ["radius"]
        assert [bone.label for bone in pipeline.bones(faint, min_score=0.3)] == ["radius", "ulna"]

    def test_metal_has_its_own_cut(self, pipeline: Pipeline, tmp_path: Path) -> None:
        """The same model, its second bone called metal: shown where the card's cut of metal lets it."""
        labels = tuple(IMPLANT if label == "carpals" else label for label in models.PARTS)
        for least, shown in ((1.1, ["radius"]), (0.5, ["radius", IMPLANT])):
            points = {"bone": OperatingPoint(0.5), "metal": OperatingPoint(least)}
            card = models.bones_card(operating_points=points, labels=labels)
            onnx.save(models.bones_model(card), str(tmp_path / "bones.onnx"))
            made = replace(pipeline, instances=Lazy(lambda: Session(tmp_path / "bones.onnx", task="bones", threads=1)))
            assert [bone.label for bone in made.bones(film())] == shown
            visible, faint = made.bones_and_faint(film())
            assert [bone.label for bone in visible] == shown
            assert IMPLANT in [bone.label for bone in faint]

    def test_a_bone_too_faint_to_be_shown_still_tells_where_a_fracture_lies(
        self, pipeline: Pipeline, tmp_path: Path
    ) -> None:
        """The card shows only what scores 1.1, so nothing; the fracture is not outside for that."""
        card = models.bones_card(operating_points={"bone": OperatingPoint(1.1)})
        onnx.save(models.bones_model(card), str(tmp_path / "bones.onnx"))
        made = replace(pipeline, instances=Lazy(lambda: Session(tmp_path / "bones.onnx", task="bones", threads=1)))
        found = made.analyse(film(), bones=True)
        assert found.bones == ()
        assert [fracture.anchor and fracture.anchor.label for fracture in found.fractures] == ["radius"]

    def test_without_being_asked_the_json_is_as_ever_and_no_model_is_loaded(self, pipeline: Pipeline) -> None:
        fresh = replace(pipeline, instances=Lazy(lambda: pytest.fail("loaded")))
        usual = replace(pipeline, instances=None).analyse(film()).to_json()
        value = fresh.analyse(film()).to_json()
        assert {**value, "timing_ms": 0} == {**usual, "timing_ms": 0}
        assert not {"bones"} & (value.keys() | value["models"].keys() | value["timing_ms"].keys())
        assert value["fractures"][0].keys() == {"box_xyxy_px", "score", "probability", "grade"}

    def test_asked_for_they_come_with_the_fractures_bone_and_change_nothing_else(self, pipeline: Pipeline) -> None:
        usual, asked = pipeline.analyse(film()).to_json(), pipeline.analyse(film(), bones=True).to_json()
        assert [bone["label"] for bone in asked["bones"]] == ["radius", "carpals"]
        assert asked["bones"][0].keys() == {"label", "score", "box_xyxy_px", "area_px"}
        assert asked["models"]["bones"]["name"] == "osteon-bones-drawn"
        assert asked["timing_ms"]["bones"] > 0
        (fracture,) = asked["fractures"]
        assert (fracture["bone"], fracture["outside_bone"]) == ("radius", False)
        assert fracture["text"] == {"en": "suspected fracture: radius", "ru": "подозрение на перелом: лучевая кость"}
        for name in ("source", "bone", "decision"):
            assert asked[name] == usual[name]
        assert {name: fracture[name] for name in usual["fractures"][0]} == usual["fractures"][0]

    def test_judged_they_come_with_a_second_opinion_and_the_decision_stays(
        self, pipeline: Pipeline, tmp_path: Path
    ) -> None:
        file = bone_judges.write_judge(tmp_path / "judge.onnx", bone_judges.joined())
        judging = replace(pipeline, judge=Lazy(lambda: Session(file, task="bone-judge", threads=1)))
        usual, value = pipeline.analyse(film(), bones=True).to_json(), judging.analyse(film(), bones=True).to_json()
        assert value["models"]["bone_judge"]["name"] == "osteon-bone-judge-drawn"
        assert value["timing_ms"]["judge"] > 0
        radius, carpals = (bone["damage"] for bone in value["bones"])
        assert value["damage"]["score"] == max(radius["score"], carpals["score"])
        assert 0 < value["damage"]["probability"] < 1
        for name in ("decision", "fractures", "bone"):
            assert value[name] == usual[name]
        assert [bone | {"damage": 0} for bone in usual["bones"]] == [bone | {"damage": 0} for bone in value["bones"]]
        assert not {"damage"} & usual.keys() and "bone_judge" not in usual["models"]

    def test_the_opinion_is_the_same_asked_for_later(self, pipeline: Pipeline, tmp_path: Path) -> None:
        """The detector is run anew then, and a high least score of the boxes shown changes nothing of it."""
        file = bone_judges.write_judge(tmp_path / "judge.onnx", bone_judges.joined())
        judging = replace(pipeline, judge=Lazy(lambda: Session(file, task="bone-judge", threads=1)))
        at_once = judging.analyse(film(), bones=True, min_score=0.99)
        bones, damage = judging.damage(film(), judging.bones(film()))
        assert damage == at_once.damage and damage
        assert [bone.damage for bone in bones] == [bone.damage for bone in at_once.bones or ()]

    def test_without_being_asked_or_without_bone_nobody_judges(self, pipeline: Pipeline) -> None:
        lazy = replace(pipeline, judge=Lazy(lambda: pytest.fail("loaded")))
        assert lazy.analyse(film()).damage is None
        assert lazy.analyse(blank(), bones=True).damage is None

    def test_where_the_gate_sees_no_bone_nobody_looks_for_bones(self, pipeline: Pipeline) -> None:
        lazy = replace(pipeline, instances=Lazy(lambda: pytest.fail("loaded")))
        value = lazy.analyse(blank(), bones=True).to_json()
        assert (value["decision"], value["bones"], value["models"]["bones"]) == ("not_a_radiograph", [], None)

    def test_without_a_model_the_error_says_what_to_do(self, pipeline: Pipeline) -> None:
        none = replace(pipeline, instances=None)
        with pytest.raises(ModelMismatch, match="no model of single bones") as caught:
            none.bones(film())
        assert "bones.onnx" in caught.value.hint
        with pytest.raises(ModelMismatch):
            none.analyse(film(), bones=True)

    def test_a_model_of_another_task_is_refused_when_it_is_needed(self, tmp_path: Path) -> None:
        files = models.model_files(tmp_path)
        made = Pipeline.bundled(gate=files.gate, detector=files.detector, bones=files.detector, threads=1)
        with pytest.raises(ModelMismatch, match="expected a bones"):
            made.bones(film())

    def test_many_threads_at_once_load_one_model(self, pipeline: Pipeline, tmp_path: Path) -> None:
        file = models.bones_file(tmp_path)
        loads: list[int] = []

        def load() -> Session:
            loads.append(threading.get_ident())
            return Session(file, task="bones", threads=1)

        shared = replace(pipeline, instances=Lazy(load))
        barrier = threading.Barrier(16)
        seen: list[tuple[str, ...]] = []

        def ask() -> None:
            barrier.wait()
            seen.append(tuple(bone.label for bone in shared.bones(film(90, 70))))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [("radius", "carpals")] * 16
        assert len(loads) == 1

    def test_long_lists_hold_no_masks_and_say_the_same(self, pipeline: Pipeline) -> None:
        whole = pipeline.analyse(film(), bones=True)
        assert slim(whole).to_json() == whole.to_json()
        assert all(bone.mask.size == 0 for bone in slim(whole).bones or ())

    @pytest.mark.parametrize(("demotes", "grade"), [(False, "fracture"), (True, "doubt")])
    def test_a_fracture_outside_loses_a_grade_only_where_the_card_says_so(
        self, pipeline: Pipeline, tmp_path: Path, demotes: bool, grade: str
    ) -> None:
        """The only bone that this model finds is far from the spot."""
        model = models.bones_model(models.bones_card(outside_demotes=demotes))
        for tensor in model.graph.initializer:
            if tensor.name == "anchors":
                aside = np.tile(np.array([[2, 2, 20, 20]], np.float32), (1, len(models.PARTS), 1))
                tensor.CopyFrom(onnx.numpy_helper.from_array(aside, "anchors"))
        onnx.save(model, str(tmp_path / "bones.onnx"))
        made = replace(pipeline, instances=Lazy(lambda: Session(tmp_path / "bones.onnx", task="bones", threads=1)))
        found = made.analyse(film(), bones=True)
        assert [(fracture.grade, fracture.anchor and fracture.anchor.outside) for fracture in found.fractures] == [
            (grade, True)
        ]
        assert found.decision == grade
