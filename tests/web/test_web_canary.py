"""What a sender writes into a file, its name or a form stays out of logs, metrics, addresses, errors, file names.

A server in a process of its own gets files in which every text there is holds a mark, over every route; then all that
it put out is searched. What its sender calls a file, a reader's comment and the report of the two are shown to whoever
sent them: those places are named here, and nothing else may hold the mark.
"""

import io
import json
import urllib.parse
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, PngImagePlugin
from programs import Program
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from serving import radiograph

import builders
import models

API = "/api/v1"
MARKS = ("Kanarskij", "Канарейкин")
"""One in Latin letters, short enough for every kind of DICOM text, one in Cyrillic."""

_LOOKED_AT = 16

MARK = MARKS[0]
BOTH = "^".join(MARKS)
SHOWN = frozenset(("name", "source", "file_name", "comment"))
"""Fields of answers that repeat what the sender calls a file, and what a reader commented."""

_TEXTS = frozenset(("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE"))
_PICTURE = builders.drawing(200, 150).pixels


def _with_all_texts(data: Dataset) -> Dataset:
    """Every attribute of the standard that holds free text, and private ones."""
    data.SpecificCharacterSet = "ISO_IR 192"
    for tag, (kind, count, _, retired, _) in DicomDictionary.items():
        if kind in _TEXTS and not retired and count == "1" and Tag(tag).group not in (0, 2, 4, 6):
            data.add_new(tag, kind, MARK if kind in ("AE", "SH") else BOTH)
    block = data.private_block(0x0011, MARK, create=True)
    block.add_new(0x01, "LO", BOTH)
    return data


