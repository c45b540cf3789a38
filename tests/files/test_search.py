import os
from pathlib import Path

import pytest

import builders
from osteon.errors import InvalidImage
from osteon.files import find, read


@pytest.fixture
def folder(tmp_path: Path, picture: builders.Picture) -> Path:
    png, dicom = builders.raster(picture, "PNG"), builders.written(builders.dataset(picture))
    for name, data in {
        "b.png": png,
        "a.JPG": png,
        "study/IM0001": dicom,
        "study/IM.0002": dicom,
        "study/deep/c.dcm": dicom,
        "study/notes": b"plain text",
        "study/notes.txt": b"plain text",
        ".hidden.png": png,
        ".git/d.png": png,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def _names(folder: Path, *paths: str | Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find(paths)]


def test_a_folder_is_searched_through_in_order(folder: Path) -> None:
    found = ["a.JPG", "b.png", "study/IM.0002", "study/IM0001", "study/deep/c.dcm"]
    assert _names(folder, folder) == found
    assert _names(folder, str(folder)) == found


def test_patterns_files_and_folders_are_given_once_each(folder: Path) -> None:
    assert _names(folder, folder / "*.png", folder / "b.png", folder / "st*") == [
        "b.png",
        "study/IM.0002",
        "study/IM0001",
        "study/deep/c.dcm",
    ]
    assert _names(folder, folder / "**" / "*.dcm") == ["study/deep/c.dcm"]


def test_a_file_named_outright_is_given_whatever_its_ending(folder: Path) -> None:
    assert _names(folder, folder / "study/notes.txt") == ["study/notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    odd = folder / "hand[1].png"
    odd.write_bytes((folder / "b.png").read_bytes())
    assert _names(folder, odd) == ["hand[1].png"]


def test_what_is_missing_fails_when_read_and_lets_the_rest_go_on(folder: Path) -> None:
    missing, empty, good = find([folder / "absent.png", folder / "*.bmp", folder / "b.png"])
    for path in (missing, empty):
        with pytest.raises(InvalidImage, match=path.name.replace("*", r"\*")) as caught:
            read(path)
        assert caught.value.hint
    assert read(good)


def test_a_link_back_to_a_parent_does_not_loop(folder: Path) -> None:
    (folder / "study/loop").symlink_to(folder, target_is_directory=True)
    assert len(_names(folder, folder)) == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_locked_file_is_an_error_of_its_own(folder: Path) -> None:
    (folder / "b.png").chmod(0)
    with pytest.raises(InvalidImage, match="cannot open"):
        read(folder / "b.png")


def test_a_folder_or_device_is_not_read(folder: Path) -> None:
    for path in (folder, Path(os.devnull)):
        with pytest.raises(InvalidImage, match="not a regular file"):
            read(path)
