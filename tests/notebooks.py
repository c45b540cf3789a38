"""Notebooks without Jupyter: their code cells run one after another, and what they show is stored as Jupyter stores it.

`python tests/notebooks.py` runs all in examples/ and writes their outputs anew.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "examples"
_KINDS = {
    "image/svg+xml": "_repr_svg_",
    "text/markdown": "_repr_markdown_",
    "image/jpeg": "_repr_jpeg_",
}
Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    value: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return value


def run(notebook: Notebook) -> Notebook:
    """The notebook with the outputs of its code cells, run in one namespace with examples/ as working directory."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, number = [], 0
    before = Path.cwd()
    os.chdir(FOLDER)
    try:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                number += 1
                outputs = _run_cell("".join(cell["source"]), names, number)
                cell = cell | {"execution_count": number, "outputs": outputs}
            cells.append(cell)
    finally:
        os.chdir(before)
    return notebook | {"cells": cells}


def _run_cell(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names) if last else None
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())})
    if value is not None:
        shown = {"data": _shown(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}
        outputs.append(shown)
    return outputs


def _shown(value: Any) -> dict[str, Any]:
    for kind, method in _KINDS.items():
        content = getattr(value, method)() if hasattr(value, method) else None
        if isinstance(content, bytes):
            return {kind: base64.b64encode(content).decode() + "\n", "text/plain": [f"<{type(value).__name__}>"]}
        if content:
            return {kind: _lines(content), "text/plain": [f"<{type(value).__name__}>"]}
    return {"text/plain": _lines(repr(value))}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def write(notebook: Notebook, path: Path) -> None:
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        write(run(read(path)), path)
        sys.stderr.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
