"""A report as PDF (A4), with ReportLab: films with boxes drawn as lines, tables, a notice on every sheet."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    HRFlowable,
    KeepTogether,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
)

from osteon.service.report import DASHED, KINDS, Mark, Place, ReaderNote, Report, Sheet, Words, jpeg

_FONT = "DejaVuSans"
_INK, _QUIET, _LINE, _PAPER = HexColor("#16232b"), HexColor("#52626c"), HexColor("#c9d3d9"), HexColor("#f3f6f8")
_DECISIONS = {
    "fracture": HexColor("#b3261e"),
    "doubt": HexColor("#8a5a00"),
    "no_fracture": HexColor("#1d7045"),
    "not_a_radiograph": _QUIET,
}
_MARGIN, _TOP, _BOTTOM = 18 * mm, 13 * mm, 17 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_FRAME_PADDING = 6.0
"""What ReportLab's own frame leaves free inside of the margins."""
_FILM_WIDTH, _FILM_HEIGHT = 104 * mm, 94 * mm
_LABEL = 24 * mm
_GAP = 5 * mm

_BODY = ParagraphStyle("body", fontName=_FONT, fontSize=9, leading=12.5, textColor=_INK)
_CELL = ParagraphStyle("cell", _BODY, fontSize=8, leading=11)
_SMALL = ParagraphStyle("small", _BODY, fontSize=7.2, leading=10, textColor=_QUIET)
_HEAD = ParagraphStyle("head", _BODY, fontSize=10.5, leading=14, spaceBefore=9, spaceAfter=3)
_TITLE = ParagraphStyle("title", _BODY, fontSize=16, leading=20)
_RIGHT = ParagraphStyle("right", _SMALL, alignment=2)

_RULED = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 2),
    ("RIGHTPADDING", (0, 0), (-1, -1), 5),
    ("TOPPADDING", (0, 0), (-1, -1), 2.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
]


def pdf(report: Report) -> bytes:
    """The report, one sheet or more for each page of the file."""
    _register_font()
    story: list[Flowable] = []
    for sheet in report.sheets:
        if story:
            story.append(PageBreak())
        story += _sheet(report, sheet)
    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN - _FRAME_PADDING,
        rightMargin=_MARGIN - _FRAME_PADDING,
        topMargin=_TOP,
        bottomMargin=_BOTTOM,
        title=report.words["report.title"],
        author="Osteon",
        lang=report.language,
    )

    def footer(canvas: Canvas, printed: Any) -> None:
        canvas.setStrokeColor(_LINE)
        canvas.line(_MARGIN, 14.5 * mm, A4[0] - _MARGIN, 14.5 * mm)
        canvas.setFont(_FONT, 7)
        canvas.setFillColor(_QUIET)
        canvas.drawString(_MARGIN, 10.5 * mm, report.words["disclaimer"])
        canvas.drawRightString(A4[0] - _MARGIN, 10.5 * mm, f"{report.id[:8]} · {report.made} · {printed.page}")

    document.build(story, onFirstPage=footer, onLaterPages=footer)
    return buffer.getvalue()


def _sheet(report: Report, sheet: Sheet) -> list[Flowable]:
    words = report.words
    return [
        _columns([Paragraph(words["report.title"], _TITLE), Paragraph(sheet.heading, _RIGHT)], (0.8, 0.2)),
        HRFlowable(width="100%", thickness=0.8, color=_INK, spaceBefore=2, spaceAfter=4),
        Paragraph(escape(report.name), _BODY),
        Spacer(1, 3 * mm),
        _first_look(report, sheet),
        Paragraph(words["report.findings"], _HEAD),
        *_places(sheet, words),
        *_reader(sheet.note, words),
        KeepTogether([Paragraph(words["report.models"], _HEAD), _models(sheet)]),
        KeepTogether([Spacer(1, 3 * mm), _notice(words), Spacer(1, 7 * mm), _signature(words)]),
    ]


