"""XML annotation files, read without document types and entities, so that a hostile file can do no harm."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from xml.parsers import expat

from osteon.errors import InvalidDataset


class _DocumentTypeError(Exception):
    """The file declares a document type."""


def parse(file: Path) -> ET.Element:
    """The root element.

    Raises:
        InvalidDataset: unreadable, no XML, or with a document type (entities could expand without end or read files).
    """
    try:
        data = file.read_bytes()
        _refuse_document_type(data)
        return ET.fromstring(data)
    except _DocumentTypeError as error:
        raise InvalidDataset(
            f"{file.name} declares a document type, which annotation files never need",
            hint="remove the <!DOCTYPE ...> part if you trust the file",
        ) from error
    except (OSError, expat.ExpatError, ET.ParseError, ValueError) as error:
        raise InvalidDataset(f"{file.name} is no readable XML", hint="export the annotations again") from error


def _refuse_document_type(data: bytes) -> None:
    def refuse(*_: Any) -> None:
        raise _DocumentTypeError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)


def write(root: ET.Element, file: Path) -> None:
    """The element tree as an indented UTF-8 file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    ET.indent(root)
    file.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
