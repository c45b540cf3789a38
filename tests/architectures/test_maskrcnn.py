"""Mask R-CNN: torchvision's network and criterion, ignored regions, objects found."""

import copy
import re
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from osteon.errors import ConfigurationError
from osteon.models import maskrcnn, proposals
from osteon.models.anchors import AnchoredPredictions
from osteon.models.bone_criteria import BoneTargets
from osteon.models.maskrcnn import MaskRcnn, known_entropy, level_of
from osteon.models.proposals import chance, ignored_share, proposal_loss, regions_to_learn
from osteon.models.vision import torchvision
from osteon.training.architectures import build, start
from osteon.training.bones import FRESH

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit
NANODET = Path(__file__).parents[3] / "shared" / "weights" / "nanodet_g_coco" / "nanodet_g_coco_folded.pth"
SIDE = 64


def targets(*boxes: tuple[int, int, int, int], ignored: tuple[int, int, int, int] | None = None) -> BoneTargets:
    """One picture with an object that fills each box; classes in turn."""
    masks, region = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.uint8), torch.zeros(1, SIDE, SIDE).byte()
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    if ignored is not None:
        region[0, ignored[1] : ignored[3], ignored[0] : ignored[2]] = 1
    return BoneTargets([torch.tensor(boxes).float().reshape(-1, 4)], [torch.arange(len(boxes))], [masks], region)


def drawn(truth: BoneTargets) -> Tensor:
    return truth.masks[0].amax(0)[None, None] * 0.7 + 0.1


def small(classes: int = 2) -> MaskRcnn:
    torch.manual_seed(0)
    return maskrcnn.csp(400, classes)


@pytest.fixture(scope="module")
def talkative() -> MaskRcnn:
    """A model that finds something everywhere: random weights, high scores."""
    model = small(3)
    predictor = model.roi_heads.box_predictor
    torch.nn.init.normal_(predictor.cls_score.weight, std=0.5)  # type: ignore[union-attr,arg-type]
    torch.nn.init.normal_(predictor.bbox_pred.weight, std=0.2)  # type: ignore[union-attr,arg-type]
    return model.eval()


@pytest.fixture(scope="module")
def both() -> tuple[torch.nn.Module, MaskRcnn]:
    """Torchvision's network of 22 classes and ours, without memory for their weights."""
    torchvision()
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    with torch.device("meta"):
        published = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=23)
        return published, cast(MaskRcnn, build("bones", "maskrcnn-r50", classes=22))


