"""A folder of pictures and models that every command may use."""

from pathlib import Path

import cv2
import pytest

import models

WORDS = list[str | Path]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> models.ModelFiles:
    return models.model_files(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def bones_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.bones_file(tmp_path_factory.mktemp("bones"))


@pytest.fixture(scope="session")
def with_models(files: models.ModelFiles) -> WORDS:
    """The options that put the drawn models in."""
    return ["--gate", files.gate, "--detector", files.detector]


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fracture.png, doubt.png, deeper/healthy.tiff, photograph.jpg."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "deeper").mkdir()
    for name, spot in (("fracture.png", 255), ("doubt.png", 200), ("deeper/healthy.tiff", 150)):
        assert cv2.imwrite(str(folder / name), models.radiograph_pixels(900, 700, spot=spot))
    assert cv2.imwrite(str(folder / "photograph.jpg"), models.photograph_pixels())
    return folder
