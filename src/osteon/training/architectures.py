"""Names of architectures, and how each starts: from scratch, from a weight file, or from ImageNet by torchvision."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from osteon.errors import ConfigurationError, ModelMismatch
from osteon.models.csp import CspBackbone
from osteon.models.nanocsp import NanoCsp
from osteon.models.segnet import SegNet
from osteon.models.unet import CspEncoder, MobileNetEncoder, PlainEncoder, UNet
from osteon.models.vision import torchvision
from osteon.training.checkpoint import Checkpoint
from osteon.training.released import load_released

GATES: dict[str, Callable[[], nn.Module]] = {
    "segnet": SegNet,
    "unet": lambda: UNet(PlainEncoder()),
    "unet-mobilenetv2": lambda: UNet(MobileNetEncoder()),
    "unet-csp": lambda: UNet(CspEncoder()),
}
DETECTORS: dict[str, Callable[[], nn.Module]] = {"nanocsp": NanoCsp}
SCRATCH = "none"
IMAGENET = "imagenet"


def build(task: str, arch: str) -> nn.Module:
    """A model with random weights; raises ConfigurationError for an unknown name, listing the known ones."""
    known = {"gate": GATES, "detector": DETECTORS}[task]
    if arch not in known:
        raise ConfigurationError(f"unknown {task} architecture '{arch}'", hint=f"known: {', '.join(known)}")
    return known[arch]()


def start(model: nn.Module, weights: str) -> bool:
    """Load starting weights in place; True where there were any.

    Args:
        weights: "none"; "imagenet" (downloaded by torchvision, for MobileNetV2 encoders); or a file: an Osteon
            checkpoint of the same architecture, a released model (ONNX), or the published weights of the model's
            backbone.

    Raises:
        ConfigurationError: no such file, or no ImageNet weights for this architecture.
        ModelMismatch: the file's weights fit no part of the model.
    """
    if weights == SCRATCH:
        return False
    if weights == IMAGENET:
        _encoder(model, MobileNetEncoder).load_imagenet(_downloaded_mobilenet())
        return True
    path = Path(weights)
    if not path.is_file():
        raise ConfigurationError(f"no weight file {weights}", hint="give a path, 'imagenet' or 'none'")
    if path.suffix == ".onnx":
        load_released(model, path)
        return True
    try:
        _load(model, _state(path))
    except (KeyError, ValueError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise ModelMismatch(
            f"the weights in {path.name} do not fit this architecture", hint="give weights of the same backbone"
        ) from error
    return True


def _state(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, dict) and "weights" in state and "arch" in state:
        return Checkpoint.read(path).weights
    return {name: value.float() for name, value in state.items()}


def _load(model: nn.Module, state: dict[str, Tensor]) -> None:
    if state.keys() == model.state_dict().keys():
        model.load_state_dict(state)
    elif isinstance(model, NanoCsp):
        model.load_nanodet(state)
    elif isinstance(encoder := getattr(model, "encoder", None), CspBackbone):
        encoder.load_nanodet(state)
    else:
        _encoder(model, MobileNetEncoder).load_imagenet(state)


def _encoder(model: nn.Module, kind: type[MobileNetEncoder]) -> MobileNetEncoder:
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, kind):
        raise ConfigurationError(
            "these starting weights are for a MobileNetV2 encoder",
            hint="use --arch unet-mobilenetv2, or --weights none",
        )
    return encoder


def _downloaded_mobilenet() -> dict[str, Tensor]:
    torchvision()
    from torchvision.models import MobileNet_V2_Weights

    return cast(dict[str, Tensor], MobileNet_V2_Weights.IMAGENET1K_V1.get_state_dict(progress=True))
