"""Single bones: views, criterion, a miniature training, and the exported graph."""

import copy
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import drawn
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from osteon.anatomy import IMPLANT
from osteon.cli.train import _given, _judged_last
from osteon.cli.train import train_bones as command
from osteon.datasets import synthetic
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError, InvalidDataset, ModelMismatch
from osteon.inference.card import Card, OperatingPoint
from osteon.inference.session import Session
from osteon.models.bone_criteria import (
    BoneTargets,
    PointPredictions,
    class_scores,
    kinds,
    metal_loss,
    own_points,
    points_loss,
    region_loss,
    semantic_loss,
)
from osteon.models.bones_csp import STEPS, BonesCsp, MaskHead, with_margin
from osteon.models.criteria import assign, distribution_loss
from osteon.models.instances import MOST_INSTANCES, chosen
from osteon.models.points import decode
from osteon.models.regions import aligned, cropped
from osteon.training.bone_export import export_bones
from osteon.training.bone_release import bones_parity
from osteon.training.bone_views import CLASSES, class_names, class_of, truth, view
from osteon.training.bones import drawn_share, repeat_factors
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import BONES_LOOP, BonesSettings, LoopSettings
from osteon.training.drawn_metal import with_metal
from osteon.training.pictures import Picture, load
from osteon.training.release import Release, release
from osteon.training.runs import Run, train_bones

torch.set_num_threads(1)
LOOP = LoopSettings(epochs=2, batch=4, warmup_steps=2, evaluate_every=2, learning_rate=2e-3)
SMALL = BonesSettings(classes="bone", side_px=96, canvas_px=64, settle_epochs=1)
ONE = np.hstack([np.eye(2), np.zeros((2, 1))])


