"""The page without a browser: its built files are those of the sources, its words are all there and all used."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from serving import Running

from osteon.service.catalogue import LANGUAGES, catalogue
from osteon.web.page import STATIC

FRONTEND = Path(__file__).parents[2] / "frontend"
SOURCES = ("package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "src")
BUILT = STATIC / "app"

pytestmark = pytest.mark.skipif(not FRONTEND.is_dir(), reason="not in a checkout: no sources of the page")


def sources_hash(folder: Path) -> str:
    """SHA-256 over "path NUL content NUL" of every source in the order of their paths, as vite.config.ts writes it."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in SOURCES
        for path in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
        if path.is_file()
    }
    content = b"".join(name.encode() + b"\0" + files[name] + b"\0" for name in sorted(files))
    return hashlib.sha256(content).hexdigest()


def text_of(*folders: Path) -> str:
    return "\n".join(path.read_text("utf-8") for folder in folders for path in sorted(folder.rglob("*.ts")))


class TestBuilt:
    def test_files_are_those_of_the_sources(self) -> None:
        built = (BUILT / "sources.sha256").read_text("ascii").strip()
        assert built == sources_hash(FRONTEND), "the page's sources have changed: run `make page` and commit static/app"

    def test_hash_tells_a_changed_source(self, tmp_path: Path) -> None:
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "main.ts").write_text("one")
        before = sources_hash(tmp_path)
        (tmp_path / "src" / "main.ts").write_text("two")
        assert sources_hash(tmp_path) != before

    def test_files_are_these_and_light(self) -> None:
        assert {path.name for path in BUILT.iterdir()} == {"page.js", "page.css", "licences.txt", "sources.sha256"}
        assert sum(path.stat().st_size for path in BUILT.iterdir()) < 600_000
        assert "Redistribution and use" in (BUILT / "licences.txt").read_text("utf-8")

    def test_dependencies_are_pinned_and_named_in_the_licences(self) -> None:
        package = json.loads((FRONTEND / "package.json").read_text("utf-8"))
        for version in (package["dependencies"] | package["devDependencies"]).values():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version), version
        licences = (FRONTEND.parent / "docs" / "licences.md").read_text("utf-8").lower()
        assert {name for name in package["dependencies"] if name not in licences} == set()


class TestWords:
    def test_every_word_of_the_page_is_in_the_catalogue(self) -> None:
        keys = catalogue()["en"].keys()
        said = set(re.findall(r"""\bword\(\s*"([\w.]+)"|word: "([\w.]+)\"""", text_of(FRONTEND / "src")))
        words = {key for pair in said for key in pair if key}
        assert len(words) > 60
        assert words <= keys

    def test_every_family_of_words_is_complete(self) -> None:
        keys = catalogue()["en"].keys()
        families = {
            "decision": ("fracture", "doubt", "no_fracture", "not_a_radiograph"),
            "meaning": ("fracture", "doubt", "no_fracture", "not_a_radiograph"),
            "grade": ("fracture", "doubt"),
            "box": ("accepted", "rejected", "redrawn", "added"),
            "verdict": ("fracture", "no_fracture", "unsure", "unusable"),
            "status": ("queued", "running", "succeeded", "failed", "cancelled"),
            "state": ("waiting", "preview", "gate", "upload", "broken", "crowded", "queued", "running"),
            "reason": ("no_bone", "small_area", "low_confidence"),
        }
        assert {f"{family}.{name}" for family, names in families.items() for name in names} <= keys

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_no_string_stands_in_the_sources(self, language: str) -> None:
        sources = text_of(FRONTEND / "src")
        for text in catalogue()[language].values():  # type: ignore[index]
            if " " in text:
                assert f'"{text}"' not in sources

    def test_no_russian_outside_the_catalogue(self) -> None:
        assert not re.search("[А-Яа-яЁё]", text_of(FRONTEND / "src"))


class TestTemplates:
    def test_page_has_no_script_or_style_of_its_own(self, shared: Running) -> None:
        page = shared.client.get("/").text
        assert re.findall(r"<script(?![^>]*(?:src=|application/json))", page) == []
        assert "<style" not in page and not re.search(r'\son\w+="|\sstyle="', page)

    def test_page_gives_the_token_and_the_caller(self, shared: Running) -> None:
        page = shared.client.get("/").text
        found = re.search(r'id="config">(.*?)</script>', page, re.DOTALL)
        assert found
        config = json.loads(found[1])
        assert config["caller"]["local"] is True and config["csrf"] == ""
        assert set(config["caller"]["scopes"]) == {"analyse", "read", "answer", "admin"}
