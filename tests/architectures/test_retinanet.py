"""RetinaNet: torchvision's network and loss."""

import pytest
import torch

from osteon.models import anchors
from osteon.models.criteria import DetectionTargets
from osteon.models.retinanet import RetinaNet, anchor_shapes, boxes_and_scores, retinanet_loss
from osteon.models.vision import torchvision

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit


def test_the_loss_is_torchvisions() -> None:
    torchvision()
    from torchvision.models.detection.retinanet import RetinaNetHead

    torch.manual_seed(0)
    predictions = RetinaNet(400).eval()(torch.rand(2, 1, 96, 128))
    spread = predictions.anchors_xyxy
    truth = [torch.tensor([[20.0, 30, 44, 54], [70, 10, 79, 20]]), torch.zeros(0, 4)]
    matched = [anchors.match(spread, boxes, high=0.5, low=0.4) for boxes in truth]
    assert (matched[0] >= 0).sum() > 2
    assert (matched[0] == -2).any()
    targets = [{"boxes": boxes, "labels": torch.zeros(len(boxes), dtype=torch.int64)} for boxes in truth]
    said = {"cls_logits": predictions.logits, "bbox_regression": predictions.offsets}
    expected = RetinaNetHead(8, 9, 1).compute_loss(targets, said, [spread, spread], matched)
    found = retinanet_loss(predictions, DetectionTargets(truth, torch.zeros(0)))
    torch.testing.assert_close(found["score"], expected["classification"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["box"], expected["bbox_regression"], rtol=1e-4, atol=1e-6)
    boxes, scores = boxes_and_scores(predictions)
    assert boxes.shape == (2, len(spread), 4)
    assert float(scores.detach().mean()) == pytest.approx(0.01, abs=0.005)


def test_anchors_follow_the_side() -> None:
    shapes = anchor_shapes(400)
    assert [len(level) for level in shapes] == [9] * 5
    assert shapes[0].prod(1).sqrt().min() == pytest.approx(16)
    assert shapes[4].prod(1).sqrt().max() == pytest.approx(256 * 2 ** (2 / 3))
