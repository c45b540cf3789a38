"""SegNet and the UNets."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from osteon.errors import ConfigurationError, ModelMismatch
from osteon.models.segnet import SegNet, unpool
from osteon.models.unet import MobileNetEncoder
from osteon.training.architectures import DETECTORS, GATES, build, start

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit
PARAMETERS = {
    "segnet": 935_681,
    "unet": 1_183_036,
    "unet-mobilenetv2": 2_196_100,
    "unet-csp": 3_826_020,
    "nanocsp": 4_201_128,
    "retinanet-r50": 32_201_069,
    "ssd300-vgg16": 23_745_908,
    "yolov8n": 3_011_027,
    "yolov8s": 11_135_971,
}
MOBILENET = (
    Path(__file__).parents[3] / "shared" / "weights" / "mobilenetv2_imagenet" / "mobilenet_v2_features_torchvision.pth"
)


@pytest.mark.parametrize("arch", [*GATES, *DETECTORS])
def test_the_number_of_parameters_is_known(arch: str) -> None:
    model = build("gate" if arch in GATES else "detector", arch)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[arch]


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (224, 224)])
@pytest.mark.parametrize("arch", GATES)
def test_the_mask_has_the_size_of_the_picture(arch: str, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = build("gate", arch).eval()(torch.rand(1, 1, *size))
    assert logits.shape == (1, 1, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("arch", GATES)
def test_every_parameter_learns(arch: str) -> None:
    model = build("gate", arch).train()
    model(torch.rand(2, 1, 64, 64)).square().mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert idle == []


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        build("gate", "resnet")
    assert "segnet" in caught.value.hint


def test_unpooling_is_that_by_indices_where_nothing_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randperm(2 * 3 * 8 * 12, generator=generator).float().reshape(2, 3, 8, 12)
    pooled, where = functional.max_pool2d(before, 2, return_indices=True)
    values = torch.rand(pooled.shape, generator=generator)
    assert torch.equal(unpool(values, pooled, before), functional.max_unpool2d(values, where, [2, 2], [2, 2]))


def _published(encoder: MobileNetEncoder) -> dict[str, torch.Tensor]:
    """Weights as torchvision publishes them: three colours, a last convolution, a classifier."""
    generator = torch.Generator().manual_seed(0)
    state = {
        f"features.{name}": torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in encoder.features.state_dict().items()
    }
    state["features.0.0.weight"] = torch.rand(32, 3, 3, 3, generator=generator)
    state["features.18.0.weight"] = torch.rand(1280, 320, 1, 1, generator=generator)
    state["classifier.1.weight"] = torch.rand(1000, 1280, generator=generator)
    return state


def test_mobilenet_takes_imagenet_weights_and_sums_the_colours() -> None:
    encoder = MobileNetEncoder()
    state = _published(encoder)
    encoder.load_imagenet(state)
    assert torch.equal(encoder.features[0][0].weight, state["features.0.0.weight"].sum(1, keepdim=True))
    assert torch.equal(encoder.features[17].conv[2].weight, state["features.17.conv.2.weight"])


def test_mobilenet_refuses_weights_with_a_part_missing_or_of_another_shape() -> None:
    encoder = MobileNetEncoder()
    state = _published(encoder)
    missing = {name: value for name, value in state.items() if name != "features.7.conv.2.weight"}
    with pytest.raises(RuntimeError):
        encoder.load_imagenet(missing)
    with pytest.raises(RuntimeError):
        encoder.load_imagenet(state | {"features.1.conv.1.weight": torch.zeros(2, 2, 1, 1)})
    with pytest.raises(RuntimeError):
        encoder.load_imagenet(state | {"features.3.more": torch.zeros(1)})


def test_published_mobilenet_weights_are_taken() -> None:
    if not MOBILENET.is_file():
        pytest.skip(f"no {MOBILENET.name} in ../shared/weights")
    assert start(build("gate", "unet-mobilenetv2"), str(MOBILENET))


def test_starting_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    torch.save(_published(MobileNetEncoder()), tmp_path / "mobilenet.pth")
    assert start(build("gate", "unet-mobilenetv2"), str(tmp_path / "mobilenet.pth"))
    with pytest.raises((ModelMismatch, ConfigurationError)):
        start(SegNet(), str(tmp_path / "mobilenet.pth"))
    with pytest.raises(ConfigurationError):
        start(SegNet(), "imagenet")
    with pytest.raises(ConfigurationError):
        start(SegNet(), str(tmp_path / "none.pth"))
    assert start(SegNet(), "none") is False
