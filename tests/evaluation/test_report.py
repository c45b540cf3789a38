"""The report tells the truth, warns where it must, and is one page that loads nothing."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

import models
from osteon.datasets.case import Case, Instance, Manifest
from osteon.errors import ConfigurationError, InvalidDataset
from osteon.evaluation import curves, gallery, groups
from osteon.evaluation.bootstrap import Interval
from osteon.evaluation.detection import Judged, auroc
from osteon.evaluation.judge import record_detector
from osteon.evaluation.operating_points import at_cut
from osteon.evaluation.plain import plain
from osteon.evaluation.records import Facts, Record
from osteon.evaluation.report import Subject, document, write_report
from osteon.inference.postprocess import Detections
from osteon.inference.session import Session

HOSTILE = '<img src=x onerror="alert(1)">.png'
HIT, AWAY = (0, 0, 10, 10), (50, 50, 60, 60)


def picture(name: str, boxes: list[tuple[int, ...]], scores: list[float], *, fractured: bool) -> Judged:
    found = Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32))
    return Judged(name, found, np.array([HIT] if fractured else [], np.float32).reshape(-1, 4))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Ten drawn films: sure and doubtful hits, a miss, false alarms, quiet ones, one unreadable, one unlabelled."""
    folder = tmp_path_factory.mktemp("report")
    spots = [(255, True), (255, True), (200, True), (150, True), (255, False), (200, False), (150, False), (150, False)]
    cases = []
    for i, (spot, fractured) in enumerate(spots):
        path = folder / f"film{i}.png"
        assert cv2.imwrite(str(path), models.radiograph_pixels(450, 350, spot=spot))
        box = Instance("fracture", models.spot_box_px(450, 350))
        part = "hand" if i % 2 else "leg"
        name = HOSTILE if i == 0 else path.name
        cases.append(Case(name, path, fractured=fractured, instances=(box,) if fractured else (), body_part=part))
    cases[4] = replace(cases[4], views=("frontal",), hardware=True)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    cases.append(Case("broken.png", folder / "broken.png", fractured=False, instances=()))
    cases.append(Case("unlabelled.png", cases[0].path))
    manifest = Manifest("drawn <set>", tuple(cases), ("a remark of the importer",))
    session = Session(models.model_files(folder).detector, task="detector", threads=1)
    recorded = record_detector(session, manifest.cases, shows_bone=lambda radiograph: radiograph.pixels.mean() > 57)
    return Subject(session.card, session.ref, manifest, recorded)


