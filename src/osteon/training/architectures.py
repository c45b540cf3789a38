"""Names of architectures, and how each starts: from scratch, from a weight file, or from ImageNet by torchvision."""

import importlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, cast

import torch
from torch import Tensor, nn

from osteon.errors import ConfigurationError, ModelMismatch
from osteon.models import csp, maskrcnn, points, retinanet, ssd, yolov8
from osteon.models.bone_judge import BoneJudge
from osteon.models.bones_csp import BonesCsp
from osteon.models.criteria import DetectionTargets, detection_loss
from osteon.models.csp import CspBackbone
from osteon.models.nanocsp import NanoCsp
from osteon.models.segnet import SegNet
from osteon.models.unet import CspEncoder, MobileNetEncoder, PlainEncoder, UNet
from osteon.models.vision import torchvision
from osteon.training.checkpoint import Checkpoint
from osteon.training.released import load_released

Kind = TypeVar("Kind")

GATES: dict[str, Callable[[], nn.Module]] = {
    "segnet": SegNet,
    "unet": lambda: UNet(PlainEncoder()),
    "unet-mobilenetv2": lambda: UNet(MobileNetEncoder()),
    "unet-csp": lambda: UNet(CspEncoder()),
}
BONES: dict[str, Callable[[int, int], nn.Module]] = {
    "bones-csp": lambda _side_px, classes: BonesCsp(classes),
    "maskrcnn-csp": maskrcnn.csp,
    "maskrcnn-r50": maskrcnn.resnet50,
}
"""(side of the whole input in pixels, number of classes) -> a model with `losses` and `instances`; see `bones_csp`."""
JUDGES: dict[str, Callable[[], nn.Module]] = {"csp": BoneJudge}


@dataclass(frozen=True)
class Detector:
    """A detector architecture, its parts apart; training, validation and export know no more of it.

    Attributes:
        build: side of the whole input in pixels -> the model, which takes (b, 1, h, w) in [0, 1].
        criterion: (what the model gives, targets) -> named parts of the loss; runs under autocast.
        decode: what the model gives -> (b, n, 4) boxes in model pixels and (b, n) scores in [0, 1], before
            non-maximum suppression, which is not the model's.
        fresh: beginnings of the names of parameters that no starting weights hold.
        cell_px: sides must be a multiple of it.
        strides_px: levels of its points, in the order of what it decodes; empty where boxes come from anchors.
    """

    build: Callable[[int], nn.Module]
    criterion: Callable[[Any, DetectionTargets], dict[str, Tensor]]
    decode: Callable[[Any], tuple[Tensor, Tensor]]
    fresh: tuple[str, ...]
    cell_px: int = 32
    strides_px: tuple[int, ...] = ()


DETECTORS: dict[str, Detector] = {
    "nanocsp": Detector(
        lambda _: NanoCsp(),
        detection_loss,
        points.boxes_and_scores,
        fresh=("class_heads", "mask_head"),
        strides_px=csp.STRIDES,
    ),
    "retinanet-r50": Detector(
        retinanet.RetinaNet, retinanet.retinanet_loss, retinanet.boxes_and_scores, fresh=retinanet.FRESH
    ),
    "ssd300-vgg16": Detector(ssd.SsdVgg16, ssd.ssd_loss, ssd.boxes_and_scores, fresh=ssd.FRESH, cell_px=1),
    "yolov8n": Detector(
        lambda _: yolov8.nano(),
        yolov8.yolo_loss,
        points.boxes_and_scores,
        fresh=("class_heads", "box_heads"),
        strides_px=yolov8.STRIDES,
    ),
    "yolov8s": Detector(
        lambda _: yolov8.small(),
        yolov8.yolo_loss,
        points.boxes_and_scores,
        fresh=("class_heads", "box_heads"),
        strides_px=yolov8.STRIDES,
    ),
}
SCRATCH = "none"
IMAGENET = "imagenet"
COCO = "coco"


