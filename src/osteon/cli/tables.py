"""Findings as a table on the terminal, CSV, JSON, or COCO results."""

import csv
import io
import json
from collections.abc import Sequence

from osteon.anatomy import Language
from osteon.findings import Failure, Findings, Fracture, document

COLUMNS = (
    "source",
    "decision",
    "probability",
    "bone_area",
    "bone_confidence",
    "fractures",
    "best_score",
    "best_probability",
    "ms",
)
BONE_COLUMNS = ("bones", "fractured_bones", "bones_probability")
"""Further columns, where bones were asked for."""
CATEGORY_ID = 1
"""COCO category of a fracture; the only one."""
STYLES = {"fracture": "bold red", "doubt": "yellow", "no_fracture": "green", "not_a_radiograph": "dim"}


def columns(findings: Sequence[Findings]) -> tuple[str, ...]:
    """COLUMNS, and BONE_COLUMNS where anybody asked for bones."""
    return COLUMNS + (BONE_COLUMNS if any(finding.bones is not None for finding in findings) else ())


def row(findings: Findings, language: Language = "en") -> tuple[str, ...]:
    """The cells of COLUMNS, and of BONE_COLUMNS where bones were asked for."""
    best = max(findings.fractures, key=lambda fracture: fracture.score, default=None)
    return (
        findings.source,
        findings.decision,
        _probability(findings),
        f"{findings.bone.area_fraction:.2f}",
        f"{findings.bone.confidence:.2f}",
        str(len(findings.fractures)) if findings.detector else "",
        f"{best.score:.2f}" if best else "",
        f"{best.probability:.2f}" if best else "",
        f"{findings.timing_ms['total']:.0f}",
        *(() if findings.bones is None else _bone_cells(findings, language)),
    )


def _probability(findings: Findings) -> str:
    """That the picture shows a fracture; "" where the detector does not say."""
    told = findings.suspicion.probability if findings.suspicion else None
    return "" if told is None else f"{told:.2f}"


def _bone_cells(findings: Findings, language: Language) -> tuple[str, str, str]:
    """How many bones; where fractures are suspected, each place once, the surest first; the second opinion."""
    places = [fracture.anchor.place(language) for fracture in findings.fractures if fracture.anchor]
    count = str(len(findings.bones or ())) if findings.instances else ""
    told = findings.damage.probability if findings.damage else None
    return count, "; ".join(dict.fromkeys(place for place in places if place)), "" if told is None else f"{told:.2f}"


def rich_table(findings: Sequence[Findings], language: Language = "en") -> None:
    """Print the table on standard output; plain text where that is no terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*(column.replace("_", " ") for column in columns(findings)))
    for finding in findings:
        table.add_row(*row(finding, language), style=STYLES[finding.decision])
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    console.print(table)


def json_text(findings: Sequence[Findings], failures: Sequence[Failure]) -> str:
    """The JSON document of interfaces.md."""
    return json.dumps(document(findings, failures), ensure_ascii=False, indent=1)


def csv_text(findings: Sequence[Findings], language: Language = "en") -> str:
    """One line a picture, `columns` as header."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns(findings))
    writer.writerows(row(finding, language) for finding in findings)
    return buffer.getvalue()


def coco_results(findings: Sequence[Findings]) -> str:
    """The COCO results list: every box that was reported, candidates too, best first within a picture.

    Where bones were asked for, each row tells the fracture's; the bones themselves are `osteon segment --instances`'.

    `image_id` is the picture's place in the list, from 1; evaluators with ids of their own go by `file_name`.
    """
    rows = [
        _coco_row(number, finding.source, box)
        for number, finding in enumerate(findings, start=1)
        for box in (*finding.fractures, *finding.candidates)
    ]
    return json.dumps(rows, ensure_ascii=False, indent=1)


def _coco_row(image_id: int, source: str, fracture: Fracture) -> dict[str, object]:
    x0, y0, x1, y1 = fracture.box_xyxy_px
    return {
        "image_id": image_id,
        "file_name": source.replace("\\", "/").rsplit("/", 1)[-1],
        "category_id": CATEGORY_ID,
        "bbox": [round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2)],
        "score": round(fracture.score, 6),
        **(fracture.anchor.to_json() if fracture.anchor else {}),
    }
