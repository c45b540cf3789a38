"""From a reader's answer to a data set that trains: nothing lost, nothing of the sender."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from serving import Running, radiograph, running

import models
from osteon.cli import main
from osteon.datasets.case import Case, Manifest
from osteon.datasets.recognise import open_dataset
from osteon.errors import ConfigurationError
from osteon.evaluation.judge import truth_boxes, truth_known
from osteon.service.answers import AnswerBox, Answers, Reading
from osteon.service.feedback_export import Exported, export_feedback
from osteon.service.settings import Settings

CANARY = "Ivanov^Canary^1950"
DRAWN = (20.25, 30.5, 60.75, 90.0)
ADDED = (200.0, 300.0, 240.0, 340.5)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, model_files: models.ModelFiles) -> Iterator[Running]:
    """Eight pages with answers of every kind."""
    folder = tmp_path_factory.mktemp("answered")
    with ExitStack() as stack:
        server = stack.enter_context(
            running(Settings(data_dir=folder, gate=model_files.gate, detector=model_files.detector))
        )
        answers = Answers(server.service.store.database)

        def read(spot: int, verdict: Any, *boxes: AnswerBox, study: str = "", content: bytes = b"") -> None:
            analysis = server.analysed(content or radiograph(spot=spot), name=f"{CANARY}-{spot}.png")
            assert len(analysis["findings"]["fractures"]) == 1
            model = tuple(analysis["findings"]["fractures"][0]["box_xyxy_px"])
            given = tuple(AnswerBox(model, b.status, b.of) if b.box_xyxy_px == MODELS else b for b in boxes)
            answers.add(analysis["id"], Reading(1, verdict, f"of {CANARY}", given), author="reader-7")

        read(255, "fracture", AnswerBox(MODELS, "accepted", 0), AnswerBox(ADDED, "added"))
        read(250, "fracture", AnswerBox(DRAWN, "redrawn", 0))
        read(245, "fracture", AnswerBox(MODELS, "rejected", 0), AnswerBox(ADDED, "added"))
        read(240, "no_fracture", AnswerBox(MODELS, "rejected", 0))
        read(235, "fracture", AnswerBox(ADDED, "added"))
        read(230, "fracture")
        read(225, "unsure", AnswerBox(MODELS, "accepted", 0))
        read(220, "unusable")
        read(215, "no_fracture")
        read(215, "fracture", AnswerBox(DRAWN, "redrawn", 0))
        yield server


MODELS = (0.0, 0.0, 0.0, 0.0)
"""Stands for the model's own box."""