def build(task: str, arch: str, *, side_px: int = 640, classes: int = 1) -> nn.Module:
    """A model with random weights.

    Args:
        side_px: of the whole input; some detectors choose their anchors by it.
        classes: of objects, for models of single bones.

    Raises:
        ConfigurationError: an unknown name (the known ones are listed), or a side that the architecture cannot take.
    """
    if task in ("gate", "bone-judge"):
        return _known(GATES if task == "gate" else JUDGES, task, arch)()
    if task == "bones":
        return _known(BONES, task, arch)(side_px, classes)
    family = _known(DETECTORS, task, arch)
    if side_px % family.cell_px:
        raise ConfigurationError(
            f"{arch} takes sides that are multiples of {family.cell_px}, not {side_px}",
            hint=f"take {side_px // family.cell_px * family.cell_px or family.cell_px}",
        )
    return family.build(side_px)


def _known(architectures: Mapping[str, Kind], task: str, arch: str) -> Kind:
    if arch not in architectures:
        raise ConfigurationError(f"unknown {task} architecture '{arch}'", hint=f"known: {', '.join(architectures)}")
    return architectures[arch]


def start(model: nn.Module, weights: str) -> bool:
    """Load starting weights in place; True where there were any.

    Args:
        weights: "none"; "imagenet" (downloaded by torchvision, for MobileNetV2, VGG16 and ResNet-50); "coco" (the same,
            for Mask R-CNN on ResNet-50); or a file: an Osteon checkpoint of the same architecture, a released model
            (ONNX), or the published weights of the model or of its backbone.

    Raises:
        ConfigurationError: no such file, or no such weights for this architecture.
        ModelMismatch: the file's weights fit no part of the model.
    """
    if weights == SCRATCH:
        return False
    if weights == IMAGENET:
        _load_imagenet(model)
        return True
    if weights == COCO:
        _load_coco(model)
        return True
    path = Path(weights)
    if not path.is_file():
        raise ConfigurationError(f"no weight file {weights}", hint="give a path, 'imagenet', 'coco' or 'none'")
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
    elif isinstance(model, NanoCsp | BonesCsp):
        model.load_nanodet(state)
    elif isinstance(model, maskrcnn.MaskRcnn):
        model.load_published(state)
    elif isinstance(model, ssd.SsdVgg16 | retinanet.RetinaNet):
        model.load_imagenet(state)
    elif isinstance(encoder := getattr(model, "encoder", None), CspBackbone):
        encoder.load_nanodet(state)
    else:
        _encoder(model, MobileNetEncoder).load_imagenet(state)


def _load_imagenet(model: nn.Module) -> None:
    """Take ImageNet weights from torchvision, which downloads them where they are not there yet."""
    if isinstance(model, ssd.SsdVgg16):
        model.load_imagenet(_downloaded("VGG16_Weights", "IMAGENET1K_FEATURES"))
    elif isinstance(model, retinanet.RetinaNet):
        model.load_imagenet(_downloaded("ResNet50_Weights", "IMAGENET1K_V1"))
    elif _on_resnet(model):
        model.load_published(_downloaded("ResNet50_Weights", "IMAGENET1K_V1"))
    else:
        _encoder(model, MobileNetEncoder).load_imagenet(_downloaded("MobileNet_V2_Weights", "IMAGENET1K_V1"))


def _load_coco(model: nn.Module) -> None:
    """Take Mask R-CNN as torchvision trained it on COCO, downloaded where it is not there yet."""
    if not _on_resnet(model):
        raise ConfigurationError(
            "torchvision's COCO weights are for another architecture", hint="use --arch maskrcnn-r50, or --weights none"
        )
    model.load_published(_downloaded("detection.MaskRCNN_ResNet50_FPN_Weights", "COCO_V1"))


def _on_resnet(model: nn.Module) -> TypeGuard[maskrcnn.MaskRcnn]:
    return isinstance(model, maskrcnn.MaskRcnn) and isinstance(model.backbone, maskrcnn.ResNetBody)


def _encoder(model: nn.Module, kind: type[MobileNetEncoder]) -> MobileNetEncoder:
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, kind):
        raise ConfigurationError(
            "these starting weights are for another architecture",
            hint="use --arch unet-mobilenetv2, ssd300-vgg16, retinanet-r50 or maskrcnn-r50, or --weights none",
        )
    return encoder


def _downloaded(kind: str, name: str) -> dict[str, Tensor]:
    torchvision()
    weights = attrgetter(kind)(importlib.import_module("torchvision.models"))[name]
    return cast(dict[str, Tensor], weights.get_state_dict(progress=True))