def _columns(cells: Sequence[Any], shares: Sequence[float]) -> Table:
    """Cells side by side, without lines or padding at the outer edges."""
    table = Table([list(cells)], colWidths=[_WIDTH * share for share in shares])
    table.setStyle([("VALIGN", (0, 0), (-1, -1), "BOTTOM"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
                    ("RIGHTPADDING", (0, 0), (-1, -1), 0), ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
                    ("TOPPADDING", (0, 0), (-1, -1), 0)])  # fmt: skip
    return table


def _first_look(report: Report, sheet: Sheet) -> Table:
    """The film, and beside it what was decided, the legend, and the facts."""
    words, film = report.words, _Film(sheet)
    beside = _WIDTH - film.width - _GAP
    height, width = sheet.size
    kinds = [kind for kind in KINDS if any(mark.kind == kind for mark in sheet.marks)]
    facts = (*report.facts, (words["size"], words["report.size"].format(width=width, height=height)))
    text: list[Flowable] = [_decision(sheet, beside), Spacer(1, 3 * mm)]
    text += [_Legend(kind, words[f"report.legend.{kind}"]) for kind in kinds]
    text += [Spacer(1, 2 * mm), Paragraph(words["report.gate"], _SMALL), Paragraph(sheet.gate, _CELL)]
    if sheet.bones:
        text += [Spacer(1, 2 * mm), Paragraph(words["report.bones"], _SMALL), Paragraph(escape(sheet.bones), _CELL)]
    text += [Spacer(1, 2 * mm), _facts(facts, beside)]
    table = Table([[film, text]], colWidths=[film.width + _GAP, beside])
    table.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
                    ("RIGHTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 0)])  # fmt: skip
    return table


def _facts(facts: Sequence[tuple[str, str]], width: float) -> Table:
    rows = [[Paragraph(label, _SMALL), Paragraph(escape(value), _CELL)] for label, value in facts]
    table = Table(rows, colWidths=[_LABEL, width - _LABEL])
    table.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0),
                    ("RIGHTPADDING", (0, 0), (-1, -1), 4), ("TOPPADDING", (0, 0), (-1, -1), 0.8),
                    ("BOTTOMPADDING", (0, 0), (-1, -1), 0.8)])  # fmt: skip
    return table


def _decision(sheet: Sheet, width: float) -> Table:
    colour = _DECISIONS[sheet.decision]
    headline = ParagraphStyle("decision", _BODY, fontSize=13, leading=17, textColor=colour, spaceAfter=3)
    table = Table([[[Paragraph(sheet.headline, headline), Paragraph(sheet.meaning, _BODY)]]], colWidths=[width])
    table.setStyle([("BACKGROUND", (0, 0), (-1, -1), _PAPER), ("LINEBEFORE", (0, 0), (0, -1), 3, colour),
                    ("BOTTOMPADDING", (0, 0), (-1, -1), 6)])  # fmt: skip
    return table


def _places(sheet: Sheet, words: Words) -> list[Flowable]:
    if not sheet.places:
        return [Paragraph(words["report.none.gate" if sheet.decision == "not_a_radiograph" else "report.none"], _BODY)]
    head = [words[key] for key in ("grade", "probability", "score", "report.says", "report.box", "report.reader")]
    rows = [[Paragraph(cell, _SMALL) for cell in ("#", *head)]]
    rows += [_place_row(place) for place in sheet.places]
    shares = (0.04, 0.11, 0.12, 0.08, 0.31, 0.19, 0.15)
    table = Table(rows, colWidths=[_WIDTH * share for share in shares], repeatRows=1)
    table.setStyle(_RULED)
    return [table, Spacer(1, 1.5 * mm), Paragraph(words["report.explained"], _SMALL)]


def _place_row(place: Place) -> list[Paragraph]:
    colour = _DECISIONS.get(place.kind, _QUIET).hexval().replace("0x", "#")
    grade = f'<font color="{colour}">{place.grade}</font>'
    cells = (place.number, grade, place.probability, place.score, escape(place.says), place.box, place.reader)
    return [Paragraph(cell, _CELL) for cell in cells]


def _reader(note: ReaderNote | None, words: Words) -> list[Flowable]:
    head = Paragraph(words["report.reading"], _HEAD)
    if note is None:
        return [KeepTogether([head, Paragraph(words["report.reading.none"], _BODY)])]
    verdict = Paragraph(f"{note.verdict} <font size=7.5 color='#52626c'>· {escape(note.by)}</font>", _BODY)
    story: list[Flowable] = [KeepTogether([head, verdict])]
    if note.comment:
        story += [Spacer(1, 1 * mm), Paragraph(escape(note.comment).replace("\n", "<br/>"), _BODY)]
    if note.drawings:
        rows = [[Paragraph(cell, _CELL) for cell in (one.label, one.says, one.box)] for one in note.drawings]
        table = Table(rows, colWidths=[_WIDTH * share for share in (0.07, 0.5, 0.43)])
        table.setStyle(_RULED)
        story += [Spacer(1, 2 * mm), Paragraph(words["report.drawn"], _SMALL), table]
    if note.earlier:
        story.append(Paragraph(note.earlier, _SMALL))
    return story


