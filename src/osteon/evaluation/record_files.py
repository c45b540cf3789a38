"""Files of records: JSON lines, the first says of what; packed where the name ends in .gz."""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DAMAGED = (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError, IndexError)
"""What reading a file that holds no such records raises, its caller's reading of the lines too."""


def write_lines(file: Path, kind: str, version: int, origin: Mapping[str, Any], rows: Iterable[Any]) -> None:
    """The origin and a line for each row; a file that was there before is replaced only when all is written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [{kind: version} | dict(origin), *rows]
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines).encode()
    draft = file.with_name(file.name + ".draft")
    draft.write_bytes(gzip.compress(text, mtime=0) if file.suffix == ".gz" else text)
    draft.replace(file)


def read_lines(file: Path, kind: str, version: int) -> tuple[dict[str, Any], list[Any]]:
    """The origin and the rows; raises one of DAMAGED where the file holds none of this kind and version."""
    content = file.read_bytes()
    text = gzip.decompress(content) if file.suffix == ".gz" else content
    head, *rows = (json.loads(line) for line in text.splitlines() if line.strip())
    if head.pop(kind) != version:
        raise ValueError("another version")
    return head, rows
