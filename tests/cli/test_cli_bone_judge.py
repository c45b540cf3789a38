"""`osteon evaluate bone-judge` through the installed script; `osteon train bone-judge` is run in tests/training."""

import json
from pathlib import Path

import pytest
from terminal import osteon

import bone_judges
from osteon.datasets.split import Split
from osteon.datasets.synthetic import ANNOTATION_FILE, write_dataset


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn films, their split into two folds, and a hand-made judge for each."""
    folder = tmp_path_factory.mktemp("drawn")
    manifest = write_dataset(folder, count=6, height_px=110, width_px=90)
    names = [case.name for case in manifest]
    folds = Split("drawn", {"fold1": tuple(names[:3]), "fold2": tuple(names[3:])}, 0, "by hand")
    folds.write(folder / "folds.json")
    for name in folds.parts:
        bone_judges.write_judge(folder / f"{name}.onnx", split_hash=folds.fold(name).hash)
    return folder


def words(drawn: Path, crops: Path) -> list[str | Path]:
    data = ["--data", drawn, "--bones", drawn / ANNOTATION_FILE, "--split", drawn / "folds.json"]
    return [*data, "--crops", crops]


def test_judges_of_all_folds_are_measured_together(drawn: Path, tmp_path: Path) -> None:
    models = [drawn / "fold1.onnx", drawn / "fold2.onnx"]
    done = osteon("evaluate", "bone-judge", *models, *words(drawn, tmp_path), "--samples", "20")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert (found["films"], found["fractured"]) == (6, 3)
    assert [row["part"] for row in found["by_part"]] == ["fold1", "fold2"]
    assert found["by_film"]["auroc"].keys() == {"judge"}
    assert (tmp_path / "table.json").is_file()


def test_a_judge_of_no_fold_is_wrong_use(drawn: Path, tmp_path: Path) -> None:
    other = bone_judges.write_judge(tmp_path / "other.onnx")
    done = osteon("evaluate", "bone-judge", other, *words(drawn, tmp_path / "crops"))
    assert done.status == 2
    assert "no fold of this split" in done.err
