"""The report says everything that is known, in both languages, as PDF and HTML, and loads nothing from elsewhere."""

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from shutil import which
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from serving import Running, photograph, radiograph, running

import models
from osteon.service.answers import AnswerBox, Answers, Reading
from osteon.service.catalogue import LANGUAGES, Language, catalogue
from osteon.service.report import KINDS, Report, report_of
from osteon.service.report_html import html
from osteon.service.settings import Settings

LONG_NAME = "wrist_of_somebody_" * 12 + ".png"
COMMENT = "Tilted <script>alert(1)</script> & moved.\nSecond line."
KEY = "Dr <b>Petrova</b>"
ADDED = (40.0, 300.0, 110.0, 380.0)
MADE = datetime(2026, 11, 26, 8, 30, tzinfo=UTC)

needs_pdftotext = pytest.mark.skipif(which("pdftotext") is None, reason="pdftotext is not installed (poppler-utils)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_files: models.ModelFiles) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("reported")
    with ExitStack() as stack:
        yield stack.enter_context(
            running(Settings(data_dir=folder, gate=model_files.gate, detector=model_files.detector))
        )


@pytest.fixture(scope="module")
def read(server: Running) -> dict[str, Any]:
    """An analysis with a fracture, answered twice."""
    analysis = server.analysed(radiograph(), name=LONG_NAME)
    box = tuple(analysis["findings"]["fractures"][0]["box_xyxy_px"])
    answers = Answers(server.service.store.database)
    answers.add(analysis["id"], Reading(1, "unsure", "earlier"), author="local")
    boxes = (AnswerBox(box, "accepted", 0), AnswerBox(ADDED, "added"))
    answers.add(analysis["id"], Reading(1, "fracture", COMMENT, boxes), author=KEY)
    return analysis


def report(server: Running, analysis_id: str, *, language: Language = "en") -> Report:
    store = server.service.store
    answers = Answers(store.database).of(analysis_id)
    return report_of(store.find(analysis_id), store.files, answers, made_at=MADE, language=language)


def page(server: Running, analysis: dict[str, Any], language: str = "en") -> str:
    answer = server.client.get(f"/api/v1/analyses/{analysis['id']}/report.html", params={"language": language})
    assert answer.status_code == 200, answer.text
    return answer.text


def visible(document: str) -> str:
    """The words of an HTML document."""
    without = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", document, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without)).split())


def pdf_text(server: Running, analysis: dict[str, Any], folder: Path, language: str = "en") -> str:
    answer = server.client.get(f"/api/v1/analyses/{analysis['id']}/report.pdf", params={"language": language})
    assert answer.status_code == 200
    (folder / "report.pdf").write_bytes(answer.content)
    done = subprocess.run(["pdftotext", "-layout", folder / "report.pdf", "-"], capture_output=True, check=True)
    return " ".join(done.stdout.decode().split())


def expected(analysis: dict[str, Any], language: Language) -> list[str]:
    """What must stand on either form of the report."""
    words = catalogue()[language]
    finding = analysis["findings"]
    keys = ["report.title", "decision.fracture", "disclaimer", "verdict.fracture", "report.reading", "box.accepted"]
    texts = [words[key] for key in keys] + [words["report.drawn.added"], words["grade.fracture"]]
    texts += [finding["models"][task]["sha256"] for task in ("gate", "detector")]
    percent = f"{finding['fractures'][0]['probability'] * 100:.0f}"
    return [*texts, f"{percent}%" if language == "en" else f"{percent} %", "Second line.", analysis["id"][:8]]


class TestHtml:
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_it_says_what_is_known(self, server: Running, read: dict[str, Any], language: Language) -> None:
        said = visible(page(server, read, language))
        for text in (*expected(read, language), LONG_NAME, KEY, COMMENT.replace("\n", " ")):
            assert " ".join(text.replace("\u00a0", " ").split()) in said, text

    def test_what_people_wrote_is_never_markup(self, server: Running, read: dict[str, Any]) -> None:
        document = page(server, read)
        assert "<script" not in document
        assert "<b>" not in document

    def test_it_loads_nothing(self, server: Running, read: dict[str, Any]) -> None:
        document = page(server, read)
        addresses = re.findall(r'(?:src|href|action|url\()\s*=?\s*"?([^"\s)>]+)', document)
        assert addresses
        assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
        assert "@import" not in document
        assert " style=" not in document

    def test_the_policy_lets_its_style_sheet_in_and_no_script(self, server: Running, read: dict[str, Any]) -> None:
        answer = server.client.get(f"/api/v1/analyses/{read['id']}/report.html")
        policy = answer.headers["content-security-policy"]
        (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert answer.headers["content-type"] == "text/html; charset=utf-8"

    def test_the_picture_is_the_page_and_the_boxes_lie_on_it(self, server: Running, read: dict[str, Any]) -> None:
        document = page(server, read)
        (picture,) = re.findall(r"data:image/jpeg;base64,([^\"]+)", document)
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert np.abs(pixels.astype(int) - models.radiograph_pixels(450, 350)).mean() < 3
        assert 'viewBox="0 0 350 450"' in document
        x0, y0, x1, y1 = read["findings"]["fractures"][0]["box_xyxy_px"]
        assert f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"' in document
        assert 'x="40.0" y="300.0" width="70.0" height="80.0"' in document

    def test_colours_of_the_legend_are_those_of_the_boxes(self, server: Running, read: dict[str, Any]) -> None:
        (style,) = re.findall(r"<style>(.*?)</style>", page(server, read), re.DOTALL)
        (legend,) = re.findall(r"(\.legend \{.*?)\ntable", style, re.DOTALL)
        assert set(re.findall(r"(?:solid|dashed|color:) (#[0-9a-f]{6})", legend)) >= set(KINDS.values())


@needs_pdftotext
class TestPdf:
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_it_says_what_is_known(
        self, server: Running, read: dict[str, Any], language: Language, tmp_path: Path
    ) -> None:
        said = pdf_text(server, read, tmp_path, language)
        for text in expected(read, language):
            assert text in said, text

    def test_a_long_comment_goes_on_over_sheets(self, server: Running, tmp_path: Path) -> None:
        analysis = server.analysed(radiograph(spot=240), name="long.png")
        comment = "\n".join(f"line {number} of many" for number in range(200))
        Answers(server.service.store.database).add(analysis["id"], Reading(1, "fracture", comment), author="local")
        said = pdf_text(server, analysis, tmp_path)
        assert "line 0 of many" in said
        assert "line 199 of many" in said

    def test_many_places_go_on_over_sheets(self, server: Running, tmp_path: Path) -> None:
        analysis = server.analysed(radiograph(spot=235), name="many.png")
        answers = Answers(server.service.store.database)
        boxes = tuple(AnswerBox((1.0 + n, 2.0, 40.0 + n, 50.0), "added") for n in range(120))
        answers.add(analysis["id"], Reading(1, "fracture", "", boxes), author="local")
        assert "R120" in pdf_text(server, analysis, tmp_path)


class TestReport:
    def test_without_an_answer_it_says_so(self, server: Running) -> None:
        analysis = server.analysed(radiograph(spot=200), name="doubt.png")
        (sheet,) = report(server, analysis["id"]).sheets
        assert (sheet.decision, sheet.note) == ("doubt", None)
        assert [place.reader for place in sheet.places] == ["—"]
        assert catalogue()["en"]["report.reading.none"] in visible(page(server, analysis))

    def test_a_picture_without_bone_is_reported_as_such(self, server: Running) -> None:
        analysis = server.analysed(photograph(), name="photo.png")
        (sheet,) = report(server, analysis["id"], language="ru").sheets
        assert sheet.headline == "Не рентгенограмма"
        assert len(sheet.models) == 1
        assert catalogue()["ru"]["report.none.gate"] in visible(page(server, analysis, "ru"))

    def test_the_newest_answer_stands_on_it_and_earlier_ones_are_counted(
        self, server: Running, read: dict[str, Any]
    ) -> None:
        note = report(server, read["id"]).sheets[0].note
        assert note is not None
        assert (note.verdict, note.comment) == ("Fracture", COMMENT)
        assert note.by.startswith(KEY)
        assert "1" in note.earlier
        assert [one.label for one in note.drawings] == ["R1"]

    def test_each_page_has_a_sheet_with_its_own_answer(self, server: Running, tmp_path: Path) -> None:
        first, second = (Image.fromarray(models.radiograph_pixels(450, 350, spot=s)) for s in (255, 150))
        first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
        analysis = server.analysed((tmp_path / "two.tif").read_bytes(), name="two.tif")
        Answers(server.service.store.database).add(analysis["id"], Reading(2, "no_fracture"), author="local")
        sheets = report(server, analysis["id"]).sheets
        assert [sheet.heading for sheet in sheets] == ["Page 1 of 2", "Page 2 of 2"]
        assert [sheet.decision for sheet in sheets] == ["fracture", "no_fracture"]
        assert [sheet.note and sheet.note.by.split(",")[0] for sheet in sheets] == [None, "local user"]

    def test_a_rejected_box_is_drawn_as_rejected(self, server: Running) -> None:
        analysis = server.analysed(radiograph(spot=230), name="rejected.png")
        box = tuple(analysis["findings"]["fractures"][0]["box_xyxy_px"])
        reading = Reading(1, "no_fracture", boxes=(AnswerBox(box, "rejected", 0),))
        Answers(server.service.store.database).add(analysis["id"], reading, author="local")
        (sheet,) = report(server, analysis["id"]).sheets
        assert [(mark.label, mark.kind) for mark in sheet.marks] == [("1", "rejected")]
        assert sheet.places[0].reader == "rejected"

    @pytest.mark.parametrize(("probability", "told"), [(0.03, "fewer than one"), (0.31, "about 3"), (0.97, "nearly")])
    def test_a_probability_is_told_in_words(
        self, server: Running, read: dict[str, Any], probability: float, told: str
    ) -> None:
        store = server.service.store
        analysis = store.find(read["id"])
        pages = json.loads(json.dumps(analysis.pages))
        pages[0]["fractures"][0]["probability"] = probability
        changed = replace(analysis, pages=tuple(pages))
        (sheet,) = report_of(changed, store.files, made_at=MADE).sheets
        assert told in sheet.places[0].says

    def test_it_tells_when_it_was_made_and_is_the_same_for_the_same_moment(
        self, server: Running, read: dict[str, Any]
    ) -> None:
        made = report(server, read["id"])
        assert made.made == "2026-11-26 08:30 UTC"
        assert html(made) == html(report(server, read["id"]))

    def test_a_missing_analysis_or_one_without_findings_is_404(self, server: Running) -> None:
        for suffix in ("report.pdf", "report.html"):
            assert server.client.get(f"/api/v1/analyses/{'0' * 32}/{suffix}").status_code == 404

    @pytest.mark.parametrize("suffix", ["report.pdf", "report.html"])
    def test_the_name_of_the_file_is_ours(self, server: Running, read: dict[str, Any], suffix: str) -> None:
        answer = server.client.get(f"/api/v1/analyses/{read['id']}/{suffix}")
        kind = suffix.rsplit(".", 1)[1]
        assert answer.headers["content-disposition"] == f'inline; filename="osteon-{read["id"][:8]}.{kind}"'
