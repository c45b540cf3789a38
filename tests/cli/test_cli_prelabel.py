"""`osteon data prelabel` and `osteon data check`."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

import models
from osteon.cli import main


def osteon(*words: str | Path) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(main, [*map(str, words)], prog_name="osteon")


@pytest.fixture(scope="module")
def with_bones(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The options that put the drawn models in."""
    folder = tmp_path_factory.mktemp("bones")
    return ["--bones", models.bones_file(folder), "--gate", models.model_files(folder).gate]


@pytest.fixture(scope="module")
def some_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film, a copy of it in another folder, another film, and a photograph."""
    folder = tmp_path_factory.mktemp("some films")
    (folder / "copy").mkdir()
    film = models.radiograph_pixels(450, 350)
    for name, pixels in (
        ("ladón.png", film),
        ("copy/ladón.png", film),
        ("other.png", np.roll(film, 90, axis=1)),
        ("photograph.png", models.photograph_pixels(120, 160)),
    ):
        (folder / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder


def test_bones_are_written_for_correction_and_taken_back(
    with_bones: list[str | Path], some_films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = osteon("data", "prelabel", some_films, "--out", out, *with_bones)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(out / "annotations.xml")
    assert "1 pictures are no radiographs" in done.stderr
    back = osteon("data", "import", out / "annotations.xml", "--out", tmp_path / "back.json")
    assert back.exit_code == 0, back.output
    cases = json.loads((tmp_path / "back.json").read_text("utf-8"))["cases"]
    assert [case["name"] for case in cases] == ["copy/ladón.png", "ladón.png", "other.png"]
    assert [item["label"] for item in cases[1]["instances"]] == ["radius", "carpals"]
    assert all(models.LEAST_BONE_SCORE <= item["score"] <= 1 for case in cases for item in case["instances"])


def test_the_most_uncertain_films_are_chosen_and_all_are_ranked(
    with_bones: list[str | Path], some_films: Path, tmp_path: Path
) -> None:
    choice = ["--select", "uncertain", "--count", "2"]
    done = osteon("data", "prelabel", some_films, "--out", tmp_path, *choice, *with_bones)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "uncertain.csv").read_text("utf-8").splitlines()))
    assert [row["chosen"] for row in rows] == ["yes", "yes", "no"]
    assert {row["name"].rsplit("/", 1)[-1] for row in rows if row["chosen"] == "yes"} == {"ladón.png", "other.png"}
    assert rows[2]["why"].startswith("shows the film ")
    written = json.loads((tmp_path / "annotations.json").read_text("utf-8"))["images"]
    assert [image["file_name"] for image in written] == [row["name"] for row in rows if row["chosen"] == "yes"]


def test_select_without_count_is_wrong_use(some_films: Path, tmp_path: Path) -> None:
    done = osteon("data", "prelabel", some_films, "--out", tmp_path, "--select", "uncertain")
    assert (done.exit_code, "--count" in done.stderr) == (2, True)


def test_a_broken_film_is_named_and_the_others_are_written(with_bones: list[str | Path], tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "good.png").write_bytes(cv2.imencode(".png", models.radiograph_pixels(450, 350))[1].tobytes())
    (folder / "broken.png").write_bytes(b"\x89PNG")
    done = osteon("data", "prelabel", folder, "--out", tmp_path / "out", *with_bones)
    assert done.exit_code == 1
    assert "broken.png" in done.stderr
    assert (tmp_path / "out/images/good.png").is_file()


def test_what_an_earlier_run_wrote_is_no_film(with_bones: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(cv2.imencode(".png", models.radiograph_pixels(450, 350))[1].tobytes())
    for _ in range(2):
        done = osteon("data", "prelabel", tmp_path, "--format", "films", "--out", tmp_path, *with_bones)
        assert done.stderr.endswith("2 bones on 1 films\n"), done.output


def test_faults_of_outlines_are_told_and_so_is_a_card_that_counts_otherwise(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "IMG0003300.jpg", "width": 9, "height": 9}],
        "annotations": [],
        "categories": [{"id": 1, "name": "radius"}],
    }
    file = tmp_path / "bones.json"
    file.write_text(json.dumps(document))
    done = osteon("data", "check", file)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == ["IMG0003300.jpg is withheld", "IMG0003300.jpg has no outline"]
    (tmp_path / "README.md").write_text("| radius | 7 | 1 |\n")
    assert "the card says" in osteon("data", "check", file).stdout