@pytest.fixture(scope="module")
def written(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("written") / "deeper"
    return folder, write_report(subject, folder, samples=40, pictures=2)


class TestDocument:
    def test_counts_and_figures_are_those_of_the_data(self, subject: Subject, written: tuple[Path, Any]) -> None:
        found = written[1]
        assert {name: found["data"][name] for name in ("cases", "pictures", "fractured", "normal", "fractures")} == {
            "cases": 10,
            "pictures": 8,
            "fractured": 4,
            "normal": 4,
            "fractures": 4,
        }
        judged = subject.records.judged()
        for name, point in found["operating_points"].items():
            assert point["figures"].items() >= at_cut(judged, subject.card.cut(name)).items()
        assert found["outcomes"] == {"hit": 3, "elsewhere": 0, "silent": 1, "false alarm": 2, "quiet": 2}
        assert [row["name"] for row in found["misses"]] == ["film3.png"]
        assert [row["name"] for row in found["false_alarms"]] == ["film4.png", "film5.png"]

    def test_it_warns_of_small_sets_and_of_what_is_left_out(self, written: tuple[Path, Any]) -> None:
        found = written[1]
        assert any("4 fractured pictures; fewer than 50" in text for text in found["too_small"])
        assert any("4 normal pictures; fewer than 100" in text for text in found["too_small"])
        (left_out,) = [text for text in found["remarks"] if "left out" in text]
        assert left_out.startswith("2 of 10") and "of 1 nobody said" in left_out and "1 cannot be read" in left_out

    def test_the_gate_is_told_of(self, subject: Subject, written: tuple[Path, Any]) -> None:
        turned_away = sum(record.shows_bone is False for record in subject.records.pictures)
        assert 0 < turned_away < 8
        assert written[1]["data"]["gate"] == {"asked": 8, "turned_away": turned_away}
        assert any(f"The gate turns away {turned_away} of 8" in text for text in written[1]["remarks"])

    @pytest.mark.parametrize(
        ("origin", "expected"),
        [
            ({"split_hash": "0" * 16, "part": "valid"}, "cuts, calibration and best epoch were chosen on these"),
            ({"split_hash": "0" * 16, "part": "train"}, "was trained on these pictures"),
            ({"split_hash": "1" * 16, "part": "train"}, None),
            ({}, "set called drawn. Unless these were kept apart"),
            ({"split_hash": "2" * 16, "part": "fold1"}, "these are part fold1 of split 2222222222222222."),
        ],
    )
    def test_figures_on_the_models_own_data_are_called_so(
        self, subject: Subject, origin: dict[str, str], expected: str | None
    ) -> None:
        records = replace(subject.records, origin=replace(subject.records.origin, **origin))
        trained_on_drawn = replace(
            subject.card, training_data="none" if "1" in origin.get("split_hash", "") else "Drawn"
        )
        manifest = replace(subject.manifest, name="drawn")
        said = document(replace(subject, records=records, card=trained_on_drawn, manifest=manifest), samples=2)
        matching = [text for text in said["remarks"] if expected and expected in text]
        assert len(matching) == (1 if expected else 0)
        if expected is None:
            assert not [text for text in said["remarks"] if "trained" in text or "chosen" in text]

    def test_json_has_no_nan_and_reads_back(self, subject: Subject, written: tuple[Path, Any]) -> None:
        def refuse(word: str) -> None:
            pytest.fail(f"{word} in report.json")

        text = (written[0] / "report.json").read_text("utf-8")
        value = json.loads(text, parse_constant=refuse)
        assert value["figures"]["auroc"] == round(written[1]["figures"]["auroc"], 4)
        assert value["operating_points"]["doubt"]["threshold"] == subject.card.cut("doubt")

    def test_a_model_without_calibration_has_none_drawn(self, subject: Subject, tmp_path: Path) -> None:
        found = write_report(replace(subject, card=replace(subject.card, calibration=None)), tmp_path, samples=2)
        assert found["calibration"] is None
        text = (tmp_path / "report.html").read_text("utf-8")
        assert "Reliability" not in text and "Calibration of boxes" not in text

    def test_a_set_without_truth_is_refused(self, subject: Subject) -> None:
        with pytest.raises(InvalidDataset) as caught:
            document(replace(subject, records=replace(subject.records, pictures=())))
        assert "docs/data.md" in caught.value.hint

    def test_only_fractured_or_only_normal_pictures_make_a_report(self, subject: Subject, tmp_path: Path) -> None:
        for fractured in (True, False):
            kept = tuple(r for r in subject.records.pictures if r.judged.fractured == fractured)
            made = replace(subject, records=replace(subject.records, pictures=kept))
            found = write_report(made, tmp_path / str(fractured), samples=3, pictures=1)
            assert any("AUROC cannot be told" in text for text in found["too_small"])
            assert "nan" not in re.sub(r"base64,[^\"]*", "", (tmp_path / str(fractured) / "report.html").read_text())


class TestPage:
    def test_it_loads_nothing(self, written: tuple[Path, Any]) -> None:
        text = (written[0] / "report.html").read_text("utf-8")
        text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|url\(|@import|<link|<iframe|fetch\(|src=(?!x)", text)
        assert set(re.findall(r'href="([^"]{0,22})', text)) == {"data:image/jpeg;base64"}

    def test_names_from_the_data_set_are_text(self, written: tuple[Path, Any]) -> None:
        text = (written[0] / "report.html").read_text("utf-8")
        assert "<img" not in text and "drawn <set>" not in text
        assert "&lt;img src=x" in text and "drawn &lt;set&gt;" in text

    def test_it_is_well_formed_where_browsers_forgive(self, written: tuple[Path, Any]) -> None:
        text = (written[0] / "report.html").read_text("utf-8")
        drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
        assert len(drawings) >= 6 + 5
        for drawing in drawings:
            ElementTree.fromstring(drawing)
        for tag in ("table", "div", "button", "figure", "tbody", "tr", "td", "ul", "dl", "h2"):
            assert len(re.findall(rf"<{tag}[\s>]", text)) == text.count(f"</{tag}>"), tag

    def test_the_gallery_shows_pictures_with_truth_and_boxes(self, written: tuple[Path, Any]) -> None:
        text = (written[0] / "report.html").read_text("utf-8")
        images = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
        assert len(images) == 1 + 2 + 2
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(images[0]), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert decoded is not None and decoded.shape == (450, 350)
        x0, y0, *_ = models.spot_box_px(450, 350)
        assert f'<rect class="truth" x="{x0:.1f}" y="{y0:.1f}"' in text
        assert text.count('<rect class="truth"') == 1 + 2
        assert '<rect class="fracture"' in text and '<rect class="doubt"' in text

    def test_without_a_gallery_no_picture_is_in_it(self, subject: Subject, tmp_path: Path) -> None:
        write_report(subject, tmp_path, samples=2, pictures=0)
        assert "base64" not in (tmp_path / "report.html").read_text("utf-8")

    def test_a_folder_that_cannot_be_written_is_said_to_be_none(self, subject: Subject, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="cannot write the report"):
            write_report(subject, tmp_path / "file", samples=2, pictures=0)


class TestGallery:
    def test_outcomes_by_hand(self) -> None:
        facts = Facts(100, 100)
        rows = [
            (picture("a", [HIT], [0.5], fractured=True), "hit"),
            (picture("b", [AWAY, HIT], [0.5, 0.2], fractured=True), "elsewhere"),
            (picture("c", [HIT], [0.2], fractured=True), "silent"),
            (picture("d", [], [], fractured=True), "silent"),
            (picture("e", [HIT], [0.3], fractured=False), "false alarm"),
            (picture("f", [HIT], [0.29], fractured=False), "quiet"),
        ]
        seen = [gallery.seen(p, facts, cut=0.3) for p, _ in rows]
        assert [s.outcome for s in seen] == [outcome for _, outcome in rows]
        assert [s.judged.name for s in gallery.worst_misses(seen)] == ["d", "c", "b"]
        assert seen[1].on_target == pytest.approx(0.2)

    def test_hits_are_taken_from_the_surest_to_the_least_sure(self) -> None:
        scores = [0.4 + i / 100 for i in range(20)]
        hits = [gallery.seen(picture(f"{s}", [HIT], [s], fractured=True), Facts(9, 9), cut=0.3) for s in scores]
        chosen = gallery.some_hits(hits, 3)
        assert [round(s.on_target, 2) for s in chosen] == [0.59, 0.49, 0.4]
        assert len(gallery.some_hits(hits, 50)) == 20

    def test_thumbs_are_small_and_lost_files_have_none(self, tmp_path: Path) -> None:
        assert cv2.imwrite(str(tmp_path / "large.png"), np.zeros((3000, 1500), np.uint8))
        content = base64.b64decode(gallery.thumb(tmp_path / "large.png").split(",")[1])
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE).shape == (560, 280)
        assert gallery.thumb(tmp_path / "lost.png") == ""


class TestGroups:
    def test_pictures_are_parted_by_what_is_told(self) -> None:
        facts = [Facts(100, 80, "hand", ("frontal", "lateral"), True), Facts(100, 80, "leg", ("lateral",)), Facts(9, 9)]
        judged = [picture(str(i), [HIT], [0.9], fractured=i < 2) for i in range(3)]
        made = groups.groups([Record(p, f) for p, f in zip(judged, facts, strict=True)], judged)
        members = {(g.kind, g.name): [p.name for p in g.pictures] for g in made}
        assert members["body part", "hand"] == ["0"]
        assert members["body part", "not told"] == members["view", "not told"] == ["2"]
        assert members["view", "lateral"] == ["0", "1"] and members["view", "frontal"] == ["0"]
        assert members["metal", "visible"] == ["0"] and members["metal", "not told"] == ["1", "2"]
        assert not [key for key in members if key[0] in ("exposures", "long side of the picture")]
        assert members["largest fracture", "5 to 10%"] == ["0", "1", "2"]

    @pytest.mark.parametrize(("side", "expected"), [(4, groups.SMALL), (5, groups.MEDIUM), (11, groups.LARGE)])
    def test_fracture_sizes(self, side: int, expected: str) -> None:
        truth = np.array([[0, 0, 1, 1], [0, 0, side, side]], np.float32)
        empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        assert groups.fracture_size(Record(Judged("a", empty, truth), Facts(50, 100))) == expected

    def test_a_row_by_hand(self) -> None:
        pictures = [picture(f"f{i}", [HIT], [0.9 if i < 3 else 0.1], fractured=True) for i in range(4)]
        pictures += [picture(f"n{i}", [HIT], [0.5 if i < 1 else 0.05], fractured=False) for i in range(5)]
        row = groups.figures(groups.Group("body part", "leg", tuple(pictures)), {"doubt": 0.3}, samples=50)
        assert (row["sensitivity"], row["specificity"], row["fractured"], row["normal"]) == (0.75, 0.8, 4, 5)
        assert row["few"]
        assert row["auroc"] == pytest.approx(auroc(np.array([0.9] * 3 + [0.1] + [0.5] + [0.05] * 4), np.arange(9) < 4))
        for name in ("sensitivity", "specificity", "auroc", "map50"):
            assert row[f"{name}_interval"][0] <= row[name] <= row[f"{name}_interval"][1]

    def test_large_and_sure_is_large_enough(self) -> None:
        sure = {name: Interval(0.88, 0.92) for name in groups.WIDEST}
        values = dict.fromkeys(groups.WIDEST, 0.9)
        assert groups.too_small(50, 100, sure, values) == []
        assert groups.too_small(49, 100, sure, values) == ["49 fractured pictures; fewer than 50 tell little"]
        (said,) = groups.too_small(100, 200, sure | {"sensitivity": Interval(0.5, 0.9)}, values)
        assert "±0.200 (limit ±0.1); about 400 fractured pictures would do" in said


class TestCurves:
    def test_the_area_under_the_roc_curve_is_auroc(self) -> None:
        rng = np.random.default_rng(1)
        pictures = [
            picture("", [HIT], [round(rng.random() ** (1 + i % 2), 2)], fractured=bool(i % 2)) for i in range(99)
        ]
        points = curves.roc_curve(pictures)
        expected = auroc(np.array([p.found.best for p in pictures]), np.array([p.fractured for p in pictures]))
        assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(expected)
        assert (np.diff(points, axis=0) >= 0).all()

    def test_thinned_curves_keep_ends_and_shape(self) -> None:
        x = np.linspace(0, 1, 5000)
        points = curves.thinned(np.stack([x, x**2], 1), most=100)
        assert len(points) <= 100
        assert points[0].tolist() == [0, 0] and points[-1].tolist() == [1, 1]
        assert np.interp(0.5, points[:, 0], points[:, 1]) == pytest.approx(0.25, abs=1e-3)


def test_plain_figures_are_json() -> None:
    assert plain({"a": [float("nan"), 0.123456], "threshold": 0.123456, "n": 3, "t": True, "s": None}) == {
        "a": [None, 0.1235],
        "threshold": 0.123456,
        "n": 3,
        "t": True,
        "s": None,
    }