def _dicom(**attributes: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return builders.written(_with_all_texts(builders.grey12(_PICTURE, **attributes)))


def _strange_dicom(keyword: str, kind: str) -> bytes:
    """The mark where a number, a date or a code belongs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = _with_all_texts(builders.grey12(_PICTURE))
        data.add_new(keyword, kind, "0" * 16)
        return builders.written(data).replace(b"0" * 16, MARK.upper().ljust(16).encode())


def _exif() -> Image.Exif:
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298, 0x9C9B, 0x9C9D):
        exif[tag] = MARK
    return exif


def _saved(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_PICTURE).save(buffer, kind, **options)
    return buffer.getvalue()


def _png() -> bytes:
    texts = PngImagePlugin.PngInfo()
    for keyword in ("Author", "Title", "Comment", "Patient"):
        texts.add_text(keyword, MARK)
        texts.add_itxt(keyword, BOTH, lang="ru", tkey=BOTH)
        texts.add_text(keyword, MARK * 50, zip=True)
    return _saved("PNG", pnginfo=texts, exif=_exif())


def _tiff() -> bytes:
    return _saved(
        "TIFF", tiffinfo={270: MARK, 305: MARK, 315: MARK, 269: MARK, 285: MARK, 33432: MARK, 37510: MARK.encode()}
    )


def _pictures() -> dict[str, bytes]:
    return {
        "dcm": _dicom(),
        "png": _png(),
        "tif": _tiff(),
        "jpg": _saved("JPEG", exif=_exif(), comment=BOTH.encode()),
        "webp": _saved("WEBP", exif=_exif()),
        "bmp": _saved("BMP") + BOTH.encode(),
        "large.png": radiograph(),
    }


def _broken() -> dict[str, bytes]:
    sound = _pictures()
    cut = {f"cut.{ending}": content[: len(content) * 2 // 3] for ending, content in sound.items()}
    strange = {
        f"{keyword}.dcm": _strange_dicom(keyword, kind)
        for keyword, kind in (
            ("PhotometricInterpretation", "CS"),
            ("WindowCenter", "DS"),
            ("WindowWidth", "DS"),
            ("RescaleSlope", "DS"),
            ("RescaleIntercept", "DS"),
            ("PixelSpacing", "DS"),
            ("NumberOfFrames", "IS"),
            ("PatientBirthDate", "DA"),
            ("StudyTime", "TM"),
            ("PatientAge", "AS"),
            ("ImageLaterality", "CS"),
            ("ViewPosition", "CS"),
            ("BodyPartExamined", "CS"),
            ("StudyInstanceUID", "UI"),
            ("SOPClassUID", "UI"),
            ("SpecificCharacterSet", "CS"),
            ("PresentationLUTShape", "CS"),
            ("BurnedInAnnotation", "CS"),
        )
    }
    text = {
        "text.dcm": b"\0" * 128 + b"DICM" + BOTH.encode(),
        "text.txt": BOTH.encode() * 20,
        "page.html": f"<script>alert('{BOTH}')</script>".encode(),
        "picture.svg": f"<svg xmlns='http://www.w3.org/2000/svg'><text>{BOTH}</text></svg>".encode(),
        "empty": b"",
    }
    return cut | strange | text


def _archive(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = BOTH.encode()
        for name, content in entries.items():
            archive.writestr(f"{BOTH}/{MARK} {name}", content)
        archive.writestr(f"../{MARK}", b"outside")
        archive.writestr(f"{MARK}/", b"")
    return buffer.getvalue()


@dataclass
class Told:
    """All that came back."""

    answers: list[httpx.Response] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    log: str = ""
    metrics: str = ""
    files: list[str] = field(default_factory=list)


def _said(answer: httpx.Response) -> Any:
    """The JSON of an answer that is no problem; None where it holds none."""
    return answer.json() if answer.content and answer.headers["content-type"] == "application/json" else None


class _Sender:
    """Sends everything over every route."""

    def __init__(self, client: httpx.Client, told: Told) -> None:
        self.client = client
        self.told = told

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        answer = self.client.request(method, path, **sent)
        self.told.answers.append(answer)
        found = _said(answer)
        if isinstance(found, dict):
            self.told.ids += [one["id"] for one in found.get("analyses", ()) if "id" in one]
        return answer

    def send(self, name: str, content: bytes, *, in_pieces: bool = True) -> None:
        name = f"{BOTH} {name}"
        file = {"file": (name, content, "application/octet-stream")}
        self.ask("POST", f"{API}/previews", files=file)
        self.ask("POST", f"{API}/analyses", files=file, data={"study": BOTH}, params={"wait": 60})
        if not in_pieces:
            return
        begun = self.ask("POST", f"{API}/uploads", json={"name": name, "size_bytes": len(content), "study": BOTH})
        if begun.status_code == 201:
            place = f"{API}/uploads/{begun.json()['id']}"
            self.ask("PATCH", place, headers={"Upload-Offset": "0"}, content=content)
            self.ask("GET", place)
            self.ask("POST", f"{place}/preview")
            self.ask("POST", f"{place}/analysis", params={"wait": 30, "again": True})
            self.ask("DELETE", place)

    def look(self, analysis_id: str) -> None:
        place = f"{API}/analyses/{analysis_id}"
        shown = _said(self.ask("GET", place)) or {}
        self.ask("PATCH", place, json={"seen": True})
        answer = {"page": 1, "verdict": "fracture", "comment": BOTH, "boxes": []}
        self.ask("POST", f"{place}/answers", json=answer)
        self.ask("GET", f"{place}/answers")
        self.ask("POST", f"{place}/bones", params={"wait": 30})
        for name in (
            "bones",
            "bones.png",
            "image.png",
            "bone.png",
            "overlay.png",
            "thumbnail.jpg",
            "pixels",
            "report.pdf",
            "report.html",
            "events",
        ):
            self.ask("GET", f"{place}/{name}")
        self.ask("GET", f"{place}/image.png", params={"page": MARK})
        self.ask("POST", f"{place}/cancel")
        if shown.get("study"):
            self.ask("GET", f"{API}/studies/{shown['study']}")

    def pry(self) -> None:
        """Wrong requests that hold the mark wherever one may write something."""
        quoted = urllib.parse.quote(BOTH)
        for path in (f"/{quoted}", f"{API}/analyses/{quoted}", f"{API}/studies/{quoted}", f"{API}/uploads/{quoted}"):
            for method in ("GET", "POST", "PATCH", "DELETE"):
                self.ask(method, path, params={"q": BOTH})
        for query in ("search", "status", "cursor", "limit", "study", "owner", "language"):
            self.ask("GET", f"{API}/analyses", params={query: BOTH})
        self.ask(
            "POST",
            f"{API}/analyses",
            content=BOTH.encode(),
            headers={"Content-Type": f"multipart/form-data; boundary={MARK}"},
        )
        self.ask("POST", f"{API}/analyses", files={MARK: (BOTH, b"x")}, data={BOTH: BOTH})
        self.ask("POST", f"{API}/uploads", json={BOTH: BOTH, "name": 5, "size_bytes": BOTH})
        self.ask("POST", f"{API}/uploads", content=BOTH.encode(), headers={"Content-Type": "application/json"})
        self.ask("POST", f"{API}/session", json={"key": BOTH})
        said = {
            "User-Agent": MARK,
            "Referer": f"http://127.0.0.1/{MARK}",
            "X-Request-ID": MARK,
            "Cookie": f"osteon_session={MARK}",
        }
        self.ask("GET", f"{API}/analyses", headers={**said, "Authorization": f"Bearer {MARK}", "Accept-Language": MARK})
        self.ask("GET", f"{API}/analyses", headers={"Host": f"{MARK}.example"})
        self.ask("POST", f"{API}/analyses", headers={"Origin": f"http://{MARK}.example"})
        for path in ("/", "/docs", "/sign-in", "/readyz", f"/samples/{quoted}", f"/static/{quoted}"):
            self.ask("GET", path, params={"language": MARK})


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, model_files: models.ModelFiles) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("canary") / "data"
    bones = str(models.bones_file(folder.parent / "models"))
    program = Program(folder, model_files, "--port", "0", log="json", bones=bones)
    told = Told()
    try:
        with httpx.Client(base_url=program.url, timeout=120) as client:
            sender = _Sender(client, told)
            sound, broken = _pictures(), _broken()
            for name, content in (sound | broken).items():
                sender.send(name, content, in_pieces=name in sound or name.startswith("text"))
                told.files += _names(folder)
            sender.send("all.zip", _archive(sound | broken))
            sender.send("none.zip", _archive({"text.txt": BOTH.encode()}))
            for analysis_id in sorted(set(told.ids))[:_LOOKED_AT]:
                sender.look(analysis_id)
            sender.pry()
            sender.ask("GET", f"{API}/analyses", params={"limit": 100})
            told.files += _names(folder)
            told.metrics = client.get("/metrics").text
            for analysis_id in sorted(set(told.ids)):
                sender.ask("DELETE", f"{API}/analyses/{analysis_id}")
        program.end()
        told.log = program.text()
        yield told
    finally:
        program.kill()


def _names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*")]


def _forms() -> list[str]:
    """How the marks may look in a text."""
    return [
        form.lower()
        for mark in MARKS
        for form in (mark, urllib.parse.quote(mark), json.dumps(mark)[1:-1], mark.encode().decode("latin-1"))
    ]


FORMS = _forms()


def marked(text: str) -> bool:
    low = text.lower()
    return any(form in low for form in FORMS)


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield ("key", name)
            yield from _strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)
    elif isinstance(value, str):
        yield (key, value)


def test_everything_was_sent_and_much_of_it_analysed(told: Told) -> None:
    routes = {f"{answer.request.method} {answer.status_code}" for answer in told.answers}
    assert {"POST 200", "POST 201", "POST 422", "PATCH 200", "GET 200", "GET 404", "DELETE 204", "POST 403"} <= routes
    assert not [answer for answer in told.answers if answer.status_code >= 500]
    assert len(set(told.ids)) > 10
    assert marked(" ".join(answer.text for answer in told.answers if answer.status_code < 300)), "names are shown"


def test_mark_is_found_in_every_form() -> None:
    for mark in MARKS:
        garbled = mark.encode().decode("latin-1")
        for text in (mark, urllib.parse.quote(mark), json.dumps({"name": mark}), garbled, mark.upper()):
            assert marked(f"some {text} more")
    assert not marked("nothing of the kind")


def test_log_holds_no_mark(told: Told) -> None:
    assert told.log.count('"event": "request"') > 200
    assert [line for line in told.log.splitlines() if marked(line)] == []


def test_metrics_hold_no_mark(told: Told) -> None:
    assert "osteon_requests_total" in told.metrics
    assert not marked(told.metrics)


def test_names_of_files_hold_no_mark(told: Told) -> None:
    assert any("original" in name for name in told.files)
    assert [name for name in told.files if marked(name)] == []


def test_errors_hold_no_mark(told: Told) -> None:
    problems = [answer for answer in told.answers if answer.headers.get("content-type") == "application/problem+json"]
    assert len(problems) > 50
    for answer in problems:
        found = [text for key, text in _strings(answer.json()) if key not in SHOWN and marked(text)]
        assert found == [], f"{answer.request.method} {answer.request.url.path}"


def test_answers_hold_it_only_where_it_is_shown(told: Told) -> None:
    found = set()
    for answer in told.answers:
        found |= {key for key, text in _strings(_said(answer)) if marked(text)}
    assert found <= SHOWN


def test_addresses_and_headers_hold_no_mark(told: Told) -> None:
    for answer in told.answers:
        assert not marked("\n".join(f"{name}: {value}" for name, value in answer.headers.items()))
        assert not [text for _, text in _strings(_said(answer)) if text.startswith(("/", "http")) and marked(text)]


def test_pictures_hold_no_mark(told: Told) -> None:
    kinds = ("image/png", "image/jpeg", "application/octet-stream")
    pictures = [answer for answer in told.answers if answer.headers.get("content-type") in kinds and answer.is_success]
    assert len(pictures) > 30
    for answer in pictures:
        assert not marked(answer.content.decode("latin-1")), answer.request.url.path


def test_no_answer_has_an_active_type_but_our_own_pages(told: Told) -> None:
    passive = {"application/json", "application/problem+json", "image/png", "image/jpeg", "application/pdf"}
    passive |= {"application/octet-stream", "text/event-stream; charset=utf-8"}
    for answer in told.answers:
        kind, path = answer.headers.get("content-type", ""), answer.request.url.path
        assert answer.headers["x-content-type-options"] == "nosniff"
        if path.startswith(API) and not path.endswith("/report.html") and answer.content:
            assert kind in passive, f"{path}: {kind}"
        elif kind.startswith("text/html"):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "script-src 'unsafe" not in policy
            assert "<script>alert" not in answer.text
