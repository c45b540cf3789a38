"""SSD on VGG16: torchvision's network, our criterion and decoding, at any side."""

from pathlib import Path

import pytest
import torch
from torch import nn

from osteon.errors import ConfigurationError, ModelMismatch
from osteon.models import anchors
from osteon.models.anchors import AnchoredPredictions
from osteon.models.criteria import DetectionTargets, pair_iou
from osteon.models.ssd import WEIGHTS, SsdVgg16, boxes_and_scores, published, ssd_loss
from osteon.models.vision import torchvision
from osteon.training.architectures import build, start

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit
SHARED = Path(__file__).parents[3] / "shared" / "weights"
VGG = SHARED / "vgg16_imagenet" / "vgg16_features_fp16.pth"
TRUTH = [torch.tensor([[20.0, 30, 90, 120], [150, 160, 180, 175], [5, 5, 9, 9]]), torch.zeros(0, 4)]


def theirs_at_300(model: nn.Module) -> torch.Tensor:
    """torchvision's own default boxes of a 300 px picture."""
    from torchvision.models.detection.image_list import ImageList

    maps = [torch.zeros(1, 1, side, side) for side in (38, 19, 10, 5, 3, 1)]
    return model.anchor_generator(ImageList(torch.zeros(1, 3, 300, 300), [(300, 300)]), maps)[0]  # type: ignore[operator]


@pytest.fixture(scope="module")
def at_300() -> tuple[nn.Module, AnchoredPredictions]:
    torchvision()
    torch.manual_seed(0)
    theirs = published().eval()
    model = SsdVgg16(300).eval()
    model.backbone.load_state_dict(theirs.backbone.state_dict())
    model.head.load_state_dict(theirs.head.state_dict())
    with torch.inference_mode():
        return theirs, model(torch.rand(2, 1, 300, 300, generator=torch.Generator().manual_seed(1)))


def test_at_300_the_anchors_are_torchvisions(at_300: tuple[nn.Module, AnchoredPredictions]) -> None:
    theirs, predictions = at_300
    assert predictions.logits.shape == (2, 8732, 2)
    torch.testing.assert_close(predictions.anchors_xyxy, theirs_at_300(theirs), rtol=1e-5, atol=1e-3)


def test_at_300_the_loss_is_torchvisions(at_300: tuple[nn.Module, AnchoredPredictions]) -> None:
    theirs, predictions = at_300
    spread = predictions.anchors_xyxy
    matched = [anchors.match(spread, truth, high=0.5, low=0.5) for truth in TRUTH]
    for index, truth in enumerate(TRUTH[:1]):
        quality = pair_iou(truth, spread)
        assert torch.equal(matched[index], theirs.proposal_matcher(quality))  # type: ignore[operator]
    targets = [{"boxes": truth, "labels": torch.ones(len(truth), dtype=torch.int64)} for truth in TRUTH]
    said = {"bbox_regression": predictions.offsets, "cls_logits": predictions.logits}
    expected = theirs.compute_loss(targets, said, [spread, spread], matched)  # type: ignore[operator]
    found = ssd_loss(predictions, DetectionTargets(TRUTH, torch.zeros(0)))
    torch.testing.assert_close(found["box"], expected["bbox_regression"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["score"], expected["classification"], rtol=1e-4, atol=1e-5)


def test_decoding_is_torchvisions(at_300: tuple[nn.Module, AnchoredPredictions]) -> None:
    theirs, predictions = at_300
    boxes, scores = boxes_and_scores(predictions)
    expected = theirs.box_coder.decode_single(predictions.offsets[0], predictions.anchors_xyxy)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(boxes[0], expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores[0], predictions.logits[0].softmax(-1)[:, 1])


def test_boxes_come_back_from_their_offsets() -> None:
    generator = torch.Generator().manual_seed(3)
    spread, boxes = (torch.rand(50, 4, generator=generator) * 40 for _ in range(2))
    for values in (spread, boxes):
        values[:, 2:] += values[:, :2] + 2
    torch.testing.assert_close(anchors.decode(anchors.encode(boxes, spread, WEIGHTS), spread, WEIGHTS), boxes)


def test_anchors_between_the_two_cuts_are_left_out_and_every_truth_has_one() -> None:
    spread = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 22], [0, 0, 10, 30], [50, 50, 60, 60]])
    truth = torch.tensor([[0.0, 0, 10, 10], [55, 40, 75, 60]])
    assert anchors.match(spread, truth, high=0.5, low=0.4).tolist() == [0, -2, -1, 1]
    assert anchors.match(spread, torch.zeros(0, 4), high=0.5, low=0.4).tolist() == [-1] * 4


@pytest.mark.parametrize(("side", "smallest_px"), [(64, 0.07 * 64), (300, 21), (640, 0.04 * 640), (1024, 0.04 * 1024)])
def test_a_level_halves_at_every_side_and_the_smallest_anchor_follows(side: int, smallest_px: float) -> None:
    model = SsdVgg16(side).eval()
    shown = min(side, 320)
    with torch.inference_mode():
        predictions = model(torch.zeros(1, 1, shown, shown))
    sizes = predictions.anchors_xyxy[:, 2:] - predictions.anchors_xyxy[:, :2]
    assert float(sizes[0, 0]) == pytest.approx(smallest_px)
    assert float(sizes.max()) <= side + 1e-3
    assert len(predictions.anchors_xyxy) == predictions.logits.shape[1] == predictions.offsets.shape[1]


def test_a_part_of_a_picture_has_anchors_of_the_same_pixels() -> None:
    model = SsdVgg16(128).eval()
    with torch.inference_mode():
        whole, part = (model(torch.zeros(1, 1, side, side)).anchors_xyxy for side in (128, 64))
    torch.testing.assert_close(whole[:4], part[:4])


def test_pictures_without_fractures_cost_nothing() -> None:
    predictions = SsdVgg16(64)(torch.rand(2, 1, 64, 64))
    loss = ssd_loss(predictions, DetectionTargets([torch.zeros(0, 4)] * 2, torch.zeros(0)))
    assert {name: float(value.detach()) for name, value in loss.items()} == {"score": 0.0, "box": 0.0}
    torch.stack(list(loss.values())).sum().backward()


def test_vgg16s_published_weights_are_taken(tmp_path: Path) -> None:
    if not VGG.is_file():
        pytest.skip(f"no {VGG.name} in ../shared/weights")
    state = torch.load(VGG, map_location="cpu", weights_only=True)
    model = build("detector", "ssd300-vgg16", side_px=96)
    assert start(model, str(VGG))
    torch.testing.assert_close(model.backbone.features[0].weight, state["features.0.weight"].float())
    torch.testing.assert_close(model.backbone.features[21].weight, state["features.21.weight"].float())
    torch.testing.assert_close(model.backbone.extra[0][5].bias, state["features.28.bias"].float())
    del state["features.28.bias"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(ModelMismatch, match="part"):
        start(model, str(tmp_path / "part.pth"))


def test_imagenet_weights_are_for_those_who_have_such_a_backbone() -> None:
    with pytest.raises(ConfigurationError, match="another architecture"):
        start(build("detector", "yolov8n"), "imagenet")