@pytest.fixture(scope="module")
def exported(answered: Running, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    out = tmp_path_factory.mktemp("exported") / "feedback"
    return out, export_feedback(answered.service.store, out)


def summary(manifest: Manifest) -> list[Any]:
    return [
        (
            case.name,
            case.fractured,
            case.patient,
            (case.height_px, case.width_px),
            None
            if case.instances is None
            else [
                (item.label, [round(v, 9) for v in item.box_xyxy_px], item.ignore, len(item.polygons))
                for item in case.instances
            ],
        )
        for case in manifest
    ]


def case_of(server: Running, manifest: Manifest, spot: int) -> Case:
    (analysis,) = server.service.store.page(search=f"-{spot}.png")
    (case,) = [case for case in manifest if case.name.startswith(analysis.id[:16])]
    return case


class TestExport:
    def test_what_was_written_and_left_out_is_told(self, exported: tuple[Path, Exported]) -> None:
        assert exported[1] == Exported(
            fractured=6, normal=1, boxes=6, open_boxes=1, without_box=1, left_out={"unsure": 1, "unusable": 1}
        )

    def test_accepted_redrawn_and_added_boxes_are_labels_and_rejected_are_not(
        self, answered: Running, exported: tuple[Path, Exported]
    ) -> None:
        manifest = open_dataset(exported[0] / "annotations.json")
        (first,) = answered.service.store.page(search="-255.png")
        model = tuple(first.pages[0]["fractures"][0]["box_xyxy_px"])
        np.testing.assert_allclose(truth_boxes(case_of(answered, manifest, 255)), [model, ADDED], atol=1e-4)
        assert truth_boxes(case_of(answered, manifest, 250)).tolist() == [list(DRAWN)]
        assert truth_boxes(case_of(answered, manifest, 245)).tolist() == [list(ADDED)]

    def test_no_fracture_gives_a_normal(self, answered: Running, exported: tuple[Path, Exported]) -> None:
        normal = case_of(answered, open_dataset(exported[0]), 240)
        assert (normal.fractured, normal.instances) == (False, ())
        assert truth_known(normal)

    def test_a_box_nobody_judged_is_ignored(self, answered: Running, exported: tuple[Path, Exported]) -> None:
        half = case_of(answered, open_dataset(exported[0]), 235)
        assert [item.ignore for item in half.instances or ()] == [False, True]
        assert truth_known(half)

    def test_a_fracture_without_a_box_is_not_trained_on(
        self, answered: Running, exported: tuple[Path, Exported]
    ) -> None:
        bare = case_of(answered, open_dataset(exported[0]), 230)
        assert (bare.fractured, bare.instances) == (True, None)
        assert not truth_known(bare)

    def test_the_newest_answer_counts(self, answered: Running, exported: tuple[Path, Exported]) -> None:
        assert truth_boxes(case_of(answered, open_dataset(exported[0]), 215)).tolist() == [list(DRAWN)]

    def test_coco_and_cvat_say_the_same(self, exported: tuple[Path, Exported]) -> None:
        coco, cvat = (open_dataset(exported[0] / f"annotations.{suffix}") for suffix in ("json", "xml"))
        assert coco.remarks == cvat.remarks == ()
        assert len(coco) == 7
        assert summary(coco) == summary(cvat)

    def test_the_pictures_are_those_that_people_saw(self, answered: Running, exported: tuple[Path, Exported]) -> None:
        case = case_of(answered, open_dataset(exported[0]), 250)
        pixels = cv2.imread(str(case.path), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(pixels, models.radiograph_pixels(450, 350, spot=250))

    def test_nothing_of_the_sender_or_the_comment_is_in_it(self, exported: tuple[Path, Exported]) -> None:
        for path in exported[0].rglob("*"):
            assert CANARY.split("^")[0] not in path.as_posix()
            assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path.name

    def test_who_said_it_and_when_stands_beside(self, exported: tuple[Path, Exported]) -> None:
        origins = json.loads((exported[0] / "answers.json").read_text("utf-8"))
        assert {origin["author"] for origin in origins} == {"reader-7"}
        assert {origin["file_name"] for origin in origins} == {case.name for case in open_dataset(exported[0])}


class TestChoices:
    def test_one_picture_in_two_analyses_counts_once_by_the_newest_answer(
        self, serve: Callable[..., Running], tmp_path: Path
    ) -> None:
        server = serve()
        content = radiograph()
        ids = [
            server.client.post(
                "/api/v1/analyses", files={"file": ("a.png", content)}, params={"again": True, "wait": 30}
            ).json()["analyses"][0]["id"]
            for _ in range(2)
        ]
        assert ids[0] != ids[1]
        answers = Answers(server.service.store.database)
        answers.add(ids[1], Reading(1, "fracture", boxes=(AnswerBox(DRAWN, "added"),)), author="local")
        answers.add(ids[0], Reading(1, "no_fracture"), author="local")
        done = export_feedback(server.service.store, tmp_path / "out")
        assert (done.normal, done.fractured, dict(done.left_out)) == (1, 0, {"repeated": 1})

    def test_one_format_only(self, answered: Running, tmp_path: Path) -> None:
        export_feedback(answered.service.store, tmp_path / "cvat", form="cvat", copy_images=False)
        assert sorted(path.name for path in (tmp_path / "cvat").iterdir()) == ["annotations.xml", "answers.json"]

    def test_a_folder_that_is_not_empty_is_refused(self, answered: Running, tmp_path: Path) -> None:
        (tmp_path / "old.txt").write_text("old")
        with pytest.raises(ConfigurationError, match="not empty"):
            export_feedback(answered.service.store, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]


class TestCommand:
    def test_it_writes_a_set_that_can_be_split_and_trained_on(self, answered: Running, tmp_path: Path) -> None:
        out = tmp_path / "feedback"
        folder = answered.service.settings.data_dir
        done = CliRunner().invoke(main, ["data", "export-feedback", "--data-dir", str(folder), "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert "6 fractured and 1 normal pages, 6 boxes" in done.stderr
        assert "left out, unsure: 1" in done.stderr
        assert done.stdout.strip() == str(out)
        assert len(open_dataset(out)) == 7

    def test_since_leaves_out_earlier_answers(self, answered: Running, tmp_path: Path) -> None:
        words = ["data", "export-feedback", "--data-dir", str(answered.service.settings.data_dir)]
        done = CliRunner().invoke(main, [*words, "--since", "2100-01-01", "--out", str(tmp_path / "none")])
        assert done.exit_code == 0, done.output
        assert "0 fractured and 0 normal pages" in done.stderr

    def test_a_folder_that_is_no_servers_is_refused_and_not_made(self, tmp_path: Path) -> None:
        words = ["data", "export-feedback", "--data-dir", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2
        assert "no data folder" in done.stderr
        assert not (tmp_path / "none").exists()
