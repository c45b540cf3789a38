import hashlib
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import builders
import osteon.files
from osteon.errors import ImageTooLarge
from osteon.files import Limits, read, read_pages


def test_source_and_sha256_are_those_of_the_file(tmp_path: Path, picture: builders.Picture) -> None:
    data = builders.raster(picture, "PNG")
    path = tmp_path / "wrist.png"
    path.write_bytes(data)
    (by_path,), (by_name,), (unnamed,) = read(path), read(data, name="upload.png"), read(data)
    assert (by_path.source, by_name.source, unnamed.source) == (str(path), "upload.png", "image")
    assert by_path.sha256 == by_name.sha256 == hashlib.sha256(data).hexdigest()
    assert by_path.page == 0


def test_a_large_file_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    tracemalloc.start()
    try:
        with pytest.raises(ImageTooLarge, match="10240"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_pages_are_held_one_at_a_time() -> None:
    frames = np.random.default_rng(0).integers(0, 4096, (200, 256, 256), np.uint16)
    data = builders.written(builders.dataset(frames, NumberOfFrames=200, BitsStored=12, **builders.window()))
    iterator = read_pages(data, limits=Limits(max_pages=200))
    next(iterator)
    tracemalloc.start()
    try:
        for page in iterator:
            del page
        assert tracemalloc.get_traced_memory()[1] < len(data) / 10
    finally:
        tracemalloc.stop()


def test_reading_a_raster_picture_imports_no_dicom(tmp_path: Path, picture: builders.Picture) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(builders.raster(picture, "PNG"))
    code = (
        "import sys; from pathlib import Path; from osteon.files import read; read(Path(sys.argv[1]));"
        "print(sorted({'pydicom', 'imagecodecs', 'torch'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names() -> None:
    assert osteon.files.__all__ == ["Limits", "find", "read", "read_pages"]
