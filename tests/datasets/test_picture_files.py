"""Where a named picture lies."""

import unicodedata
from pathlib import Path

import dataset_builders as build
import pytest

from osteon.datasets.picture_files import PictureIndex


def index(tmp_path: Path, *names: str) -> PictureIndex:
    for name in names:
        build.save(build.film(0, 8, 8), tmp_path / name)
    return PictureIndex(tmp_path)


@pytest.mark.parametrize("name", ["b/film.png", "task/b/film.png", "task\\b\\film.png", "images/b/film.png"])
def test_of_two_pictures_of_one_name_the_path_decides(tmp_path: Path, name: str) -> None:
    assert index(tmp_path, "images/a/film.png", "images/b/film.png").find(name) == tmp_path / "images/b/film.png"


def test_a_bare_name_is_enough_where_it_is_the_only_one(tmp_path: Path) -> None:
    assert index(tmp_path, "images/a/film.png").find("elsewhere/film.png") == tmp_path / "images/a/film.png"


def test_letters_taken_apart_are_the_same_letters(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "clé.png")
    assert index(tmp_path, f"images/{apart}").find("clé.png") == tmp_path / "images" / apart


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert index(tmp_path, "film.png").find("other.png") is None