class TestNetwork:
    def test_parameters_are_as_many_as_torchvisions(self, both: tuple[torch.nn.Module, MaskRcnn]) -> None:
        counts = [sum(p.numel() for p in model.parameters()) for model in both]
        assert counts[0] == counts[1] > 43_000_000

    def test_anchors_follow_the_map(self) -> None:
        first = small().eval()(torch.rand(2, 1, 64, 96))
        assert [m.shape[2:] for m in first.maps] == [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
        assert first.anchored.logits.shape == (2, sum(first.counts), 1)
        assert first.anchored.offsets.shape == (2, sum(first.counts), 4)
        assert first.anchored.anchors_xyxy.shape == (sum(first.counts), 4)
        sides = first.anchored.anchors_xyxy[1, 2:] - first.anchored.anchors_xyxy[1, :2]
        assert sides.tolist() == [16, 16]  # 32 px at 800 px

    def test_answers_stand_in_the_order_of_the_anchors(self) -> None:
        """Each anchor shape says its own; the row of one cell holds all shapes."""
        level = torch.arange(2 * 3 * 4 * 2 * 5).reshape(2, 12, 2, 5)
        flat = maskrcnn._by_anchor(level, 3)
        assert flat[1, (1 * 5 + 3) * 3 + 2].tolist() == level[1, 8:12, 1, 3].tolist()

    def test_regions_are_looked_up_in_torchvisions_levels(self) -> None:
        torchvision()
        from torchvision.ops.poolers import LevelMapper

        sides = torch.tensor([3.0, 60, 111, 113, 225, 447, 449, 2000])
        boxes = torch.stack([sides * 0, sides * 0, sides, sides], 1)
        assert level_of(boxes, 1.0).tolist() == LevelMapper(2, 5)([boxes]).tolist()
        assert level_of(boxes / 2, 0.5).tolist() == level_of(boxes, 1.0).tolist()

    def test_regions_keep_the_order_of_their_boxes(self) -> None:
        maps = [torch.full((1, 1, 8, 8), float(number)) for number in range(4)]
        places = torch.tensor([[0.0, 0, 60, 60], [0, 0, 9, 9], [0, 0, 30, 30], [1, 1, 9, 9]])
        seen = MaskRcnn._regions(small(), maps, [places[:0], places[:3], places[3:]][1:2], 7, (64, 64))
        assert seen.mean((1, 2, 3)).tolist() == level_of(places[:3], 0.5).tolist()
        assert len(set(level_of(places[:3], 0.5).tolist())) == 2


class TestFirstStage:
    def test_loss_is_torchvisions_where_all_anchors_are_drawn(self) -> None:
        torchvision()
        from torchvision.models.detection.rpn import RegionProposalNetwork

        generator = torch.Generator().manual_seed(0)
        corners = torch.rand(120, 2, generator=generator) * 40
        spread = torch.cat([corners, corners + 8 + torch.rand(120, 2, generator=generator) * 20], 1)
        truth = targets(tuple(spread[3].round().int().tolist()), (4, 4, 20, 24))
        logits, offsets = torch.randn(1, 120, 1, generator=generator), torch.randn(1, 120, 4, generator=generator)
        counts = {"training": 9, "testing": 9}
        theirs = RegionProposalNetwork(None, None, 0.7, 0.3, 256, 0.5, counts, counts, 0.7)
        labels, goals = theirs.assign_targets_to_anchors([spread], [{"boxes": truth.boxes_xyxy[0]}])
        assert (labels[0] == 1).sum() >= 2 and (labels[0] == -1).any()
        encoded = theirs.box_coder.encode(goals, [spread])
        expected = theirs.compute_loss(logits[0], offsets[0], labels, encoded)
        found = proposal_loss(AnchoredPredictions(logits, offsets, spread), truth)
        torch.testing.assert_close(found["objectness"], expected[0])
        torch.testing.assert_close(found["proposal"], expected[1])

    def test_draws_are_half_with_an_object_at_most(self) -> None:
        matched = torch.tensor([0] * 200 + [-1] * 1000 + [-2] * 50)
        weights = chance(matched)
        assert [float(part.sum()) for part in weights.split([200, 1000, 50])] == pytest.approx([128, 128, 0])
        assert float(chance(torch.tensor([0, -1, -1])).sum()) == 3

    @pytest.mark.parametrize(("ignored", "learnt"), [(None, True), ((32, 32, 64, 64), False)])
    def test_false_positive_in_an_ignored_region_learns_nothing(
        self, ignored: tuple[int, int, int, int] | None, learnt: bool
    ) -> None:
        spread = torch.tensor([[4.0, 4, 20, 20], [36, 36, 56, 56], [2, 40, 18, 60], [20, 36, 60, 60]])
        logits = torch.full((1, 4, 1), 3.0, requires_grad=True)
        said = AnchoredPredictions(logits, torch.zeros(1, 4, 4), spread)
        proposal_loss(said, targets((4, 4, 20, 20), ignored=ignored))["objectness"].backward()
        assert logits.grad is not None
        assert logits.grad[0, :, 0].ne(0).tolist() == [True, learnt, True, learnt]

    def test_object_in_an_ignored_region_is_learnt(self) -> None:
        logits = torch.zeros(1, 1, 1, requires_grad=True)
        said = AnchoredPredictions(logits, torch.zeros(1, 1, 4), torch.tensor([[36.0, 36, 56, 56]]))
        proposal_loss(said, targets((36, 36, 56, 56), ignored=(32, 32, 64, 64)))["objectness"].backward()
        assert logits.grad is not None and float(logits.grad) < 0

    def test_share_is_that_of_the_pixels(self) -> None:
        rng = np.random.default_rng(0)
        region = torch.from_numpy((rng.random((20, 30)) < 0.4).astype(np.uint8))
        boxes = torch.tensor([[0.0, 0, 30, 20], [3, 4, 9, 17], [-8, -9, 2, 5], [25, 15, 90, 90], [29, 19, 29, 19]])
        crops = [region, region[4:17, 3:9], region[:5, :2], region[15:, 25:], region[19:, 29:]]
        assert ignored_share(boxes, region).tolist() == pytest.approx([float(c.float().mean()) for c in crops])

    def test_proposals_are_inside_and_ordered_and_do_not_repeat(self) -> None:
        first = small().eval()(torch.rand(2, 1, SIDE, SIDE))
        for boxes in proposals.proposals(first.anchored, first.counts, side_px=(SIDE, SIDE), most=20):
            assert boxes.shape == (20, 4)
            assert boxes.min() >= 0 and boxes.max() <= SIDE
            assert (boxes[:, 2:] - boxes[:, :2]).min() >= 1
        spread = torch.tensor([[0.0, 0, 20, 20], [1, 0, 20, 20], [30, 30, 60, 60], [40, 0, 41, 1], [0, 0, 20, 20]])
        logits = torch.tensor([[[1.0], [2], [5], [9], [4]]])
        said = AnchoredPredictions(logits, torch.zeros(1, 5, 4), spread - torch.tensor([0, 0, 0.5, 0]))
        found = proposals.proposals(said, [4, 1], side_px=(SIDE, SIDE))[0]
        assert found[:, 0].tolist() == [30, 0, 1], "one of a level's doubles, not of another level's; none too small"


class TestSecondStage:
    def test_regions_in_an_ignored_region_are_left_out(self) -> None:
        found = torch.tensor([[36.0, 36, 56, 56], [4, 4, 20, 20], [0, 40, 16, 60]])
        truth = targets((4, 4, 20, 20), ignored=(32, 32, 64, 64))
        boxes, matched = regions_to_learn(found, truth.boxes_xyxy[0], truth.ignored[0])
        assert matched.tolist() == [0, 0, -1]
        assert boxes[2].tolist() == [0, 40, 16, 60]
        assert len(regions_to_learn(found, truth.boxes_xyxy[0], truth.ignored[0] * 0)[0]) == 4

    def test_a_quarter_at_most_has_an_object(self) -> None:
        found = torch.cat(
            [torch.tensor([[4.0, 4, 20, 20]]).repeat(90, 1), torch.tensor([[30.0, 30, 40, 40]]).repeat(200, 1)]
        )
        matched = regions_to_learn(found, found[:1], torch.zeros(SIDE, SIDE))[1]
        assert [(matched == 0).sum(), (matched == -1).sum()] == [32, 96]

    def test_ignored_cells_of_a_mask_are_left_out(self) -> None:
        logits, shares, unknown = torch.zeros(1, 4, 4, requires_grad=True), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
        unknown[0, 0], shares[0, 0, 0] = 1, 1
        known_entropy(logits, shares, unknown).backward()
        assert logits.grad is not None
        assert logits.grad[0, 0].ne(0).tolist() == [True, False, False, False]
        assert logits.grad[0, 1:].all()

    def test_each_class_has_its_own_mask(self) -> None:
        heads = small(3).roi_heads
        regions = torch.rand(2, maskrcnn.NARROW, 14, 14)
        everything = heads.mask_predictor(heads.mask_head(regions))
        logits = heads.masks(regions, torch.tensor([2, 0]))
        assert torch.equal(logits[0], everything[0, 3]) and torch.equal(logits[1], everything[1, 1])


class TestTraining:
    def test_losses_fall_on_one_picture(self) -> None:
        truth = targets((6, 8, 30, 26), (36, 30, 52, 58))
        pixels, model = drawn(truth), small().train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
        told = []
        for _ in range(6):
            parts = model.losses(pixels, truth)
            told.append({name: float(value.detach()) for name, value in parts.items()})
            optimiser.zero_grad()
            torch.stack(list(parts.values())).sum().backward()
            optimiser.step()
        assert told[0].keys() == {"objectness", "proposal", "score", "box", "mask"}
        assert all(np.isfinite(list(row.values())).all() for row in told)
        for name in ("objectness", "score", "mask"):
            assert told[-1][name] < 0.8 * told[0][name], name

    def test_nothing_is_left_to_chance(self) -> None:
        truth = targets((6, 8, 30, 26))
        model = small().eval()
        first, second = (model.losses(drawn(truth), truth) for _ in range(2))
        assert {name: float(v.detach()) for name, v in first.items()} == {
            name: float(v.detach()) for name, v in second.items()
        }

    @pytest.mark.parametrize("ignored", [None, (0, 0, SIDE, SIDE)])
    def test_pictures_without_objects_are_learnt_unless_ignored(
        self, ignored: tuple[int, int, int, int] | None
    ) -> None:
        parts = small().losses(torch.rand(1, 1, SIDE, SIDE), targets(ignored=ignored))
        torch.stack(list(parts.values())).sum().backward()
        values = {name: float(value.detach()) for name, value in parts.items()}
        assert values["mask"] == values["box"] == values["proposal"] == 0
        assert (values["score"] > 0) == (values["objectness"] > 0) == (ignored is None)


class TestInstances:
    @torch.inference_mode()
    def test_objects_have_a_mask_each_and_one_picture_equals_a_batch(self, talkative: MaskRcnn) -> None:
        pixels = torch.rand(2, 1, 32, SIDE, generator=torch.Generator().manual_seed(0))
        both = talkative.instances(pixels)
        for index, found in enumerate(both):
            count = len(found.scores)
            assert 2 < count <= 100
            assert found.masks.shape == (count, 28, 28) and found.labels.shape == (count,)
            assert 0 <= float(found.masks.min()) < float(found.masks.max()) <= 1
            assert (found.scores.diff() <= 0).all() and found.scores.max() <= 1
            assert found.boxes_xyxy.min() >= 0 and (found.boxes_xyxy <= torch.tensor([SIDE, 32, SIDE, 32])).all()
            assert set(found.labels.tolist()) <= {0, 1, 2}
            alone = talkative.instances(pixels[index : index + 1])[0]
            assert len(alone.scores) == count
            torch.testing.assert_close(alone.scores, found.scores, rtol=1e-3, atol=1e-4)

    @torch.inference_mode()
    def test_nothing_found_is_no_error(self) -> None:
        model = small(3).eval()
        torch.nn.init.constant_(model.roi_heads.box_predictor.cls_score.bias[1:], -50)  # type: ignore[union-attr,index,arg-type]
        found = model.instances(torch.rand(1, 1, SIDE, SIDE))[0]
        assert [value.shape for value in found[:4]] == [(0, 4), (0,), (0,), (0, 28, 28)]
        assert all(value is None for value in found[4:]), "no names' odds and no maps"


def _named(published: torch.nn.Module) -> dict[str, Tensor]:
    """Weights named as in torchvision's file for COCO, each tensor of one number."""
    named = {}
    for number, (name, value) in enumerate(published.state_dict().items()):
        old = re.sub(r"(_blocks\.\d|rpn\.head\.conv\.0)\.0\.", r"\1.", name).replace("head.conv.0.", "head.conv.")
        old = re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", old)
        if not name.endswith("num_batches_tracked"):
            named[old] = torch.tensor(float(number)).expand(value.shape)
    return named


class TestStart:
    def test_cocos_weights_are_taken_but_for_the_classes(self, both: tuple[torch.nn.Module, MaskRcnn]) -> None:
        named, model = _named(both[0]), copy.deepcopy(both[1]).to_empty(device="cpu")
        assert "roi_heads.mask_head.mask_fcn1.weight" in named and "rpn.head.conv.weight" in named
        model.load_published(named)
        state = model.state_dict()
        for mine, theirs in (
            ("backbone.layers.layer3.0.conv1.weight", "backbone.body.layer3.0.conv1.weight"),
            ("fpn.layer_blocks.2.0.weight", "backbone.fpn.layer_blocks.2.weight"),
            ("rpn.conv.0.0.weight", "rpn.head.conv.weight"),
            ("roi_heads.box_head.fc6.weight", "roi_heads.box_head.fc6.weight"),
            ("roi_heads.mask_head.3.0.bias", "roi_heads.mask_head.mask_fcn4.bias"),
        ):
            assert state[mine].min() == state[mine].max() == named[theirs].flatten()[0], mine
        body = {n.removeprefix("backbone.body."): v * 0 - 7 for n, v in named.items() if ".body." in n}
        model.load_published({**body, "fc.weight": torch.zeros(2, 2)})
        assert model.state_dict()["backbone.layers.layer4.2.conv3.weight"].max() == -7

    def test_all_but_the_backbone_is_fresh(self, both: tuple[torch.nn.Module, MaskRcnn]) -> None:
        for model in (both[1], build("bones", "maskrcnn-csp")):
            for name, _ in model.named_parameters():
                assert name.startswith(FRESH) != name.startswith("backbone."), name

    def test_the_light_one_starts_from_the_detectors_weights(self) -> None:
        if not NANODET.is_file():
            pytest.skip(f"no {NANODET.name} in ../shared/weights")
        model = small()
        assert start(model, str(NANODET))
        state = torch.load(NANODET, map_location="cpu", weights_only=True)
        stem = model.state_dict()["backbone.stem.conv.weight"]
        torch.testing.assert_close(stem, state["stem.weight"].float().sum(1, keepdim=True))

    def test_cocos_weights_are_for_torchvisions_network(self) -> None:
        with pytest.raises(ConfigurationError, match="COCO") as raised:
            start(small(), "coco")
        assert "maskrcnn-r50" in raised.value.hint
