"""Float ONNX -> 8-bit ONNX by static calibration: the same model two to four times cheaper to run.

Weights and activations become QDQ pairs (ONNX Runtime's static quantisation, Jacob et al. 2018). The outputs' last
convolutions, and the first stages, stay in float: a box, and a finger, is won or lost by a pixel.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from osteon.inference.card import METADATA_KEY

QUANTISED = ("Conv", "LeakyRelu", "Relu", "Clip", "Concat", "MaxPool", "Add", "Resize")
OUTPUT_WEIGHTS = (
    "class_heads",
    "box_heads",
    "mask_head",
    "classification_head",
    "regression_head",
    "model.head.weight",
)
FINE_WEIGHTS = tuple(
    f"{part}.{stage}." for part in ("encoder", "backbone") for stage in ("stem", "stages.0", "stages.1")
)
"""The first stages of gate and detector, which stay in float with all between their convolutions."""
WITHIN_STAGES = ("LeakyRelu", "Relu", "Clip", "Concat", "MaxPool")
Square = NDArray[np.float32]


class Squares(CalibrationDataReader):  # type: ignore[misc]
    """Calibration pictures, (side, side) float32 each, one at a time."""

    def __init__(self, squares: Sequence[Square], name: str) -> None:
        self._squares: Iterator[Square] = iter(squares)
        self._name = name

    def get_next(self) -> dict[str, Square] | None:
        """The next picture as the model's input, None at the end."""
        square = next(self._squares, None)
        return None if square is None else {self._name: square[None, None]}


def quantise(source: Path, target: Path, squares: Sequence[Square]) -> None:
    """Write the 8-bit model with the card of the float one.

    Args:
        source: float model with its card.
        target: file to write.
        squares: calibration pictures as `preprocess.letterbox` gives them; of the training part, never of validation.
    """
    card = next(entry.value for entry in onnx.load(source).metadata_props if entry.key == METADATA_KEY)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        quant_pre_process(source, plain, skip_symbolic_shape=True)
        model = onnx.load(plain)
        quantize_static(
            plain,
            target,
            Squares(squares, model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=_float_nodes(model),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.05},
        )
    model = onnx.load(target)
    onnx.helper.set_model_props(model, {METADATA_KEY: card})
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString())


def _float_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that stay in float: the chosen convolutions, what lies between those of the first stages, and
    all that is made of the last ones' outputs.

    For what follows them is joined with boxes in pixels: in 8 bit over 640 px these would move in steps of 2.7 px.
    """
    names, made, fine = [], set[str](), set[str]()
    for node in model.graph.node:  # in the order of computation
        weights = node.input[1] if node.op_type == "Conv" else ""
        last = any(part in weights for part in OUTPUT_WEIGHTS)
        within = node.op_type in WITHIN_STAGES and fine.issuperset(node.input)
        if last or made.intersection(node.input):
            made.update(node.output)
            names.append(node.name)
        elif within or any(part in weights for part in FINE_WEIGHTS):
            fine.update(node.output)
            names.append(node.name)
    return names
