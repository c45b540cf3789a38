"""What a report says, sheet by sheet, whatever it is written as: `report_pdf` and `report_html` lay it out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import bone_name
from osteon.findings import BoxXyxy, Decision
from osteon.service import pictures
from osteon.service.answers import Answer, BoxStatus
from osteon.service.catalogue import Language, catalogue
from osteon.service.encodings import fitted
from osteon.service.files import AnalysisFiles
from osteon.service.store import Analysis

Kind = Literal["fracture", "doubt", "reader", "rejected"]
"""Who drew a box, and what of: the model (a fracture or a doubt), the reader, or the model and the reader said no."""

KINDS: Mapping[Kind, str] = {"fracture": "#d8261c", "doubt": "#e08a00", "reader": "#1668c7", "rejected": "#8593a0"}
"""Their colours, told apart on a film and on paper; dashes tell a doubt from a fracture without colour."""

DASHED: frozenset[Kind] = frozenset(("doubt", "rejected"))
PICTURE_SIDE_PX = 1600
_TIME = {"en": "%Y-%m-%d %H:%M UTC", "ru": "%d.%m.%Y %H:%M UTC"}
_LOCAL = "local"

Words = Mapping[str, str]


@dataclass(frozen=True)
class Mark:
    """A box drawn on the picture, in its pixels, with the label beside it."""

    box_xyxy_px: BoxXyxy
    label: str
    kind: Kind


@dataclass(frozen=True)
class Place:
    """A row of the list of places found, in words."""

    number: str
    kind: Kind
    grade: str
    probability: str
    score: str
    says: str
    box: str
    reader: str


@dataclass(frozen=True)
class Drawing:
    """A row of the list of boxes that the reader drew, in words."""

    label: str
    says: str
    box: str


@dataclass(frozen=True)
class ReaderNote:
    """What the reader said of a page, in words; `earlier` is '' where nothing was said before."""

    verdict: str
    by: str
    comment: str
    drawings: tuple[Drawing, ...]
    earlier: str


@dataclass(frozen=True, eq=False)
class Sheet:
    """Everything of one page.

    Attributes:
        page: from 1.
        heading: which page it is, '' where there is only one.
        decision: of the model.
        headline: the decision in words.
        meaning: what the decision means.
        gate: what the gate says.
        bones: which bones were found; '' where nobody asked.
        pixels: (height, width) uint8 as people see it, at most `PICTURE_SIDE_PX` a side.
        size: height and width of the page in pixels, which marks are in.
        marks: boxes on it, the surest of the model last.
        places: the list of places found.
        note: the reader's answer, or None.
        models: name of the task; name and version; digest.
    """

    page: int
    heading: str
    decision: Decision
    headline: str
    meaning: str
    gate: str
    bones: str
    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    marks: tuple[Mark, ...]
    places: tuple[Place, ...]
    note: ReaderNote | None
    models: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, eq=False)
class Report:
    """A report: the file's name, facts of the analysis (label and value), and its sheets.

    `words` has whatever else stands on it.
    """

    id: str
    language: Language
    words: Words
    name: str
    made: str
    facts: tuple[tuple[str, str], ...]
    sheets: tuple[Sheet, ...]


def report_of(
    analysis: Analysis,
    kept: AnalysisFiles,
    answers: Sequence[Answer] = (),
    *,
    made_at: datetime,
    language: Language = "en",
) -> Report:
    """The report of a succeeded analysis.

    Args:
        analysis: with findings.
        kept: where its pictures lie.
        answers: all readers' answers to it; the newest of each page is shown.
        made_at: now (UTC).
        language: of the report.

    Raises:
        AnalysisNotFound: a picture is gone.
    """
    words = catalogue()[language]
    made = made_at.strftime(_TIME[language])
    facts = (
        (words["report.sent"], analysis.created_at.strftime(_TIME[language])),
        (words["report.analysed"], analysis.finished_at.strftime(_TIME[language]) if analysis.finished_at else ""),
        (words["report.made"], made),
        (words["report.id"], analysis.id),
        (words["report.digest"], str(analysis.pages[0]["sha256"]) if analysis.pages else ""),
    )
    writer = _Writer(words, language, len(analysis.pages))
    sheets = tuple(
        writer.sheet(
            number,
            findings,
            [answer for answer in answers if answer.page == number],
            pictures.image_png(kept, analysis.id, number - 1),
        )
        for number, findings in enumerate(analysis.pages, start=1)
    )
    return Report(analysis.id, language, words, analysis.name, made, tuple(fact for fact in facts if fact[1]), sheets)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width) grey pixels as JPEG."""
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