def films(folder: Path, *, train: int = 8, valid: int = 4) -> tuple[Manifest, Split]:
    cases = []
    for index in range(train + valid):
        pixels, case = synthetic.draw(index, height_px=110, width_px=90, fractures=0)
        (folder / case.name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        cases.append(replace(case, path=folder / case.name))
    return Manifest("drawn", tuple(cases)), drawn.split(cases, [*range(train)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Split]:
    return films(tmp_path_factory.mktemp("bones"))


@pytest.fixture(scope="module")
def trained(data: tuple[Manifest, Split], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    folder = tmp_path_factory.mktemp("run")
    return folder, train_bones(*data, Run(folder), settings=SMALL, loop=LOOP)


def square(label: str, x: float, y: float, side: float, *, ignore: bool = False) -> Instance:
    corners = np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])
    return Instance(label, (x, y, x + side, y + side), (corners,), ignore=ignore)


def picture(*instances: Instance, side_px: int = 64) -> Picture:
    from osteon.preprocess import letterbox

    pixels = np.full((64, 64), 90, np.uint8)
    placement = letterbox(pixels, side_px=side_px).placement
    case = Case("a.png", Path(), instances=instances, height_px=64, width_px=64)
    return Picture(case, np.zeros((side_px, side_px), np.uint8), placement)


class TestDrawnMetal:
    def bones(self) -> np.ndarray:
        shaft, small = np.zeros((2, 128, 128), np.uint8)
        shaft[20:110, 50:70] = 1
        small[4:8, 4:8] = 1
        return np.stack([shaft, small])

    def test_it_lies_on_bone_is_bright_and_is_all_that_changes(self) -> None:
        grey = np.full((128, 128), 0.3, np.float32)
        sizes = set()
        for seed in range(40):
            changed, metal = with_metal(grey, self.bones(), np.random.default_rng(seed))
            assert set(np.unique(metal)) == {0, 1} and (metal & self.bones()[0]).any()
            assert np.median(changed[metal > 0]) > 0.34
            assert changed.min() >= 0 and changed.max() <= 1
            near = cv2.dilate(metal, np.ones((11, 11), np.uint8)) > 0
            np.testing.assert_array_equal(changed[~near], grey[~near])
            sizes.add(int(metal.sum()))
        assert len(sizes) > 30

    def test_it_is_the_same_for_the_same_seed(self) -> None:
        grey = np.full((128, 128), 0.3, np.float32)
        first, again = (with_metal(grey, self.bones(), np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])

    def test_where_no_bone_is_large_enough_there_is_none(self) -> None:
        grey = np.full((128, 128), 0.3, np.float32)
        changed, metal = with_metal(grey, self.bones()[1:], np.random.default_rng(0))
        assert changed is grey and not metal.any()

    def test_views_have_it_where_it_is_a_class_and_none_is_there(self) -> None:
        def views(names: tuple[str, ...], *instances: Instance, share: float) -> list[list[int]]:
            settings = replace(SMALL, drawn_metal=share)
            rngs = (np.random.default_rng(seed) for seed in range(12))
            shown = picture(square("radius", 8, 8, 48), *instances)
            return [view(shown, names, rng, settings, gentle=False).labels.tolist() for rng in rngs]

        both = ("bone", "implant")
        assert sum(1 in labels for labels in views(both, share=1.0)) > 6
        assert not any(1 in labels for labels in views(both, share=0.0))
        assert not any(1 in labels for labels in views(("bone",), share=1.0))
        assert all(labels.count(1) <= 1 for labels in views(both, square("implant", 20, 20, 16), share=1.0))


class TestClasses:
    def test_bones_alike_leave_metal_out(self) -> None:
        names = class_names("bone")
        assert [class_of(label, names) for label in ("radius", "rib", "implant")] == [0, 0, None]

    def test_anatomy_keeps_labels_and_calls_the_rest_bone(self) -> None:
        names = class_names("anatomy")
        assert [names[class_of(label, names) or 0] for label in ("ulna", "rib", "implant")] == [
            "ulna",
            "bone",
            "implant",
        ]

    def test_unknown_way_names_the_known(self) -> None:
        with pytest.raises(ConfigurationError) as raised:
            class_names("bones")
        assert "bone,implant" in raised.value.hint


@pytest.mark.parametrize(
    ("given", "judged"), [((), BONES_LOOP.epochs), (("--epochs", "60"), 60), (("--evaluate-every", "4"), 4)]
)
def test_the_last_epoch_alone_is_judged_unless_asked_otherwise(given: tuple[str, ...], judged: int) -> None:
    words = ["--data", ".", "--out", "run", *given]
    context = command.make_context("bones", words)
    assert _judged_last(context, _given(context, BONES_LOOP, context.params)).evaluate_every == judged


class TestViews:
    def test_truth_follows_the_outlines_and_ignored_regions_are_apart(self) -> None:
        shown = picture(
            square("radius", 8, 8, 16), square("implant", 40, 40, 8), square("ignore", 0, 48, 8, ignore=True)
        )
        boxes, labels, masks, ignored = truth(shown, ("bone", "implant"), ONE, 64)
        assert boxes.tolist() == [[8, 8, 24, 24], [40, 40, 48, 48]]
        assert labels.tolist() == [0, 1]
        assert [int(mask.sum()) for mask in masks] == pytest.approx([256, 64], rel=0.15)
        assert ignored[52, 4] and not ignored[40, 4]

    def test_metal_without_a_class_is_neither_bone_nor_background(self) -> None:
        shown = picture(square("radius", 8, 8, 16), square("implant", 40, 40, 8), square("Fracture", 8, 40, 8))
        boxes, _, _, ignored = truth(shown, ("bone",), ONE, 64)
        assert boxes.tolist() == [[8, 8, 24, 24]]
        assert int(ignored.sum()) == 64 and ignored[44, 44]

    def test_overlapping_bones_are_each_whole(self) -> None:
        _, _, masks, _ = truth(picture(square("radius", 8, 8, 24), square("ulna", 20, 8, 24)), ("bone",), ONE, 64)
        assert (masks[0] & masks[1]).sum() > 200

    def test_pixels_serve_where_there_is_no_polygon(self) -> None:
        mask = np.zeros((64, 64), bool)
        mask[10:30, 20:40] = True
        boxes, *_ = truth(picture(Instance("radius", (20, 10, 40, 30), mask=mask)), ("bone",), ONE, 64)
        assert boxes.tolist() == [[20, 10, 40, 30]]

    def test_random_views_differ_and_repeat_with_the_seed(self, data: tuple[Manifest, Split]) -> None:
        shown = load(data[0].cases[:1], side_px=96)[0][0]
        views = [view(shown, ("bone",), np.random.default_rng(seed), SMALL, gentle=False) for seed in (1, 1, 2)]
        assert np.array_equal(views[0].pixels, views[1].pixels)
        assert not np.array_equal(views[0].pixels, views[2].pixels)
        for each in views:
            assert len(each.boxes_xyxy) == len(each.masks) == len(each.labels)

    def test_rare_classes_are_shown_more_often(self) -> None:
        common = [Case(str(i), Path(), instances=(square("phalanx", 0, 0, 9),)) for i in range(99)]
        rare = Case("rare", Path(), instances=(square("sacrum", 0, 0, 9),))
        factors = repeat_factors([*common, rare], class_names("anatomy"), 0.04)
        assert factors[0] == 1.0
        assert factors[-1] == pytest.approx(2.0)

    def test_half_is_part_of_all(self) -> None:
        cases = [Case(str(i), Path()) for i in range(10)]
        half, most = (drawn_share(cases, share, seed=3) for share in (0.5, 0.8))
        assert len(half) == 5 and {c.name for c in half} < {c.name for c in most}


class TestRegions:
    def test_cells_are_means_under_the_box(self) -> None:
        ramp = torch.arange(16.0)[None, None, None].expand(1, 1, 16, 16)
        cells = aligned(ramp, torch.tensor([[4.0, 4.0, 12.0, 12.0]]), 4, side_px=(16, 16))[0, 0]
        assert torch.allclose(cells[0], torch.tensor([4.5, 6.5, 8.5, 10.5]), atol=1e-5)

    def test_masks_are_cropped_each_by_its_own_box(self) -> None:
        masks = torch.zeros(2, 32, 32, dtype=torch.uint8)
        masks[0, 8:16, 8:16], masks[1, :, 16:] = 1, 1
        shares = cropped(masks, torch.tensor([[8.0, 8, 16, 16], [8, 8, 24, 24]]), 4)
        assert shares[0].min() > 0.8
        assert shares[1, :, 0].max() == 0 and shares[1, :, 3].min() == 1


class TestMasks:
    def test_are_the_classs_own(self) -> None:
        """The same regions as another class give another mask, once the classes have learnt something of their own."""
        torch.manual_seed(0)
        head = MaskHead(3).eval()
        fine, edges = torch.rand(2, 64, 14, 14), torch.rand(2, 32, 28, 28)
        assert torch.equal(head(fine, edges, torch.tensor([0, 0])), head(fine, edges, torch.tensor([1, 2])))
        torch.nn.init.constant_(head.by_class.bias[1:2].detach(), 5.0)
        changed = head(fine, edges, torch.tensor([1, 2])) - head(fine, edges, torch.tensor([0, 0]))
        assert torch.allclose(changed[0], torch.tensor(5.0), atol=1e-4) and not changed[1].any()

    def test_reach_beyond_the_box(self) -> None:
        assert with_margin(torch.tensor([[10.0, 20, 20, 60]])).tolist() == [[9.0, 16.0, 21.0, 64.0]]


class TestChoice:
    def test_doubles_go_within_a_class_and_across(self) -> None:
        boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10], [2, 0, 12, 10]])
        scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
        labels = torch.tensor([0, 0, 1, 0, 1])
        assert chosen(boxes, scores, labels).tolist() == [0, 3, 4]

    def test_faint_ones_go(self) -> None:
        assert chosen(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([0.01]), torch.tensor([0])).tolist() == []


