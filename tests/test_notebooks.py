"""The notebooks in examples/ run, and what is stored in them is what they show."""

import re
from pathlib import Path
from typing import Any

import pytest

import notebooks
from osteon.inference.pipeline import DETECTOR_FILE, GATE_FILE

PATHS = sorted(notebooks.FOLDER.glob("*.ipynb"))
MOST_BYTES = 150_000


def code_cells(notebook: notebooks.Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: dict[str, Any]) -> list[list[str]]:
    """What a cell shows: streams, and the forms of its value."""
    return [sorted(output.get("data", {output.get("name"): None})) for output in cell["outputs"]]


def test_there_are_three() -> None:
    assert [path.stem for path in PATHS] == ["analyse_a_film", "evaluate_on_your_data", "read_the_study"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_runs_and_shows_what_is_stored(path: Path) -> None:
    if not (GATE_FILE.is_file() and DETECTOR_FILE.is_file()):
        pytest.skip(f"no released models in {Path(*GATE_FILE.parts[-3:-1])}")
    stored = notebooks.read(path)
    ran = notebooks.run(stored)
    assert [kinds(cell) for cell in code_cells(ran)] == [kinds(cell) for cell in code_cells(stored)]
    assert any(cell["outputs"] for cell in code_cells(ran))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_is_small_and_holds_nothing_of_one_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert not re.search(r"/home/|/tmp/|/work/|shared/data|IMG\d{7}", text)
    notebook = notebooks.read(path)
    assert notebook["nbformat"] == 4 and notebook["nbformat_minor"] == 5
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert [cell["execution_count"] for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))


def test_a_cell_that_fails_fails_the_run() -> None:
    cells = [{"cell_type": "code", "source": ["x = 1\n", "x / 0"], "outputs": [], "execution_count": None}]
    with pytest.raises(ZeroDivisionError):
        notebooks.run({"cells": cells})


def test_cells_share_names_and_show_their_last_value() -> None:
    sources = ["x = 2\nprint('said')\nx", "x * 3", "x = 4"]
    cells = [{"cell_type": "code", "source": [source]} for source in sources]
    first, second, third = notebooks.run({"cells": cells})["cells"]
    assert first["outputs"][0]["text"] == ["said\n"]
    assert first["outputs"][1]["data"] == {"text/plain": ["2"]}
    assert second["outputs"][0]["data"] == {"text/plain": ["6"]}
    assert third["outputs"] == []
