"""The report of an analysis as PDF: picture, decision, findings and what they mean, models, disclaimer."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import as_file, files
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

import cv2
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Image, KeepTogether, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table

from osteon.service import pictures
from osteon.service.catalogue import Language, catalogue
from osteon.service.files import AnalysisFiles
from osteon.service.store import Analysis

_FONT = "DejaVuSans"
_INK, _QUIET, _LINE, _PAPER = HexColor("#16232b"), HexColor("#5a6b75"), HexColor("#d5dde2"), HexColor("#f3f6f8")
_COLOURS = {
    "fracture": HexColor("#b3261e"),
    "doubt": HexColor("#9a6700"),
    "no_fracture": HexColor("#1d7045"),
    "not_a_radiograph": _QUIET,
}
_MARGIN = 18 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_PICTURE_HEIGHT = 128 * mm
_PICTURE_SIDE_PX = 1600

_BODY = ParagraphStyle("body", fontName=_FONT, fontSize=9, leading=13, textColor=_INK)
_SMALL = ParagraphStyle("small", _BODY, fontSize=7.5, leading=10.5, textColor=_QUIET)
_HEAD = ParagraphStyle("head", _BODY, fontSize=10.5, leading=14, spaceBefore=8, spaceAfter=3)
_TITLE = ParagraphStyle("title", _BODY, fontSize=17, leading=22)

Words = Mapping[str, str]


def pdf(analysis: Analysis, kept: AnalysisFiles, *, language: Language = "en") -> bytes:
    """The report of a succeeded analysis, one sheet or more for each page of its file."""
    _register_font()
    words = catalogue()[language]
    story: list[Flowable] = []
    for index, findings in enumerate(analysis.pages):
        if index:
            story.append(PageBreak())
        story += _sheet(analysis, index, findings, kept, words, language)
    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=14 * mm,
        bottomMargin=20 * mm,
        title=words["report.title"],
        author="Osteon",
        lang=language,
    )

    def footer(canvas: Any, sheet: Any) -> None:
        canvas.setFont(_FONT, 7)
        canvas.setFillColor(_QUIET)
        canvas.drawString(_MARGIN, 11 * mm, words["disclaimer"])
        canvas.drawRightString(A4[0] - _MARGIN, 11 * mm, str(sheet.page))

    document.build(story, onFirstPage=footer, onLaterPages=footer)
    return buffer.getvalue()


def _sheet(
    analysis: Analysis, index: int, findings: Mapping[str, Any], kept: AnalysisFiles, words: Words, language: Language
) -> list[Flowable]:
    of_pages = words["report.page"].format(page=index + 1, pages=len(analysis.pages)) if len(analysis.pages) > 1 else ""
    when = analysis.created_at.strftime("%Y-%m-%d %H:%M UTC")
    under_title = " · ".join(part for part in (escape(analysis.name), of_pages, when) if part)
    return [
        Paragraph(words["report.title"], _TITLE),
        Paragraph(under_title, _SMALL),
        Spacer(1, 4 * mm),
        _decision(findings, words),
        Spacer(1, 4 * mm),
        _picture(kept, analysis.id, index, findings, language),
        Paragraph(words["report.findings"], _HEAD),
        *_fractures(findings, words),
        KeepTogether([Paragraph(words["report.models"], _HEAD), _models(findings, words)]),
        Spacer(1, 3 * mm),
        _notice(words),
    ]


def _decision(findings: Mapping[str, Any], words: Words) -> Flowable:
    decision = findings["decision"]
    headline = ParagraphStyle("decision", _BODY, fontSize=13, leading=18, textColor=_COLOURS[decision])
    bone = words["report.bone"].format(
        area=f"{findings['bone']['area_fraction']:.0%}", confidence=f"{findings['bone']['confidence']:.2f}"
    )
    text = [Paragraph(words[f"decision.{decision}"], headline), Paragraph(words[f"meaning.{decision}"], _BODY)]
    box = Table([[[*text, Paragraph(bone, _SMALL)]]], colWidths=[_WIDTH])
    box.setStyle([("BACKGROUND", (0, 0), (-1, -1), _PAPER), ("LINEBEFORE", (0, 0), (0, -1), 3, _COLOURS[decision])])
    return box


def _picture(
    kept: AnalysisFiles, analysis_id: str, index: int, findings: Mapping[str, Any], language: Language
) -> Flowable:
    pixels = pictures.overlay_pixels(kept, analysis_id, index, findings, language=language)
    height, width = pixels.shape[:2]
    shrink = min(1.0, _PICTURE_SIDE_PX / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if shrink < 1 else pixels
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(smaller, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    scale = min(_WIDTH / width, _PICTURE_HEIGHT / height)
    return Image(BytesIO(jpeg), width * scale, height * scale)


def _fractures(findings: Mapping[str, Any], words: Words) -> list[Flowable]:
    fractures = findings["fractures"]
    if not fractures:
        return [Paragraph(words["report.none"], _BODY)]
    head = ("#", words["grade"], words["probability"], words["score"], words["report.place"])
    rows = [[Paragraph(cell, _SMALL) for cell in head]]
    for number, fracture in enumerate(fractures, start=1):
        cells = (
            str(number),
            words[f"grade.{fracture['grade']}"],
            f"{fracture['probability']:.0%}",
            f"{fracture['score']:.2f}",
            ", ".join(f"{value:.0f}" for value in fracture["box_xyxy_px"]),
        )
        rows.append([Paragraph(cell, _BODY) for cell in cells])
    table = Table(rows, colWidths=[_WIDTH * share for share in (0.06, 0.22, 0.2, 0.14, 0.38)], repeatRows=1)
    table.setStyle([("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE), ("LEFTPADDING", (0, 0), (0, -1), 2)])
    return [table, Spacer(1, 2 * mm), Paragraph(words["report.meaning"], _SMALL)]


def _models(findings: Mapping[str, Any], words: Words) -> Flowable:
    rows = [
        [
            Paragraph(words[f"model.{task}"], _SMALL),
            Paragraph(f"{escape(model['name'])} {escape(model['version'])}<br/>sha256 {model['sha256']}", _SMALL),
        ]
        for task, model in findings["models"].items()
        if model
    ]
    table = Table(rows, colWidths=[_WIDTH * 0.2, _WIDTH * 0.8])
    table.setStyle([("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE), ("LEFTPADDING", (0, 0), (0, -1), 2)])
    return table


def _notice(words: Words) -> Flowable:
    notice = Table([[[Paragraph(words["disclaimer"], _BODY), Paragraph(words["disclaimer.long"], _SMALL)]]], [_WIDTH])
    notice.setStyle([("BOX", (0, 0), (-1, -1), 0.6, _LINE)])
    return notice


@cache
def _register_font() -> None:
    with as_file(files("osteon.files").joinpath("fonts/DejaVuSans.ttf")) as path:
        pdfmetrics.registerFont(TTFont(_FONT, str(path)))