@dataclass(frozen=True)
class _Writer:
    """Puts findings and answers into words of one language."""

    words: Words
    language: Language
    pages: int

    def sheet(self, page: int, findings: Mapping[str, Any], answers: Sequence[Answer], png: bytes) -> Sheet:
        """Everything of a page."""
        words = self.words
        answer = max(answers, key=lambda one: one.id, default=None)
        statuses = {box.of: box.status for box in answer.boxes if box.of is not None} if answer else {}
        return Sheet(
            page=page,
            heading=words["report.sheet"].format(page=page, pages=self.pages) if self.pages > 1 else "",
            decision=findings["decision"],
            headline=words[f"decision.{findings['decision']}"],
            meaning=self._meaning(findings),
            gate=self._gate(findings["bone"]),
            bones=self._bones(findings["bones"]) if "bones" in findings else "",
            pixels=_pixels(png),
            size=(findings["height_px"], findings["width_px"]),
            marks=_marks(findings["fractures"], statuses, answer),
            places=tuple(
                self._place(number, fracture, answer, statuses.get(number - 1))
                for number, fracture in enumerate(findings["fractures"], start=1)
            ),
            note=self._note(answer, earlier=len(answers) - 1) if answer else None,
            models=tuple(
                (words[f"model.{task}"], f"{m['name']}, {words['report.version'].format(**m)}", m["sha256"])
                for task, m in findings["models"].items()
                if m
            ),
        )

    def _gate(self, bone: Mapping[str, Any]) -> str:
        return self.words[f"report.gate.{'yes' if bone['present'] else 'no'}"].format(
            area=self._percent(bone["area_fraction"]), confidence=self._number(bone["confidence"])
        )

    def _meaning(self, findings: Mapping[str, Any]) -> str:
        """What the decision means, and the probability of a fracture on the film where it is told."""
        said = [self.words[f"meaning.{findings['decision']}"]]
        for name in ("suspicion", "damage"):
            told = (findings.get(name) or {}).get("probability")
            if told is not None:
                said.append(self.words[name].format(probability=self._percent(told)))
        return " ".join(said)

    def _bones(self, bones: Sequence[Mapping[str, Any]]) -> str:
        """Their names, each with its number where there are several: "radius, ulna, phalanx (14)"."""
        names = [bone_name(label).name(self.language) for label in (bone["label"] for bone in bones)]
        told = [name if count == 1 else f"{name} ({count})" for name, count in Counter(names).items()]
        return ", ".join(told) or self.words["report.bones.none"]

    def _place(
        self, number: int, fracture: Mapping[str, Any], answer: Answer | None, status: BoxStatus | None
    ) -> Place:
        words = self.words
        grade = fracture["grade"]
        open_word = words["report.reading.open"] if answer else "—"
        return Place(
            number=str(number),
            kind="rejected" if status == "rejected" else grade,
            grade=words[f"grade.{grade}"],
            probability=self._percent(fracture["probability"]),
            score=self._number(fracture["score"]),
            says=f"{self._where(fracture)}{words[f'report.says.{grade}']} {self._odds(fracture['probability'])}",
            box=_box_text(fracture["box_xyxy_px"]),
            reader=words[f"box.{status}"] if status else open_word,
        )

    def _where(self, fracture: Mapping[str, Any]) -> str:
        """On which bone it lies, as a sentence; '' where nobody asked."""
        text = fracture["text"][self.language] if "text" in fracture else ""
        return f"{text[0].upper()}{text[1:]}. " if text else ""

    def _odds(self, probability: float) -> str:
        """Of ten such boxes, how many."""
        if probability < 0.1:
            return self.words["report.odds.few"]
        if probability >= 0.95:
            return self.words["report.odds.most"]
        return self.words["report.odds"].format(count=round(probability * 10))

    def _note(self, answer: Answer, *, earlier: int) -> ReaderNote:
        words = self.words
        author = words["report.reading.local"] if answer.author == _LOCAL else answer.author
        drawn = [box for box in answer.boxes if box.status in ("redrawn", "added")]
        return ReaderNote(
            verdict=words[f"verdict.{answer.verdict}"],
            by=f"{author}, {answer.created_at.strftime(_TIME[self.language])}",
            comment=answer.comment,
            drawings=tuple(
                Drawing(
                    f"R{number}",
                    words[f"report.drawn.{box.status}"].format(number=(box.of or 0) + 1),
                    _box_text(box.box_xyxy_px),
                )
                for number, box in enumerate(drawn, start=1)
            ),
            earlier=words["report.reading.earlier"].format(count=earlier) if earlier else "",
        )

    def _percent(self, share: float) -> str:
        return f"{share:.0%}" if self.language == "en" else f"{share * 100:.0f}\u00a0%"

    def _number(self, value: float) -> str:
        return f"{value:.2f}" if self.language == "en" else f"{value:.2f}".replace(".", ",")


def _marks(
    fractures: Sequence[Mapping[str, Any]], statuses: Mapping[int, BoxStatus], answer: Answer | None
) -> tuple[Mark, ...]:
    """Boxes of the model, the surest last, then those of the reader."""
    of_model = [
        Mark(
            tuple(fracture["box_xyxy_px"]),
            str(index + 1),
            "rejected" if statuses.get(index) in ("rejected", "redrawn") else fracture["grade"],
        )
        for index, fracture in enumerate(fractures)
    ]
    drawn = [box for box in answer.boxes if box.status in ("redrawn", "added")] if answer else []
    of_reader = [Mark(box.box_xyxy_px, f"R{number}", "reader") for number, box in enumerate(drawn, start=1)]
    return (*reversed(of_model), *of_reader)


def _box_text(box_xyxy_px: Sequence[float]) -> str:
    """Corners of a box, whole pixels."""
    x0, y0, x1, y1 = (f"{value:.0f}" for value in box_xyxy_px)
    return f"{x0},\u00a0{y0} – {x1},\u00a0{y1}"


def _pixels(png: bytes) -> NDArray[np.uint8]:
    pixels = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
    return fitted(pixels, side_px=PICTURE_SIDE_PX)