def said(logits: Tensor, names: Tensor | None = None) -> PointPredictions:
    """Two points on a picture of 32 by 64 pixels, each of a cell of 32; one bone to name, where nothing is said."""
    points = torch.tensor([[16.0, 16.0], [48.0, 16.0]])
    names = torch.zeros(1, 2, 1) if names is None else names
    return PointPredictions(logits, names, torch.zeros(1, 2, 4, 11), points, torch.tensor([32.0, 32.0]), STEPS)


def targets_of(*drawn: np.ndarray, labels: Sequence[int], ignored: np.ndarray | None = None) -> BoneTargets:
    """The truth of one picture: objects drawn as 0 and 1, and their classes; boxes are not asked for."""
    masks = torch.from_numpy(np.stack(drawn).astype(np.uint8))
    region = torch.zeros(1, *masks.shape[1:], dtype=torch.uint8)
    if ignored is not None:
        region[0] = torch.from_numpy(ignored.astype(np.uint8))
    return BoneTargets([torch.zeros(len(masks), 4)], [torch.tensor(labels)], [masks], region)


class TestCriterion:
    @pytest.mark.parametrize(("ignored", "learnt"), [(0, True), (1, False)])
    def test_point_in_an_ignored_region_learns_nothing(self, ignored: int, learnt: bool) -> None:
        logits = torch.zeros(1, 2, 2, requires_grad=True)
        region = torch.zeros(1, 32, 64, dtype=torch.uint8)
        region[0, :, 32:] = ignored
        nothing = BoneTargets([torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)], [torch.zeros(0, 32, 64)], region)
        points_loss(said(logits), nothing)["score"].backward()
        assert logits.grad is not None
        assert bool(logits.grad[0, 1].any()) == learnt
        assert logits.grad[0, 0].any()

    def test_two_bones_of_one_box_have_each_its_own_point_and_name(self) -> None:
        names = torch.zeros(1, 2, 2, requires_grad=True)
        masks = torch.zeros(2, 32, 64, dtype=torch.uint8)
        masks[0, :, :30], masks[1, :, 40:] = 1, 1
        boxes = torch.tensor([[0.0, 0, 62, 32], [1.0, 0, 64, 32]])
        region = torch.zeros(1, 32, 64, dtype=torch.uint8)
        targets = BoneTargets([boxes], [torch.tensor([0, 1])], [masks], region)
        points_loss(said(torch.zeros(1, 2, 1), names), targets)["name"].backward()
        assert names.grad is not None
        wants = names.grad[0] < names.grad[0].flip(1)
        assert wants.tolist() == [[True, False], [False, True]]

    def test_bone_and_metal_of_one_box_are_each_learnt_at_its_own_point(self) -> None:
        """With two classes the last is metal: a kind of its own, and no name of a bone."""
        logits, names = torch.zeros(1, 2, 2, requires_grad=True), torch.zeros(1, 2, 1, requires_grad=True)
        masks = torch.zeros(2, 32, 64, dtype=torch.uint8)
        masks[0, :, :30], masks[1, :, 40:] = 1, 1
        boxes = torch.tensor([[0.0, 0, 62, 32], [1.0, 0, 64, 32]])
        targets = BoneTargets([boxes], [torch.tensor([0, 1])], [masks], torch.zeros(1, 32, 64, dtype=torch.uint8))
        points_loss(said(logits, names), targets)["score"].backward()
        assert logits.grad is not None
        wants = logits.grad[0] < logits.grad[0].flip(1)
        assert wants.tolist() == [[True, False], [False, True]]

    def test_scores_of_classes_are_those_of_the_kind(self) -> None:
        logits, names = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 3.0, 3.0 - math.log(4)]])
        scores = class_scores(logits, names)[0]
        expected = [0.5 * math.exp(-2), 0.5, 0.125, 1 / (1 + math.exp(-2))]
        assert torch.allclose(scores, torch.tensor(expected))
        assert class_scores(torch.zeros(5, 1), torch.zeros(5, 1)).shape == (5, 1)

    def test_metal_is_the_last_of_several_classes(self) -> None:
        """`kinds` goes by it."""
        for classes in CLASSES:
            names = class_names(classes)
            count, bones = kinds(len(names))
            assert count == 1 + (IMPLANT in names)
            assert IMPLANT not in names[:bones] and names[bones:] in ((), (IMPLANT,))

    def test_cells_that_two_bones_share_answer_for_neither(self) -> None:
        """Two bones side by side, 12 px apart: cells of 32 px hold both, those of 8 px one."""
        masks = torch.zeros(2, 128, 64, dtype=torch.uint8)
        masks[0, :, 32:42], masks[1, :, 54:64] = 1, 1
        on = own_points(masks, [8, 32])
        fine, coarse = on[:, : 16 * 8].reshape(2, 16, 8), on[:, 16 * 8 :]
        assert fine[0].any(0).tolist() == [False] * 4 + [True, True, False, False]
        assert fine[1].any(0).tolist() == [False] * 6 + [True, True]
        assert not coarse.any()

    def test_cell_of_metal_and_bone_is_the_metals(self) -> None:
        masks = torch.zeros(2, 64, 32, dtype=torch.uint8)
        masks[0], masks[1, 16:48] = 1, 1
        on = own_points(masks, [8]).reshape(2, 8, 4)
        assert on[1, 2:6].all() and not on[1, :2].any() and not on[1, 6:].any()
        assert not on[0, 2:6].any() and on[0, :2].all() and on[0, 6:].all()

    def test_small_object_has_every_cell_that_it_touches(self) -> None:
        masks = torch.zeros(2, 32, 32, dtype=torch.uint8)
        masks[0, 6:10, 6:10], masks[1] = 1, 1
        assert own_points(masks, [8])[0].nonzero()[:, 0].tolist() == [0, 1, 4, 5]

    def test_semantic_loss_is_least_for_the_truth_and_leaves_ignored_cells_out(self) -> None:
        bone, metal, nobody = np.zeros((3, 16, 16))
        bone[:, :8], metal[4:8, 4:8], nobody[:, 12:] = 1, 1, 1
        targets = targets_of(bone, metal, labels=(0, 1), ignored=nobody)
        right = torch.from_numpy(np.stack([bone, bone, metal])[:, ::4, ::4].astype(np.float32) * 40 - 20)[None]
        least = semantic_loss(right, targets, 4)
        assert least < 0.1
        elsewhere, wrong = right.clone(), right.clone()
        elsewhere[..., 3] = 20.0
        wrong[0, 2, 3, 1] = 20.0
        assert semantic_loss(elsewhere, targets, 4) == least
        assert semantic_loss(wrong, targets, 4) > least + 0.5

    def test_metal_loss_is_least_for_the_truth_and_leaves_ignored_cells_out(self) -> None:
        bone, plate, screw, nobody = np.zeros((4, 16, 16))
        bone[:, :8], plate[4:8, 4:8], screw[8:12, 6:8], nobody[:, 12:] = 1, 1, 1, 1
        targets = targets_of(bone, plate, screw, labels=(0, 1, 1), ignored=nobody)
        right = torch.from_numpy(np.maximum(plate, screw)[None, None, ::2, ::2].astype(np.float32) * 40 - 20)
        least = metal_loss(right, targets, 2, label=1)
        assert least < 0.1
        elsewhere, missed, bone_too = right.clone(), right.clone(), right.clone()
        elsewhere[..., 6:], missed[0, 0, 4:6, 3], bone_too[0, 0, 0, 0] = 20.0, -20.0, 20.0
        assert metal_loss(elsewhere, targets, 2, label=1) == least
        for wrong in (missed, bone_too):
            assert metal_loss(wrong, targets, 2, label=1) > least + 0.5
        none = targets_of(bone, labels=(0,))
        assert metal_loss(torch.full_like(right, -20.0), none, 2, label=1) < 0.1

    def test_edges_are_learnt_between_bins_that_are_unevenly_apart(self) -> None:
        """The loss of a distance is least where the distribution's mean is that distance."""
        steps = (0.0, 1.0, 3.0, 9.0)
        for distance in (0.0, 0.5, 2.0, 6.0, 9.0):
            bins = torch.zeros(1, 4, 4, requires_grad=True)
            for _ in range(300):
                loss = distribution_loss(bins, torch.full((1, 4), distance), steps=steps).sum()
                bins = (bins - torch.autograd.grad(loss, bins)[0] * 4).detach().requires_grad_()
            box = decode(bins[None], torch.tensor([[50.0, 50.0]]), torch.tensor([2.0]), steps=steps)
            assert (box[0, 0, 2:] - 50 - 2 * distance).abs().max() < 0.4

    def test_shared_point_goes_to_the_smaller(self) -> None:
        points = torch.tensor([[16.0, 16.0], [48.0, 16.0]])
        boxes = torch.tensor([[0.0, 0, 64, 32], [0.0, 0, 64, 32]])
        on = torch.tensor([[True, True], [False, True]])
        assert assign(torch.ones(2, 2), boxes, points, boxes, on=on).truth.tolist() == [0, 1]

    def test_ignored_cells_of_a_mask_are_left_out(self) -> None:
        logits = torch.zeros(1, 4, 4, requires_grad=True)
        unknown = torch.zeros(1, 4, 4)
        unknown[0, 0] = 1
        region_loss(logits, torch.zeros(1, 4, 4), unknown).backward()
        assert logits.grad is not None
        assert not logits.grad[0, 0].any() and logits.grad[0, 1:].all()


