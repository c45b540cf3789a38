"""A finder of single bones as one ONNX graph: first stage, suppression, regions and masks, all inside.

Torch exports the two stages, which have fixed shapes but for the number of boxes; what lies between them, choosing
boxes, is written here in ONNX' own operators and says the same as `models.instances.chosen`.
"""

import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn

from osteon.inference.card import METADATA_KEY, Card
from osteon.models.bones_csp import MASK_CELLS, BonesCsp, Trunk, regions_of, with_margin
from osteon.models.instances import ANY_CLASS_IOU, LEAST_SCORE, MOST_INSTANCES, SAME_CLASS_IOU, best_class
from osteon.training.export import OPSET, forget_machine

METAL = "metal"
BONE = "bone"
_BESIDE = 1e6
"""Where a box stands that is there only so that no tensor is empty; it is taken away again."""


class FirstStage(nn.Module):
    """Picture -> boxes, their best score, class and names, the scores by class, maps for masks, bone's and metal's."""

    def __init__(self, model: BonesCsp) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(1, 1, side, side) -> (1, n, 4), (n,), (n,) float labels, (1, c, n) zero but for the best class, maps, names.

        Names are (n, bone classes) probabilities.
        """
        trunk: Trunk = self.model(pixels, semantic=True)
        boxes, by_class = self.model.boxes(trunk)
        scores, labels = best_class(by_class[0])
        classes = torch.arange(by_class.shape[2])
        alone = torch.where(labels[None] == classes[:, None], scores[None], torch.zeros(()))
        odds = trunk.points.names[0].softmax(-1)
        said = (
            boxes,
            scores,
            labels.float(),
            alone[None],
            trunk.fine,
            trunk.edges,
            odds,
            self.model.bone(trunk)[:, 0].sigmoid(),
        )
        return said if self.model.metal_head is None else (*said, self.model.metal(trunk, pixels)[:, 0].sigmoid())


class SecondStage(nn.Module):
    """The maps, boxes and their labels -> places a little larger than the boxes, and the masks there."""

    def __init__(self, model: BonesCsp) -> None:
        super().__init__()
        self.head = model.mask_head

    def forward(self, fine: Tensor, edges: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Maps, (n, 4) in model pixels, (n,) float -> (n, 4), (n, MASK_CELLS, MASK_CELLS) probabilities."""
        places = with_margin(boxes)
        return places, cast(Tensor, self.head(*regions_of(fine, edges, places), labels.long())).sigmoid()


def export_bones(model: BonesCsp, path: Path, card: Card) -> None:
    """Write the model, in evaluation mode, as ONNX with its card inside.

    Outputs: `boxes` (1, n, 4) what the masks cover, in model pixels, `scores` (1, n), `labels` (1, n) index into the
    card's labels, `masks` (1, n, m, m) probabilities, `odds` (1, n, bone classes) probabilities of names; best first, n
    may be 0. `bone` (1, side / 4, side / 4) probabilities of any object; where metal is a class, `metal`
    (1, side / 2, side / 2) probabilities.
    """
    model = model.eval()
    pixels = torch.rand(1, 1, card.side_px, card.side_px)
    with torch.inference_mode():
        trunk = model(pixels)
        maps = (trunk.fine.clone(), trunk.edges.clone())
    names = ["all_boxes", "all_scores", "all_labels", "by_class", "fine", "edges", "all_odds", BONE]
    if model.metal_head is not None:
        names.append(METAL)
    first = _exported(FirstStage(model), (pixels,), ["pixels"], names, None)
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0], [8.0, 8.0, 64.0, 48.0]])
    some = torch.export.Dim("found", min=1, max=4 * MOST_INSTANCES)
    shapes = {"fine": None, "edges": None, "boxes": {0: some}, "labels": {0: some}}
    inputs = (*maps, boxes, torch.zeros(2))
    second = _exported(SecondStage(model), inputs, list(shapes), ["places", "masks"], shapes)
    onnx_model = _joined(first, compose.add_prefix(second, "masks/"))
    helper.set_model_props(onnx_model, {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(onnx_model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(onnx_model.SerializeToString())


def _exported(
    module: nn.Module, inputs: tuple[Tensor, ...], names: list[str], outputs: list[str], shapes: Any
) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of torch's own insides
        program: Any = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=shapes,
            verbose=False,
        )
    model = cast(onnx.ModelProto, program.model_proto)
    forget_machine(model)
    return model


def _joined(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """Both stages and the choice of boxes between them."""
    constants, choice = _choice()
    graph = helper.make_graph(
        [*first.graph.node, *choice, *second.graph.node, *_ending()],
        "bones",
        list(first.graph.input),
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, "n", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, "n"]),
            helper.make_tensor_value_info("labels", TensorProto.FLOAT, [1, "n"]),
            helper.make_tensor_value_info("masks", TensorProto.FLOAT, [1, "n", MASK_CELLS, MASK_CELLS]),
            helper.make_tensor_value_info("odds", TensorProto.FLOAT, [1, "n", None]),
            *(output for output in first.graph.output if output.name in (BONE, METAL)),
        ],
        [*first.graph.initializer, *second.graph.initializer, *constants],
    )
    return helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)


