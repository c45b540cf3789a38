"""The audit of a data set, and the commands of `osteon data`."""

import json
from pathlib import Path

import dataset_builders as build
import pytest
from click.testing import CliRunner

from osteon.cli.data import data
from osteon.datasets import coco, cvat, fracatlas, yolo
from osteon.datasets.audit import Audit, audit
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.manifest_file import read_manifest
from osteon.datasets.split import Split


def faulty(tmp_path: Path) -> Manifest:
    """A set with one fault of each kind."""

    def case(name: str, seed: int, instances: tuple[Instance, ...] | None = (), **known) -> Case:
        path = build.save(build.film(seed, 200, 160), tmp_path / name)
        return Case(name, path, instances=instances, **({"height_px": 200, "width_px": 160} | known))

    box = (10.0, 10.0, 50.0, 60.0)
    boxes = (Instance("fracture", box), Instance("fracture", (150.0, 20.0, 162.0, 30.0)), Instance("x", (5, 5, 5, 9)))
    cases = [
        case("boxes.png", 0, boxes, fractured=True, split="train", patient="p1"),
        case("same patient.png", 1, split="valid", patient="p1", fractured=False),
        case("original.png", 2, (Instance("fracture", box),), fractured=True, split="train"),
        case("copy.png", 2, fractured=False, split="valid"),
        case("kept copy.png", 2, (Instance("fracture", box),), fractured=True, split="train"),
        case("twin.png", 7, (Instance("fracture", box),), fractured=True),
        case("other twin.png", 7, (Instance("fracture", box),), fractured=True),
        case("unmarked.png", 3, None, fractured=True),
        case("wrong size.png", 4, height_px=160, width_px=200),
        case("turned.jpg", 5, height_px=160, width_px=200),
        case("cut.jpg", 6),
        Case("absent.png", tmp_path / "absent.png"),
    ]
    turned, cut = tmp_path / "turned.jpg", tmp_path / "cut.jpg"
    turned.write_bytes(build.with_orientation(turned.read_bytes(), 6))
    cut.write_bytes(build.truncated_jpeg(build.film(6, 200, 160), 0.6))
    return Manifest("faulty", tuple(cases), ("a remark",))


@pytest.fixture
def report(tmp_path: Path) -> Audit:
    return audit(faulty(tmp_path))


def test_each_fault_is_found_and_nothing_else(report: Audit) -> None:
    assert report.broken == (("cut.jpg", "truncated"), ("absent.png", "absent"))
    assert report.rotated == (("turned.jpg", 6),)
    assert report.wrong_sizes == ("wrong size.png",)
    opposite = ("copy.png", "kept copy.png", "original.png")
    assert report.duplicate_groups == (opposite, ("other twin.png", "twin.png"))
    assert report.opposite_labels == (opposite,)
    assert report.boxes_outside == (("boxes.png", 1),)
    assert report.boxes_degenerate == (("boxes.png", 2),)
    assert report.fractured_unmarked == ("unmarked.png",)
    assert report.leaks == (
        ("original.png", "copy.png", "one film"),
        ("copy.png", "kept copy.png", "one film"),
        ("boxes.png", "same patient.png", "one patient"),
    )


def test_cases_are_counted_by_label_part_and_body_part(report: Audit) -> None:
    assert report.counts["label"] == {"fractured": 6, "not fractured": 2, "unknown": 4}
    assert report.counts["split"] == {"": 7, "train": 3, "valid": 2}


def test_the_summary_and_the_json_tell_the_same(report: Audit) -> None:
    text, value = report.summary(), json.loads(json.dumps(report.to_json()))
    for figure, count in value["figures"].items():
        assert f"  {count} {figure}\n" in text
    assert "note: a remark" in text
    assert value["leaks"][0] == {"first": "original.png", "second": "copy.png", "why": "one film"}
    assert value["figures"]["broken files"] == len(value["broken"]) == 2


def test_a_sound_set_has_no_findings(tmp_path: Path) -> None:
    manifest = build.rich_manifest(tmp_path)
    figures = audit(manifest).figures
    assert sum(figures.values()) == 0


@pytest.fixture
def fracatlas_folder(tmp_path: Path) -> Path:
    return build.fracatlas(tmp_path / "FracAtlas")


def run(*arguments: object):
    return CliRunner().invoke(data, [str(argument) for argument in arguments], catch_exceptions=False)


def test_import_writes_a_manifest(fracatlas_folder: Path, tmp_path: Path) -> None:
    result = run("import", fracatlas_folder, "--out", tmp_path / "m.json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "note: 1 listed films are absent" in result.stderr
    assert build.facts(read_manifest(tmp_path / "m.json")) == build.facts(fracatlas.read(fracatlas_folder))


def test_import_gives_only_json_on_standard_output(fracatlas_folder: Path) -> None:
    result = run("import", fracatlas_folder)
    assert len(json.loads(result.stdout)["cases"]) == 5


def test_audit_tells_in_words_and_in_json(fracatlas_folder: Path, tmp_path: Path) -> None:
    result = run("audit", fracatlas_folder, "--json", tmp_path / "audit.json")
    assert "  1 broken files" in result.stdout
    assert json.loads((tmp_path / "audit.json").read_text())["broken"] == [{"name": "IMG4.jpg", "problem": "truncated"}]
    piped = run("audit", fracatlas_folder, "--json", "-")
    assert json.loads(piped.stdout)["cases"] == 5


def test_split_writes_a_split_that_reads_back(fracatlas_folder: Path, tmp_path: Path) -> None:
    result = run("split", fracatlas_folder, "--fractions", "0.6,0.4", "--seed", 1, "--out", tmp_path / "s.json")
    made = Split.read(tmp_path / "s.json")
    assert (result.stdout, made.seed, len(made.parts["train"])) == ("", 1, 3)
    folds = Split.from_json(json.loads(run("split", fracatlas_folder, "--folds", 2).stdout))
    assert sorted(folds.parts) == ["fold1", "fold2"]
    official = Split.from_json(json.loads(run("split", fracatlas_folder, "--official").stdout))
    assert "IMG1.jpg" in official.parts["train"]
    assert "IMG2.jpg" in official.parts["valid"]


def test_split_refuses_two_ways_at_once(fracatlas_folder: Path) -> None:
    result = run("split", fracatlas_folder, "--folds", 2, "--official")
    assert result.exit_code == 2
    assert "one of --fractions" in result.stderr


@pytest.mark.parametrize("target", ["coco", "cvat", "yolo", "voc"])
def test_convert_writes_every_format(tmp_path: Path, target: str) -> None:
    manifest = build.rich_manifest(tmp_path / "films")
    coco.write(manifest, tmp_path / "films" / "labels.json")
    place = tmp_path / ("to.xml" if target == "cvat" else "to.json" if target == "coco" else "to")
    result = run("convert", tmp_path / "films", place, "--to", target)
    assert (result.exit_code, result.stdout) == (0, "")
    if target == "coco":
        assert build.facts(coco.read(place, images=tmp_path / "films")) == build.facts(manifest)
    if target == "cvat":
        assert build.facts(cvat.read(place, images=tmp_path / "films")) == build.facts(manifest)
    if target == "yolo":
        assert len(yolo.read(place)) == 4
        assert "note: 2 regions to ignore are left out" in result.stderr
    if target == "voc":
        assert sorted(path.name for path in place.iterdir()) == ["film0.xml", "film1.xml", "film2.xml"]


@pytest.mark.parametrize("command", ["import", "audit", "split", "convert"])
def test_help_shows_examples(command: str) -> None:
    assert f"Examples:\n    osteon data {command} " in run(command, "--help").stdout