class TestTraining:
    def test_losses_of_every_part_are_written_and_fall(self, trained: tuple[Path, Checkpoint]) -> None:
        rows = [json.loads(line) for line in (trained[0] / "history.jsonl").read_text().splitlines()]
        assert {"loss_score", "loss_name", "loss_box", "loss_edge", "loss_semantic", "loss_mask"} <= rows[0].keys()
        assert rows[1]["loss_mask"] < rows[0]["loss_mask"]
        assert 0 <= rows[1]["ap50"] <= 1

    def test_interrupted_run_goes_on_to_the_same_end(
        self, data: tuple[Manifest, Split], trained: tuple[Path, Checkpoint], tmp_path: Path
    ) -> None:
        train_bones(*data, Run(tmp_path, until=1), settings=SMALL, loop=LOOP)
        train_bones(*data, Run(tmp_path), settings=SMALL, loop=LOOP)
        whole, again = (Checkpoint.read(folder / "last.pt").weights for folder in (trained[0], tmp_path))
        for name, value in whole.items():
            assert torch.equal(value, again[name]), name

    def test_data_without_outlines_are_refused(self, data: tuple[Manifest, Split], tmp_path: Path) -> None:
        bare = Manifest("bare", tuple(replace(case, instances=()) for case in data[0]))
        with pytest.raises(InvalidDataset, match="no outline"):
            train_bones(bare, data[1], Run(tmp_path), settings=SMALL, loop=LOOP)