def _choice() -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """The boxes that stay, and one more beside the picture, as `masks/boxes`; see `models.instances.chosen`."""
    beside = np.array([[_BESIDE, _BESIDE, _BESIDE + 1, _BESIDE + 1]], np.float32)
    values: dict[str, Any] = {
        "most": np.array([MOST_INSTANCES], np.int64),
        "same_iou": np.array([SAME_CLASS_IOU], np.float32),
        "any_iou": np.array([ANY_CLASS_IOU], np.float32),
        "least": np.array([LEAST_SCORE], np.float32),
        "beside": beside,
        "nothing": np.zeros(1, np.float32),
        "box_column": np.array(2, np.int64),
        "axis0": np.array([0], np.int64),
        "axis01": np.array([0, 1], np.int64),
        "front": np.array([0], np.int64),
        "last": np.array([-1], np.int64),
    }
    node = helper.make_node
    return [numpy_helper.from_array(value, name) for name, value in values.items()], [
        node("NonMaxSuppression", ["all_boxes", "by_class", "most", "same_iou", "least"], ["survivors"]),
        node("Gather", ["survivors", "box_column"], ["survivor"], axis=1),
        node("Squeeze", ["all_boxes", "axis0"], ["boxes_2d"]),
        node("Gather", ["boxes_2d", "survivor"], ["survivor_boxes"]),
        node("Gather", ["all_scores", "survivor"], ["survivor_scores"]),
        node("Gather", ["all_labels", "survivor"], ["survivor_labels"]),
        node("Gather", ["all_odds", "survivor"], ["survivor_odds"]),
        node("Concat", ["survivor_boxes", "beside"], ["some_boxes"], axis=0),
        node("Concat", ["survivor_scores", "nothing"], ["some_scores"], axis=0),
        node("Unsqueeze", ["some_boxes", "axis0"], ["some_boxes_3d"]),
        node("Unsqueeze", ["some_scores", "axis01"], ["some_scores_3d"]),
        node("NonMaxSuppression", ["some_boxes_3d", "some_scores_3d", "most", "any_iou", "least"], ["kept"]),
        node("Gather", ["kept", "box_column"], ["keep"], axis=1),
        node("Gather", ["survivor_boxes", "keep"], ["final_boxes"]),
        node("Gather", ["survivor_scores", "keep"], ["final_scores"]),
        node("Gather", ["survivor_labels", "keep"], ["final_labels"]),
        node("Gather", ["survivor_odds", "keep"], ["final_odds"]),
        node("Concat", ["final_boxes", "beside"], ["masks/boxes"], axis=0),
        node("Concat", ["final_labels", "nothing"], ["masks/labels"], axis=0),
        node("Identity", ["fine"], ["masks/fine"]),
        node("Identity", ["edges"], ["masks/edges"]),
    ]


def _ending() -> list[onnx.NodeProto]:
    """The outputs with their batch axis, without the box beside the picture."""
    node = helper.make_node
    return [
        node("Slice", ["masks/masks", "front", "last", "axis0"], ["final_masks"]),
        node("Slice", ["masks/places", "front", "last", "axis0"], ["final_places"]),
        node("Unsqueeze", ["final_places", "axis0"], ["boxes"]),
        node("Unsqueeze", ["final_scores", "axis0"], ["scores"]),
        node("Unsqueeze", ["final_labels", "axis0"], ["labels"]),
        node("Unsqueeze", ["final_masks", "axis0"], ["masks"]),
        node("Unsqueeze", ["final_odds", "axis0"], ["odds"]),
    ]
