"""The detector and its backbone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from osteon.errors import ModelMismatch
from osteon.models.csp import ConvBlock, CspBackbone, calibrate
from osteon.models.nanocsp import BINS, NanoCsp
from osteon.models.points import decode
from osteon.models.unet import CspEncoder, UNet
from osteon.training.architectures import start

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit
SHARED = Path(__file__).parents[3] / "shared" / "weights"
NANODET = SHARED / "nanodet_g_coco" / "nanodet_g_coco_folded.pth"


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_decoding_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    bins, points = rng.normal(0, 3, (2, 7, 4, BINS)), rng.uniform(0, 640, (7, 2))
    strides = rng.choice([8.0, 16.0, 32.0], 7)
    shares = np.exp(bins) / np.exp(bins).sum(-1, keepdims=True)
    left, top, right, bottom = np.moveaxis((shares * np.arange(BINS)).sum(-1) * strides[:, None], -1, 0)
    x, y = points.T
    expected = np.stack([x - left, y - top, x + right, y + bottom], -1)
    found = decode(torch.from_numpy(bins), torch.from_numpy(points), torch.from_numpy(strides))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160)])
def test_every_stride_has_a_point_in_the_middle_of_each_cell(height: int, width: int) -> None:
    with torch.inference_mode():
        predictions = NanoCsp().eval()(pixels(2, 1, height, width))
    count = sum((height // s) * (width // s) for s in (8, 16, 32))
    assert predictions.logits.shape == (2, count)
    assert predictions.bins.shape == (2, count, 4, BINS)
    assert predictions.mask_logits.shape == (2, 1, height // 8, width // 8)
    assert predictions.points_xy[0].tolist() == [4, 4]
    assert predictions.points_xy[1].tolist() == [12, 4]
    assert predictions.points_xy[-1].tolist() == [width - 16, height - 16]
    assert torch.equal(torch.unique(predictions.strides_px), torch.tensor([8.0, 16.0, 32.0]))


def test_an_untrained_detector_scores_about_one_in_a_hundred() -> None:
    with torch.inference_mode():
        predictions = NanoCsp().eval()(pixels(1, 1, 64, 64))
    assert 0.002 < float(predictions.logits.sigmoid().mean()) < 0.05


def _folded(model: torch.nn.Module) -> torch.nn.Module:
    """Random convolutions with "folded" normalisation, as published weights have them."""
    generator = torch.Generator().manual_seed(1)
    for block in model.modules():
        if isinstance(block, ConvBlock):
            weight = block.conv.weight
            block.load_folded(weight.detach().clone(), torch.randn(len(weight), generator=generator) * 0.1)
    return model.eval()


@torch.inference_mode()
def test_calibration_leaves_the_function_unchanged_and_normalises() -> None:
    model = _folded(CspBackbone())
    batches = [pixels(2, 1, 64, 64, seed=s) for s in range(3)]
    test = pixels(1, 1, 96, 64, seed=9)
    before = model(test)
    variances = [m.running_var.clone() for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    calibrate(model, batches)
    for mine, theirs in zip(model(test), before, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    after = [m.running_var for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(torch.allclose(a, b) for a, b in zip(variances, after, strict=True))
    stem = model.stem.conv(batches[0] * (255 / 57.5) - 112.8 / 57.5)
    normal = model.stem.norm
    values = torch.cat([model.stem.conv(b * (255 / 57.5) - 112.8 / 57.5) for b in batches])
    torch.testing.assert_close(normal.running_mean, values.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert stem.shape[1] == 32


def test_calibration_lets_training_start_where_inference_stands() -> None:
    """In training mode, on the same pictures, the normalised model gives nearly the same features."""
    model = _folded(CspBackbone())
    batch = pixels(8, 1, 64, 64)
    with torch.inference_mode():
        expected = model(batch)[2]
        calibrate(model, [batch])
        torch.testing.assert_close(model.train()(batch)[2], expected, rtol=1e-2, atol=1e-2)


def test_published_nanodet_weights_are_taken() -> None:
    if not NANODET.is_file():
        pytest.skip(f"no {NANODET.name} in ../shared/weights")
    torch.manual_seed(0)
    detector, unet = NanoCsp(), UNet(CspEncoder())
    assert start(detector, str(NANODET))
    assert start(unet, str(NANODET))
    state = torch.load(NANODET, map_location="cpu", weights_only=True)
    torch.testing.assert_close(detector.backbone.stem.conv.weight, state["stem.weight"].float().sum(1, keepdim=True))
    torch.testing.assert_close(detector.laterals[2].norm.bias, state["lat.2.bias"].float())
    torch.testing.assert_close(unet.encoder.stem.conv.weight, detector.backbone.stem.conv.weight)
    with torch.inference_mode():
        features = detector.eval().backbone(pixels(1, 1, 128, 128))
        assert all(torch.isfinite(f).all() and f.std() > 1e-3 for f in features)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "empty.pth").touch()
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("other", "text", "empty", "list"):
        with pytest.raises(ModelMismatch) as caught:
            start(NanoCsp(), str(tmp_path / f"{name}.pth"))
        assert caught.value.hint