@pytest.fixture(scope="module")
def talkative() -> BonesCsp:
    """A model that finds something everywhere: random weights, high scores."""
    torch.manual_seed(1)
    model = BonesCsp(3)
    for head in model.class_heads:
        torch.nn.init.normal_(head.weight, std=0.5)
        torch.nn.init.constant_(head.bias, -2.0)
    for head in model.name_heads:
        torch.nn.init.normal_(head.weight, std=0.5)
    return model.eval()


def card(**changes: object) -> Card:
    values = {
        "name": "x",
        "task": "bones",
        "version": "0",
        "arch": "bones-csp",
        "side_px": 96,
        "labels": ("a", "b", "c"),
    }
    rest = {"operating_points": {"bone": OperatingPoint(0.3)}, "licence": "x", "training_data": "x", "split_hash": "0"}
    return Card(**{**values, **rest, "metrics": {}, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(talkative: BonesCsp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "bones.onnx"
    export_bones(talkative, file, card())
    return file


class TestMetal:
    def test_its_map_learns_and_changes_nothing_else(self, talkative: BonesCsp) -> None:
        model = copy.deepcopy(talkative)
        plate = np.zeros((96, 96))
        plate[32:64, 40:48] = 1
        parts = model.losses(torch.rand(1, 1, 96, 96), targets_of(plate, labels=(2,)))
        parts["metal"].backward()
        moved = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
        assert moved and all(name.startswith("metal_head") for name in moved)

    def test_bones_alone_have_none(self) -> None:
        model = BonesCsp(1).eval()
        bone = np.zeros((64, 64))
        bone[8:32, 8:32] = 1
        assert "metal" not in model.losses(torch.rand(1, 1, 64, 64), targets_of(bone, labels=(0,)))
        assert model.instances(torch.rand(1, 1, 64, 64))[0].metal is None
        with pytest.raises(ValueError, match="no class"):
            model.metal(model(torch.rand(1, 1, 64, 64)), torch.rand(1, 1, 64, 64))


class TestExport:
    def test_onnx_says_what_torch_says(self, talkative: BonesCsp, exported: Path) -> None:
        pictures = [np.random.default_rng(i).random((96, 96), np.float32) for i in range(3)]
        largest = bones_parity(talkative, exported, pictures).largest
        assert largest["boxes"] < 1e-2 and largest["scores"] < 1e-4 and largest["masks"] < 1e-3
        assert largest["metal"] < 1e-4 and largest["odds"] < 1e-4 and largest["bone"] < 1e-4
        named = Session(exported, task="bones").named(pictures[0])
        assert list(named) == ["boxes", "scores", "labels", "masks", "odds", "bone", "metal"]
        boxes, scores, labels, masks, odds, bone, metal = named.values()
        assert metal.shape == (48, 48) and bone.shape == (24, 24)
        assert odds.shape == (len(boxes), 2) and odds.sum(1) == pytest.approx(np.ones(len(boxes)), abs=1e-5)
        assert 5 < len(boxes) == len(scores) == len(labels) == len(masks) <= MOST_INSTANCES
        assert (np.diff(scores) <= 0).all()
        assert set(labels.tolist()) <= {0.0, 1.0, 2.0}

    def test_parity_notices_other_weights(self, exported: Path) -> None:
        pictures = [np.random.default_rng(0).random((96, 96), np.float32)]
        assert bones_parity(BonesCsp(3).eval(), exported, pictures).largest["scores"] == 1.0

    def test_nothing_found_is_no_error(self, exported: Path, tmp_path: Path) -> None:
        model = onnx.load(str(exported))
        biases = [value for value in model.graph.initializer if re.fullmatch(r".*class_heads\.\d\.bias", value.name)]
        assert biases, "equal ones may be stored once"
        for value in biases:
            value.CopyFrom(numpy_helper.from_array(np.full(2, -50, np.float32), value.name))
        onnx.save(model, str(tmp_path / "quiet.onnx"))
        answers = Session(tmp_path / "quiet.onnx", task="bones").run(np.zeros((96, 96), np.float32))
        assert [answer.shape for answer in answers] == [(0, 4), (0,), (0,), (0, 28, 28), (0, 2), (24, 24), (48, 48)]

    def test_release_measures_and_chooses_the_cut(
        self, data: tuple[Manifest, Split], trained: tuple[Path, Checkpoint], tmp_path: Path
    ) -> None:
        about = Release("osteon-bones", "0.1.0", "Apache-2.0", "drawn")
        made, _ = release(trained[1], tmp_path / "bones.onnx", about, manifest=data[0], split=data[1])
        assert made.labels == ("bone",) and made.metrics["pictures"] == 4
        assert Session(tmp_path / "bones.onnx", task="bones").card.cut("bone") == made.cut("bone")
        assert list(tmp_path.iterdir()) == [tmp_path / "bones.onnx"]

    def test_reference_architectures_are_not_released(self, trained: tuple[Path, Checkpoint], tmp_path: Path) -> None:
        other = replace(trained[1], arch="maskrcnn-r50")
        manifest, split = films(tmp_path)
        about = Release("x", "0", "x", "x")
        with pytest.raises(ModelMismatch, match="reference"):
            release(replace(other, split_hash=split.hash), tmp_path / "b.onnx", about, manifest=manifest, split=split)
