"""YOLOv8: published sizes, shapes, and that it learns."""

import pytest
import torch

import builders
from osteon.errors import ConfigurationError
from osteon.models.criteria import DetectionTargets, pair_iou
from osteon.models.points import boxes_and_scores
from osteon.models.yolov8 import BINS, YoloV8, nano, small, yolo_loss
from osteon.preprocess import letterbox
from osteon.training.architectures import DETECTORS, build

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit


@pytest.mark.parametrize(("width", "millions"), [(0.25, 3.157), (0.5, 11.167)])
def test_with_80_classes_it_has_the_published_number_of_parameters(width: float, millions: float) -> None:
    model = YoloV8(width=width, depth=0.33, classes=80)
    count = sum(p.numel() for p in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.0005)
    with torch.inference_mode():
        assert model.eval()(torch.zeros(1, 1, 64, 64)).logits.shape == (1, 84, 80)


@pytest.mark.parametrize("make", [nano, small])
def test_every_stride_has_a_point_in_the_middle_of_each_cell(make: type[YoloV8]) -> None:
    with torch.inference_mode():
        predictions = make().eval()(torch.rand(2, 1, 64, 96))
    count = sum((64 // s) * (96 // s) for s in (8, 16, 32))
    assert predictions.logits.shape == (2, count)
    assert predictions.bins.shape == (2, count, 4, BINS)
    assert predictions.mask_logits is None
    assert predictions.points_xy[1].tolist() == [12, 4]
    assert predictions.points_xy[-1].tolist() == [80, 48]


def test_it_learns_one_drawn_picture() -> None:
    torch.manual_seed(0)
    drawing = builders.drawing(64, 64)
    pixels = torch.from_numpy(letterbox(drawing.pixels, side_px=64).pixels).repeat(2, 1, 1, 1)
    truth = torch.tensor([drawing.fracture_xyxy_px])
    targets = DetectionTargets([truth, truth], torch.zeros(0))
    model = nano().train()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        loss = yolo_loss(model(pixels), targets)
        assert set(loss) == {"score", "box", "edge"}
        total = torch.stack(list(loss.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    with torch.inference_mode():
        boxes, scores = boxes_and_scores(model(pixels))
    assert float(pair_iou(boxes[0][scores[0].argmax()][None], truth)) > 0.5
    assert losses[-1] < 0.7 * max(losses), losses


def test_a_side_that_does_not_fit_is_refused_with_one_that_does() -> None:
    with pytest.raises(ConfigurationError, match="multiples of 32") as caught:
        build("detector", "yolov8n", side_px=300)
    assert "288" in caught.value.hint
    assert {name for name, family in DETECTORS.items() if family.cell_px == 1} == {"ssd300-vgg16"}
