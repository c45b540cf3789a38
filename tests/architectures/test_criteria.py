"""Assignment and losses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from osteon.models.criteria import (
    TOP,
    DetectionTargets,
    assign,
    assign_all,
    complete_iou,
    detection_loss,
    distribution_loss,
    mask_loss,
    pair_iou,
)
from osteon.models.nanocsp import NanoCsp
from osteon.models.points import decode
from osteon.preprocess import letterbox

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit


def grid(side: int = 128) -> torch.Tensor:
    """Points of strides 8, 16 and 32."""
    points = []
    for stride in (8, 16, 32):
        steps = (torch.arange(side // stride) + 0.5) * stride
        points.append(torch.cartesian_prod(steps, steps).flip(1))
    return torch.cat(points)


def random_boxes(count: int, seed: int, *, side: float = 128) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=rng) * side
    low, high = corners.amin(1), corners.amax(1)
    return torch.cat([low, high + 2], 1)


@given(st.integers(0, 5), st.integers(0, 1000))
@settings(max_examples=60)
def test_assignment_laws(truths: int, seed: int) -> None:
    points = grid()
    generator = torch.Generator().manual_seed(seed)
    reach = torch.rand(len(points), 4, generator=generator) * 60 + 1
    boxes = torch.cat([points - reach[:, :2], points + reach[:, 2:]], 1)
    scores = torch.rand(len(points), generator=generator)
    truth = random_boxes(truths, seed)
    assigned = assign(scores, boxes, points, truth)
    assert assigned.truth.shape == assigned.score.shape == (len(points),)
    assert assigned.score.min() >= 0
    assert assigned.score.max() <= 1
    assert ((assigned.score > 0) <= (assigned.truth >= 0)).all()
    for index in range(truths):
        mine = torch.nonzero(assigned.truth == index)[:, 0]
        x0, y0, x1, y1 = truth[index].tolist()
        x, y = points[mine].T
        assert ((x > x0) & (x < x1) & (y > y0) & (y < y1)).all()
        assert len(mine) <= TOP
        if len(mine):
            overlap = pair_iou(truth[index : index + 1], boxes[mine])[0]
            if overlap.max() > 0.2:
                assert float(assigned.score[mine].max()) == pytest.approx(float(overlap.max()), rel=1e-3)


def test_truths_are_counted_through_the_pictures_of_a_batch() -> None:
    points = grid(64)
    boxes = torch.cat([points - 9, points + 9], 1).expand(3, -1, -1)
    scores = torch.rand(3, len(points), generator=torch.Generator().manual_seed(0))
    truths = [random_boxes(2, 1, side=64), torch.zeros(0, 4), random_boxes(3, 2, side=64)]
    assigned = assign_all(scores, boxes, points, truths)
    for i, start in enumerate((0, 2, 2)):
        alone = assign(scores[i], boxes[i], points, truths[i])
        assert torch.equal(assigned.score[i], alone.score)
        assert torch.equal(assigned.truth[i], torch.where(alone.truth >= 0, alone.truth + start, -1))
    assert assigned.truth[0].max() < 2 <= assigned.truth[2].max()


def test_without_truth_nothing_is_assigned() -> None:
    assigned = assign(torch.rand(5), torch.rand(5, 4), torch.rand(5, 2), torch.zeros(0, 4))
    assert assigned.truth.tolist() == [-1] * 5
    assert assigned.score.tolist() == [0] * 5


def test_a_point_claimed_by_two_goes_to_the_one_it_overlaps_most() -> None:
    truth = torch.tensor([[0.0, 0, 40, 40], [0, 0, 80, 80]])
    assigned = assign(torch.tensor([0.5]), torch.tensor([[0.0, 0, 78, 80]]), torch.tensor([[20.0, 20]]), truth)
    assert assigned.truth.tolist() == [1]


def slow_complete_iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    sizes = [(box[2] - box[0], box[3] - box[1]) for box in (a, b)]
    iou = shared / (sizes[0][0] * sizes[0][1] + sizes[1][0] * sizes[1][1] - shared)
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (a, b)]
    hull = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    distance = math.dist(*centres) ** 2 / hull
    aspect = 4 / math.pi**2 * (math.atan(sizes[1][0] / sizes[1][1]) - math.atan(sizes[0][0] / sizes[0][1])) ** 2
    weight = aspect / (1 - iou + aspect) if aspect else 0.0
    return iou - distance - weight * aspect


@pytest.mark.parametrize("seed", range(4))
def test_complete_iou_is_that_of_the_paper(seed: int) -> None:
    first, second = random_boxes(30, seed), random_boxes(30, seed + 50)
    expected = [slow_complete_iou(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    assert complete_iou(first, second).tolist() == pytest.approx(expected, abs=1e-4)
    assert complete_iou(first, first).tolist() == pytest.approx([1] * 30, abs=1e-5)


@pytest.mark.parametrize("distance", [0.0, 0.3, 4.0, 7.75, 9.9])
def test_the_distribution_loss_is_least_at_the_two_bins_around_the_true_distance(distance: float) -> None:
    lower = int(distance)
    share = distance - lower
    shares = torch.full((11,), 1e-9)
    shares[lower], shares[lower + 1] = max(1 - share, 1e-9), max(share, 1e-9)
    assert float((shares * torch.arange(11.0)).sum()) == pytest.approx(distance, abs=1e-4)
    best = shares.log().expand(1, 4, 11).clone().requires_grad_()
    truth = torch.full((1, 4), distance)
    least = distribution_loss(best, truth)
    least.sum().backward()
    assert float(best.grad.abs().max()) < 1e-4  # type: ignore[union-attr]
    for seed in range(5):
        other = 3 * torch.randn(1, 4, 11, generator=torch.Generator().manual_seed(seed))
        assert float(distribution_loss(other, truth)) > float(least.detach())


def test_the_mask_loss_ignores_unknown_pixels() -> None:
    logits = torch.randn(1, 1, 6, 6)
    targets = (torch.rand(1, 1, 6, 6) > 0.5).float()
    targets[..., 3:] = -1
    other = logits.clone()
    other[..., 3:] = 50.0
    assert torch.equal(mask_loss(logits, targets), mask_loss(other, targets))
    other[..., :1] += 3
    assert not torch.equal(mask_loss(logits, targets), mask_loss(other, targets))
    assert float(mask_loss(logits, torch.full_like(targets, -1))) == pytest.approx(0, abs=1e-6)


def test_a_sure_and_right_mask_costs_nothing() -> None:
    targets = (torch.rand(1, 1, 6, 6) > 0.5).float()
    assert float(mask_loss((targets * 2 - 1) * 30, targets)) == pytest.approx(0, abs=1e-4)


def test_a_picture_without_fractures_has_a_loss_that_can_be_minimised() -> None:
    model = NanoCsp().train()
    targets = DetectionTargets([torch.zeros(0, 4)] * 2, torch.zeros(2, 1, 8, 8))
    loss = detection_loss(model(torch.rand(2, 1, 64, 64)), targets)
    assert set(loss) == {"score", "box", "edge", "mask"}
    assert float(loss["box"].detach()) == float(loss["edge"].detach()) == 0
    torch.stack(list(loss.values())).sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_detector_learns_one_drawn_picture() -> None:
    torch.manual_seed(0)
    drawing = builders.drawing(64, 64)
    pixels = torch.from_numpy(letterbox(drawing.pixels, side_px=64).pixels).repeat(2, 1, 1, 1)
    truth = torch.tensor([drawing.fracture_xyxy_px])
    targets = DetectionTargets([truth, truth], torch.zeros(2, 1, 8, 8))
    model = NanoCsp().train()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    overlaps, losses = [], []
    for _ in range(12):
        predictions = model(pixels)
        loss = torch.stack(list(detection_loss(predictions, targets).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        boxes = decode(predictions.bins, predictions.points_xy, predictions.strides_px)[0].detach()
        overlaps.append(float(pair_iou(boxes[predictions.logits[0].argmax()][None], truth)))
    assert overlaps[-1] > max(0.5, overlaps[0] + 0.2), overlaps
    assert losses[-1] < 0.7 * max(losses), losses
