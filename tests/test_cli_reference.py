"""docs/cli.md is what `--help` says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from osteon.cli import COMMANDS
from osteon.cli.reference import pages, reference

DOCUMENT = Path(__file__).parents[1] / "docs" / "cli.md"
PAGES = dict(pages())


def test_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == reference(), "run: python -m osteon.cli.reference > docs/cli.md"


def test_every_command_is_in_it() -> None:
    assert {f"osteon {name}" for name in COMMANDS} <= PAGES.keys()


@pytest.mark.parametrize("name", ["osteon", "osteon predict", "osteon train gate"])
def test_pages_equal_what_the_program_says(name: str) -> None:
    words = [str(Path(sys.executable).with_name("osteon")), *name.split()[1:], "--help"]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.rstrip() == PAGES[name].rstrip()


@pytest.mark.parametrize("name", [name for name, text in PAGES.items() if " COMMAND [ARGS]" not in text])
def test_every_page_has_an_example(name: str) -> None:
    assert f"\n    {name}" in PAGES[name]


@pytest.mark.parametrize("name", PAGES)
def test_no_option_is_there_twice(name: str) -> None:
    flags = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", PAGES[name], re.MULTILINE)
    assert "--help" in flags
    assert len(flags) == len(set(flags))
