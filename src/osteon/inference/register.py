"""A detector of somebody else's becomes one that Osteon can use: a copy of its file, with a card."""

from dataclasses import replace
from pathlib import Path

from osteon.errors import ModelMismatch
from osteon.inference.card import METADATA_KEY, Card
from osteon.inference.layouts import fracture_classes, recognised
from osteon.inference.session import read_card, trial

_METADATA_FIELD = 14
"""Of ONNX's ModelProto, a list of (key, value); https://github.com/onnx/onnx/blob/main/onnx/onnx.proto."""


def register(file: Path, out: Path, card: Card) -> Card:
    """Write a copy of a YOLO model with its card inside; the card, with the layout that its output shows.

    Args:
        file: ONNX export of a YOLO detector, with or without suppression inside, with all weights in the one file.
        out: file to write.
        card: everything but `layout`; `side_px` 0 takes the side that the model itself says.

    Raises:
        ModelMismatch: no ONNX model, one that has a card, a picture of that side does not fit, its output is that of
            no known layout, or no label means a fracture.
    """
    fracture_classes(card.labels)
    side_px, shapes = trial(file, side_px=card.side_px)
    if len(shapes) != 1:
        raise ModelMismatch(
            f"{file.name} has {len(shapes)} outputs, expected one", hint="give a detector, not one with masks or poses"
        )
    card = replace(card, side_px=side_px, layout=recognised(shapes[0], card.labels))
    content = file.read_bytes() + _metadata(METADATA_KEY, card.to_json())
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".part")
    try:
        unfinished.write_bytes(content)
        read_card(unfinished)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return card


def _metadata(key: str, value: str) -> bytes:
    """An entry of the metadata as protobuf writes it. Two messages after one another are one message with all entries,
    so the rest of the file stays as it is, and no library for ONNX is needed.
    """
    entry = _field(1, key.encode()) + _field(2, value.encode())
    return _field(_METADATA_FIELD, entry)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the low ones first.

    >>> _varint(300).hex()
    'ac02'
    """
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