def _models(sheet: Sheet) -> Table:
    rows = [
        [
            Paragraph(task, _SMALL),
            Paragraph(f"{escape(name)}<br/><font size=6.8 color='#52626c'>sha256 {digest}</font>", _CELL),
        ]
        for task, name, digest in sheet.models
    ]
    table = Table(rows, colWidths=[_WIDTH * 0.22, _WIDTH * 0.78])
    table.setStyle(_RULED)
    return table


def _notice(words: Words) -> Table:
    notice = Table([[[Paragraph(words["disclaimer"], _BODY), Paragraph(words["disclaimer.long"], _SMALL)]]], [_WIDTH])
    notice.setStyle([("BOX", (0, 0), (-1, -1), 0.6, _LINE), ("BOTTOMPADDING", (0, 0), (-1, -1), 5)])
    return notice


def _signature(words: Words) -> Table:
    table = Table(
        [[Paragraph(words["report.date"], _SMALL), "", Paragraph(words["report.signature"], _SMALL)]],
        colWidths=[_WIDTH * 0.25, _WIDTH * 0.3, _WIDTH * 0.45],
    )
    table.setStyle([("LINEABOVE", (0, 0), (0, 0), 0.5, _INK), ("LINEABOVE", (2, 0), (2, 0), 0.5, _INK),
                    ("LEFTPADDING", (0, 0), (-1, -1), 0)])  # fmt: skip
    return table


class _Film(Flowable):  # type: ignore[misc]
    """A page's picture with its boxes as lines, as large as it fits."""

    def __init__(self, sheet: Sheet) -> None:
        super().__init__()
        self._sheet = sheet
        height, width = sheet.size
        self._scale = min(_FILM_WIDTH / width, _FILM_HEIGHT / height)
        self.width, self.height = width * self._scale, height * self._scale

    def wrap(self, *_: float) -> tuple[float, float]:
        """(width, height) in points."""
        return self.width, self.height

    def draw(self) -> None:
        """Picture first, then the boxes."""
        self.canv.drawImage(ImageReader(BytesIO(jpeg(self._sheet.pixels))), 0, 0, self.width, self.height)
        for mark in self._sheet.marks:
            self._draw_mark(self.canv, mark)

    def _draw_mark(self, canvas: Canvas, mark: Mark) -> None:
        colour = HexColor(KINDS[mark.kind])
        x0, y0, x1, y1 = (value * self._scale for value in mark.box_xyxy_px)
        width, top = x1 - x0, self.height - y0
        dash = (3.5, 2.5) if mark.kind in DASHED else ()
        for thickness, ink in ((2.6, Color(0, 0, 0, alpha=0.55)), (1.3, colour)):
            canvas.setLineWidth(thickness)
            canvas.setStrokeColor(ink)
            canvas.setDash(*([list(dash)] if dash else []))
            canvas.rect(x0, self.height - y1, width, y1 - y0)
        canvas.setDash()
        label = pdfmetrics.stringWidth(mark.label, _FONT, 7.5) + 5
        x = min(x0, self.width - label)
        below, above = self.height - y1 - 10, top
        first, second = (below, above) if mark.kind == "reader" else (above, below)  # so that neither hides the other
        y = first if 0 <= first <= self.height - 10 else second
        y = min(max(y, 0), self.height - 10)
        canvas.setFillColor(colour)
        canvas.rect(x, y, label, 10, stroke=0, fill=1)
        canvas.setFillColor(white)
        canvas.setFont(_FONT, 7.5)
        canvas.drawString(x + 2.5, y + 2.4, mark.label)


class _Legend(Flowable):  # type: ignore[misc]
    """What a kind of line on the film means."""

    def __init__(self, kind: Any, text: str) -> None:
        super().__init__()
        self._kind, self._text = kind, text
        self.width, self.height = 60 * mm, 11.0

    def wrap(self, *_: float) -> tuple[float, float]:
        """(width, height) in points."""
        return self.width, self.height

    def draw(self) -> None:
        """A short line and the words."""
        canvas = self.canv
        canvas.setStrokeColor(HexColor(KINDS[self._kind]))
        canvas.setLineWidth(1.6)
        canvas.setDash(*([[3.5, 2.5]] if self._kind in DASHED else []))
        canvas.line(0, 3.5, 16, 3.5)
        canvas.setDash()
        canvas.setFont(_FONT, 7.2)
        canvas.setFillColor(_QUIET)
        canvas.drawString(21, 1, self._text)


@cache
def _register_font() -> None:
    with as_file(files("osteon.files").joinpath("fonts/DejaVuSans.ttf")) as path:
        pdfmetrics.registerFont(TTFont(_FONT, str(path)))
