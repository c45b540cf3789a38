"""A report as one HTML file for reading and printing: no script, nothing from elsewhere, pictures inside."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template

from osteon.service.report import DASHED, KINDS, Mark, ReaderNote, Report, Sheet, Words, jpeg

_FILM_WIDTH_MM, _FILM_HEIGHT_MM = 104, 94
_LINE_SHARE = 1 / 260
"""Thickness of a box's line as a share of the film's longer side."""


def html(report: Report) -> str:
    """The report as an HTML document."""
    words = report.words
    sheets = "\n".join(_sheet(report, sheet) for sheet in report.sheets)
    return Template(_part("report.html")).substitute(
        language=report.language,
        title=escape(words["report.title"]),
        style=_style(),
        sheets=sheets,
    )


def content_security_policy() -> str:
    """What a browser may do with the document: show its pictures and its one style sheet, and nothing else."""
    digest = b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"


def _part(name: str) -> str:
    return files("osteon.service").joinpath(f"layouts/{name}").read_text(encoding="utf-8")


def _style() -> str:
    return _part("report.css").strip()


def _sheet(report: Report, sheet: Sheet) -> str:
    words = report.words
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in report.facts)
    models = "".join(
        f"<dt>{escape(task)}</dt><dd>{escape(name)}<br><small>sha256 {escape(digest)}</small></dd>"
        for task, name, digest in sheet.models
    )
    height, width = sheet.size
    size = words["report.size"].format(width=width, height=height)
    return f"""<article class="sheet">
<header><h1>{escape(words["report.title"])}</h1><p>{escape(sheet.heading)}</p></header>
<p class="name">{escape(report.name)}</p>
<section class="look">
{_film(sheet, words)}
<div>
<div class="decision {sheet.decision}"><h2>{escape(sheet.headline)}</h2><p>{escape(sheet.meaning)}</p></div>
{_legend(sheet, words)}
<h3>{escape(words["report.gate"])}</h3><p>{escape(sheet.gate)}</p>
{_bones(sheet, words)}
<dl class="facts">{facts}<dt>{escape(words["size"])}</dt><dd>{escape(size)}</dd></dl>
</div>
</section>
<section><h2>{escape(words["report.findings"])}</h2>{_places(sheet, words)}</section>
<section><h2>{escape(words["report.reading"])}</h2>{_reader(sheet.note, words)}</section>
<section class="whole"><h2>{escape(words["report.models"])}</h2><dl class="models">{models}</dl></section>
<footer>
<p class="notice"><strong>{escape(words["disclaimer"])}</strong> {escape(words["disclaimer.long"])}</p>
<p class="sign"><span>{escape(words["report.date"])}</span><span>{escape(words["report.signature"])}</span></p>
<p class="foot">{escape(report.id[:8])} · {escape(report.made)}</p>
</footer>
</article>"""


def _bones(sheet: Sheet, words: Words) -> str:
    return f"<h3>{escape(words['report.bones'])}</h3><p>{escape(sheet.bones)}</p>" if sheet.bones else ""


def _film(sheet: Sheet, words: Words) -> str:
    height, width = sheet.size
    across = min(_FILM_WIDTH_MM, _FILM_HEIGHT_MM * width / height)
    picture = b64encode(jpeg(sheet.pixels)).decode()
    marks = "".join(_mark(mark, height_px=height, width_px=width) for mark in sheet.marks)
    return (
        f'<svg class="film" width="{across:.1f}mm" height="{across * height / width:.1f}mm" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words["report.picture"])}">'
        f'<image width="{width}" height="{height}" preserveAspectRatio="none" href="data:image/jpeg;base64,{picture}"/>'
        f"{marks}</svg>"
    )


def _mark(mark: Mark, *, height_px: int, width_px: int) -> str:
    """A box with a dark line below the coloured one; labels of the model stand above, the reader's below."""
    x0, y0, x1, y1 = mark.box_xyxy_px
    line = max(height_px, width_px) * _LINE_SHARE
    tall, wide = 7 * line, (4.2 * len(mark.label) + 3) * line
    x = min(x0, width_px - wide)
    above, below = y0 - tall, min(y1, height_px - tall)
    fits = y1 + tall <= height_px if mark.kind == "reader" else above < 0
    y = below if fits else max(above, 0)
    dash = f' stroke-dasharray="{3 * line:.1f} {2 * line:.1f}"' if mark.kind in DASHED else ""
    rect = f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="none"{dash}'
    return (
        f'<rect {rect} stroke="#000" stroke-opacity=".55" stroke-width="{2 * line:.2f}"/>'
        f'<rect {rect} stroke="{KINDS[mark.kind]}" stroke-width="{line:.2f}"/>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="{KINDS[mark.kind]}"/>'
        f'<text x="{x + 1.6 * line:.1f}" y="{y + 5.3 * line:.1f}" font-size="{5.6 * line:.1f}" fill="#fff">'
        f"{escape(mark.label)}</text>"
    )


def _legend(sheet: Sheet, words: Words) -> str:
    kinds = [kind for kind in KINDS if any(mark.kind == kind for mark in sheet.marks)]
    items = "".join(f'<li class="{kind}">{escape(words[f"report.legend.{kind}"])}</li>' for kind in kinds)
    return f'<ul class="legend">{items}</ul>' if items else ""


def _places(sheet: Sheet, words: Words) -> str:
    if not sheet.places:
        key = "report.none.gate" if sheet.decision == "not_a_radiograph" else "report.none"
        return f"<p>{escape(words[key])}</p>"
    keys = ("grade", "probability", "score", "report.says", "report.box", "report.reader")
    rows = "".join(
        f'<tr><td>{place.number}</td><td class="{place.kind}">{escape(place.grade)}</td>'
        + _cells((place.probability, place.score, place.says))
        + f'<td class="box">{escape(place.box)}</td>{_cells((place.reader,))}</tr>'
        for place in sheet.places
    )
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("#", *(words[key] for key in keys)))
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="small">{escape(words["report.explained"])}</p>'
    )


def _reader(note: ReaderNote | None, words: Words) -> str:
    if note is None:
        return f"<p>{escape(words['report.reading.none'])}</p>"
    comment = f'<p class="comment">{escape(note.comment)}</p>' if note.comment else ""
    rows = "".join(f"<tr>{_cells((one.label, one.says, one.box))}</tr>" for one in note.drawings)
    caption = f"<caption>{escape(words['report.drawn'])}</caption>"
    drawings = f"<table>{caption}<tbody>{rows}</tbody></table>" if rows else ""
    earlier = f'<p class="small">{escape(note.earlier)}</p>' if note.earlier else ""
    by = f'<span class="small">· {escape(note.by)}</span>'
    return f"<p><strong>{escape(note.verdict)}</strong> {by}</p>{comment}{drawings}{earlier}"


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{escape(text)}</td>" for text in texts)
