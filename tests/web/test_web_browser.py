"""The page in headless Chromium, against a running server: what a person sees, and what leaves the browser."""

import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving import JUDGE, Running, photograph, png, radiograph, running

import bone_judges
import builders
import models
from osteon.service.settings import Settings

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = (390, 844)
DESKTOP = (1280, 800)
WAIT_MS = 30_000
DECISIONS = {
    "en-GB": ("Fracture suspected", "In doubt: look again", "No fracture found", "Not a radiograph"),
    "ru-RU": ("Подозрение на перелом", "Сомнительно: проверьте", "Перелом не найден", "Не рентгенограмма"),
}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
expect = sync_api.expect
expect.set_options(timeout=WAIT_MS)

FILM = """() => {
  const film = document.querySelector("#pane-1 .openseadragon-canvas canvas");
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [film.width, film.height];
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(film, 0, 0);
  const { data } = pen.getImageData(0, 0, copy.width, copy.height);
  let [sum, teal] = [0, 0];
  for (let at = 0; at < data.length; at += 4) {
    sum += data[at];
    if (data[at + 2] > data[at] + 20) teal += 1;
  }
  return { mean: (4 * sum) / data.length, teal };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, model_files: models.ModelFiles) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("page")
    found = {"gate": model_files.gate, "detector": model_files.detector, "bones": models.bones_file(folder)}
    found["bone_judge"] = bone_judges.write_judge(folder / JUDGE, bone_judges.joined())
    settings = Settings(data_dir=folder, **found, decoders=1)
    with running(settings) as server:
        yield server


@pytest.fixture
def server(kept: Running) -> Iterator[Running]:
    """One server for all, with an empty store for each test."""
    yield kept
    for analysis in kept.client.get("/api/v1/analyses", params={"limit": 100}).json()["analyses"]:
        kept.client.delete(f"/api/v1/analyses/{analysis['id']}")


@dataclass
class Visit:
    """An open page, with everything it asked for and complained about."""

    page: Any
    requests: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    forgiven: str = "nothing"

    def asked(self, method: str, path: str) -> list[Any]:
        """Requests of a method whose path matches."""
        return [one for one in self.requests if one.method == method and re.search(f"{path}$", one.url.split("?")[0])]

    def choose(self, *files: tuple[str, bytes]) -> None:
        payload = [{"name": name, "mimeType": kind_of(name), "buffer": content} for name, content in files]
        self.page.set_input_files("#file", payload)

    def decision(self) -> str:
        decision = self.page.wait_for_selector("#findings .decision", timeout=WAIT_MS)
        return str(decision.inner_text().strip())

    def rows(self, count: int) -> None:
        """Wait until the worklist has so many rows, and nothing is on its way."""
        expect(self.page.locator("#recent .open")).to_have_count(count)

    def open(self, name: str) -> None:
        self.page.locator("#recent .open", has_text=name).click()
        expect(self.page.locator("#findings .file-name")).to_have_text(name)
        self.page.wait_for_selector("#findings .decision", timeout=WAIT_MS)

    def film(self) -> dict[str, float]:
        """Mean grey of the film's canvas, and how many of its pixels are tinted as bone."""
        self.page.wait_for_timeout(250)
        found: dict[str, float] = self.page.evaluate(FILM)
        return found

    def zoom(self) -> float:
        self.page.wait_for_timeout(250)
        text = self.page.inner_text("#pane-1 .corner.zoom")
        return float(re.sub(r"[^\d.,]", "", text).replace(",", "."))

    def place(self, selector: str) -> dict[str, float]:
        found: dict[str, float] = self.page.locator(selector).first.bounding_box()
        return found

    def drag(self, *, dx: float, dy: float, at: tuple[float, float] = (0.5, 0.5), button: str = "left") -> None:
        pane = self.place("#pane-1")
        x, y = pane["x"] + at[0] * pane["width"], pane["y"] + at[1] * pane["height"]
        self.page.mouse.move(x, y)
        self.page.mouse.down(button=button)
        self.page.mouse.move(x + dx, y + dy, steps=4)
        self.page.mouse.up(button=button)
        self.page.wait_for_timeout(250)

    def faults(self) -> list[str]:
        """What axe calls serious or critical."""
        found = axe.Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found if one["impact"] in GRAVE]


GRAVE = {"serious", "critical"}


def kind_of(name: str) -> str:
    kinds = {".png": "image/png", ".jpg": "image/jpeg", ".tif": "image/tiff"}
    return kinds.get(Path(name).suffix, "application/octet-stream")


@pytest.fixture
def visit(browser: Any, server: Running) -> Iterator[Callable[..., Visit]]:
    """Opens the page; at the end of the test nothing may have gone to another host, and nothing been complained of."""
    visits: list[Visit] = []

    def open_page(size: tuple[int, int] = DESKTOP, *, locale: str = "en-GB", url: str = "", **options: Any) -> Visit:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, locale=locale, **options)
        made = Visit(context.new_page())
        made.page.on("request", lambda request: made.requests.append(request))  # a builtin method cannot be marked
        made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
        made.page.on(
            "console",
            lambda message: made.complaints.append(message.text) if message.type in ("error", "warning") else None,
        )
        made.page.goto(url or server.url)
        visits.append(made)
        return made

    yield open_page
    for one in visits:
        elsewhere = [r.url for r in one.requests if not re.match(r"(blob:)?http://127\.0\.0\.1:|data:", r.url)]
        one.page.unroute_all(behavior="ignoreErrors")
        one.page.context.close()
        assert elsewhere == [], "nothing goes to another host"
        assert [text for text in one.complaints if one.forgiven not in text] == []


Open = Callable[..., Visit]


class TestWayOfAFile:
    @pytest.mark.parametrize("locale", ["en-GB", "ru-RU"])
    @pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
    def test_radiograph_goes_all_the_way_to_boxes(self, visit: Open, size: tuple[int, int], locale: str) -> None:
        seen = visit(size, locale=locale)
        seen.choose(("wrist.png", png(models.radiograph_pixels(1200, 900))))
        assert seen.decision() == DECISIONS[locale][0]
        seen.page.wait_for_selector("#pane-1 .box.fracture", timeout=WAIT_MS)
        seen.film()
        drawn, picture = seen.place(".box"), seen.place("#pane-1 .extent")
        x0, y0, x1, y1 = models.spot_box_px(1200, 900)
        scale = picture["width"] / 900
        middle = (drawn["x"] + drawn["width"] / 2 - picture["x"], drawn["y"] + drawn["height"] / 2 - picture["y"])
        assert abs(middle[0] - (x0 + x1) / 2 * scale) < 40 * scale
        assert abs(middle[1] - (y0 + y1) / 2 * scale) < 40 * scale
        assert seen.page.locator(".place").count() == 1
        assert "0.89" in seen.page.inner_text(".place") or "0,89" in seen.page.inner_text(".place")
        assert len(seen.asked("POST", "/previews")) == 1
        assert len(seen.asked("POST", "/analyses")) == 1
        if (size, locale) in ((DESKTOP, "en-GB"), (PHONE, "ru-RU")):
            assert seen.faults() == []
        assert DECISIONS[locale][0] in seen.page.text_content("#announcement"), "a screen reader says it"

    def test_preview_is_small_and_goes_first(
        self, visit: Open, server: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[tuple[int, int]] = []
        pipeline = type(server.service.pipeline)
        bone = pipeline.bone

        def watched(self: Any, radiograph: Any) -> Any:
            sizes.append(radiograph.pixels.shape)
            return bone(self, radiograph)

        monkeypatch.setattr(pipeline, "bone", watched)
        seen = visit()
        seen.choose(("wrist.png", png(models.radiograph_pixels(1200, 900))))
        seen.decision()
        order = [one.url.split("?")[0].rsplit("/", 1)[1] for one in seen.requests if one.method == "POST"]
        assert order == ["previews", "analyses"]
        assert sizes[0] == (512, 384)

    def test_photograph_is_turned_away_and_sent_only_when_told(self, visit: Open, server: Running) -> None:
        seen = visit()
        seen.choose(("holiday.png", photograph(1200, 1600)))
        assert seen.decision() == "Not a radiograph"
        text = seen.page.inner_text("#findings")
        assert "No bone was seen on the preview." in text
        assert "The full-size file was not sent." in text
        seen.page.wait_for_timeout(300)
        assert seen.asked("POST", "/analyses") == []
        assert server.client.get("/api/v1/analyses").json()["analyses"] == []
        assert seen.page.locator(".box").count() == 0
        seen.page.click("text=Send it anyway")
        seen.rows(1)
        assert len(seen.asked("POST", "/analyses")) == 1
        assert seen.decision() == "Not a radiograph"
        assert seen.page.locator("#tasks .open").count() == 0

    def test_bone_mask_lies_over_the_preview_before_the_file_is_sent(self, visit: Open) -> None:
        seen = visit()
        seen.page.route(
            "**/api/v1/analyses?wait=*", lambda route: None if route.request.method == "POST" else route.continue_()
        )
        seen.choose(("wrist.png", png(models.radiograph_pixels(900, 700))))
        expect(seen.page.locator("#state")).to_contain_text("Sending the full-size file")
        assert seen.film()["teal"] > 1000
        assert seen.page.is_visible("#upload"), "the progress bar of the upload"
        assert seen.page.locator("#tasks .open").count() == 1

    def test_large_file_goes_in_pieces_and_on_after_a_broken_connection(self, visit: Open) -> None:
        seen = visit()
        seen.forgiven = "net::ERR_"
        broken: list[str] = []

        def break_second(route: Any) -> None:
            if route.request.headers.get("upload-offset") != "0" and not broken:
                broken.append(route.request.url)
                route.abort("connectionreset")
            else:
                route.continue_()

        seen.page.route("**/api/v1/uploads/*", break_second)
        seen.page.evaluate(
            """() => { window.told = [];
                 const state = document.getElementById("state");
                 const note = () => window.told.push(state.textContent);
                 new MutationObserver(note).observe(state, { childList: true }); }"""
        )
        seen.choose(("wrist.png", radiograph() + bytes(5_000_000)))
        assert seen.decision() == "Fracture suspected"
        offsets = [one.headers["upload-offset"] for one in seen.asked("PATCH", "/uploads/.*")]
        assert offsets == ["0", "4194304", "4194304"]
        assert len(seen.asked("GET", "/uploads/.*")) == 1, "it asked what had come"
        told = " ".join(seen.page.evaluate("window.told"))
        assert "The connection is broken; trying again" in told
        assert re.search(r"file: (8[3-9]|9\d)%", told)

    def test_small_file_is_sent_again_after_a_broken_connection(self, visit: Open) -> None:
        seen = visit()
        seen.forgiven = "net::ERR_"
        tries: list[str] = []

        def break_first(route: Any) -> None:
            if route.request.method == "POST":
                tries.append(route.request.url)
            if route.request.method == "POST" and len(tries) == 1:
                route.abort("connectionreset")
            else:
                route.continue_()

        seen.page.route("**/api/v1/analyses?wait=*", break_first)
        seen.choose(("wrist.png", png(models.radiograph_pixels(900, 700))))
        assert seen.decision() == "Fracture suspected"
        assert len(tries) == 2
        seen.rows(1)

    def test_file_the_browser_cannot_show_is_previewed_by_the_server(self, visit: Open) -> None:
        buffer = BytesIO()
        pages = [Image.fromarray(models.radiograph_pixels(600, 450, spot=spot)) for spot in (150, 200)]
        pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
        seen = visit()
        seen.choose(("two.tif", buffer.getvalue()))
        assert seen.decision() == "No fracture found"
        assert seen.asked("POST", "/previews") == []
        assert len(seen.asked("POST", "/uploads/.*/preview")) == 1
        assert seen.page.inner_text("#page-number") == "Page 1 of 2"
        seen.page.click("#page-next")
        assert seen.decision() == "In doubt: look again"
        assert seen.page.locator("#pane-1 .box.doubt").count() == 1

    def test_foreign_file_that_is_no_radiograph_is_not_analysed(self, visit: Open) -> None:
        buffer = BytesIO()
        Image.fromarray(models.photograph_pixels(600, 800)).save(buffer, "TIFF")
        seen = visit()
        seen.choose(("holiday.tif", buffer.getvalue()))
        assert seen.decision() == "Not a radiograph"
        assert seen.asked("POST", "/uploads/.*/analysis") == []
        seen.page.click("#tasks .row-action")
        expect(seen.page.locator("#drop")).to_be_visible()
        assert len(seen.asked("DELETE", "/uploads/.*")) == 1, "what was sent is forgotten"

    def test_exif_orientation_is_heeded(self, visit: Open) -> None:
        upright = Image.fromarray(models.radiograph_pixels(600, 400))
        exif = Image.Exif()
        exif[0x0112] = 6
        buffer = BytesIO()
        upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=95, exif=exif)
        seen = visit()
        seen.choose(("turned.jpg", buffer.getvalue()))
        assert seen.decision() == "Fracture suspected"
        assert "400 × 600 px" in seen.page.inner_text("#details")
        picture = seen.place("#pane-1 .extent")
        assert picture["height"] > picture["width"]

    def test_broken_file_is_explained(self, visit: Open) -> None:
        seen = visit()
        seen.forgiven = "422"  # Chromium notes each refused request
        seen.choose(("notes.txt", b"no picture at all"))
        assert seen.decision() == "This is no picture Osteon can read"
        assert "Text, expected a picture." in seen.page.inner_text("#findings")

    def test_file_over_the_limit_is_not_even_sent(self, visit: Open, tmp_path: Path) -> None:
        large = tmp_path / "a.png"
        with large.open("wb") as file:
            file.truncate(64 * 2**20 + 1)
        seen = visit()
        seen.page.set_input_files("#file", large)
        assert seen.decision() == "The file is too large"
        assert [one.url for one in seen.requests if one.method == "POST"] == []

    def test_archive_is_a_batch_and_what_is_left_out_is_named(self, visit: Open) -> None:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("ap.png", radiograph(spot=150))
            archive.writestr("lateral.png", radiograph())
            archive.writestr("broken.png", radiograph()[:300])
        seen = visit()
        seen.choose(("study.zip", buffer.getvalue()))
        seen.rows(2)
        seen.decision()
        expect(seen.page.locator("#tasks")).to_contain_text("Not taken: ")
        assert "broken.png" in seen.page.inner_text("#tasks")
        seen.page.click("#tasks .row-action")
        expect(seen.page.locator("#tasks")).to_be_hidden()

    def test_films_of_one_folder_are_one_study(self, visit: Open, server: Running, tmp_path: Path) -> None:
        folder = tmp_path / "wrist"
        folder.mkdir()
        (folder / "ap.png").write_bytes(radiograph(spot=150))
        (folder / "lateral.png").write_bytes(radiograph())
        (folder / ".hidden").write_bytes(b"left alone")
        seen = visit()
        seen.page.set_input_files("#folder", folder)
        seen.rows(2)
        expect(seen.page.locator("#study .study-summary")).to_contain_text("Study: 2 views")
        first, second = server.client.get("/api/v1/analyses").json()["analyses"]
        assert first["study"] == second["study"] != ""

    def test_dropped_and_pasted_files_are_analysed(self, visit: Open) -> None:
        seen = visit()
        make = """(bytes) => { const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" })); return data; }"""
        transfer = seen.page.evaluate_handle(make, list(radiograph()))
        seen.page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
        expect(seen.page.locator(".drop-veil")).to_be_visible()
        seen.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
        assert seen.decision() == "Fracture suspected"
        assert not seen.page.is_visible(".drop-veil")
        pasted = seen.page.evaluate_handle(make, list(radiograph(spot=150)))
        seen.page.evaluate(
            """(clipboardData) => document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }))""", pasted
        )
        seen.rows(2)

    @pytest.mark.parametrize(("key", "expected"), [("drawn", 1), ("photograph", 0)])
    def test_sample_is_one_click(self, visit: Open, key: str, expected: int) -> None:
        seen = visit()
        seen.page.click(f"[data-sample={key}]")
        seen.decision()
        assert len(seen.asked("POST", "/analys[ei]s")) == expected


class TestViewer:
    def test_moves_by_mouse_and_keyboard(self, visit: Open, server: Running) -> None:
        server.analysed(radiograph(), name="wrist.png")
        seen = visit()
        seen.open("wrist.png")
        page = seen.page
        fitted = seen.zoom()
        page.click("#zoom-in")
        assert seen.zoom() > fitted
        page.click("#zoom-fit")
        assert seen.zoom() == fitted
        before = seen.place(".box")
        seen.drag(dx=50, dy=30, at=(0.1, 0.5))
        after = seen.place(".box")
        assert (round(after["x"] - before["x"]), round(after["y"] - before["y"])) == (50, 30)
        page.focus("#pane-1")
        page.keyboard.press("1")
        assert seen.zoom() == 100
        page.keyboard.press("0")
        assert seen.zoom() == fitted
        page.keyboard.press("r")
        seen.page.wait_for_timeout(250)
        turned = seen.place("#pane-1 .extent")
        assert turned["width"] > turned["height"], "a quarter turn"
        page.keyboard.press("f")
        assert page.get_attribute("#flip", "aria-pressed") == "true"
        page.keyboard.press("Home")
        seen.page.wait_for_timeout(250)
        assert seen.place("#pane-1 .extent")["height"] > seen.place("#pane-1 .extent")["width"]
        page.keyboard.press("b")
        assert not page.is_visible("#pane-1 .box") and page.get_attribute("#toggle-boxes", "aria-pressed") == "false"
        page.click("#toggle-boxes")
        page.focus(".place .show")
        page.keyboard.press("Enter")
        assert page.locator("#pane-1 .box.selected").count() == 1 and seen.zoom() > fitted

    def test_single_bones_are_shown_on_request(self, visit: Open, server: Running) -> None:
        shift_px = 60  # so that a mirrored film looks different
        server.analysed(png(np.roll(models.radiograph_pixels(450, 350), -shift_px, axis=1)))
        seen = visit()
        page = seen.page
        seen.open("wrist.png")
        assert not page.is_visible("#bones") and not seen.asked("POST", "/bones")
        page.focus("#pane-1")
        page.keyboard.press("s")
        expect(page.locator("#bones-list button")).to_have_count(2)
        expect(page.locator(".place .where")).to_contain_text("Suspected fracture: radius")
        outlines, names = page.locator("#pane-1 .outlines path"), page.locator("#pane-1 .outlines span")
        assert outlines.count() == 2 and len(seen.asked("POST", "/bones")) == 1
        for key, middle in (("0", 0.5 - shift_px / 350), ("f", 0.5 + shift_px / 350)):
            page.keyboard.press(key)
            page.wait_for_timeout(300)
            drawn, film = outlines.last.bounding_box(), seen.place("#pane-1 .extent")
            assert abs((drawn["x"] + drawn["width"] / 2 - film["x"]) / film["width"] - middle) < 0.02
        page.mouse.move(film["x"] + film["width"] * middle, film["y"] + film["height"] * 0.7)
        expect(page.locator("#pane-1 .outlines span.lit")).to_have_text("radius · 1.00")
        expect(page.locator("#bones-list li.lit")).to_have_text(re.compile("radius"))
        page.focus("#bones-list li:nth-child(2) button")
        expect(page.locator("#pane-1 .outlines span.lit")).to_have_text(re.compile(r"carpal bones · 0\.\d\d"))
        page.click("[data-language=ru]")
        expect(names.first).to_have_text(re.compile("лучевая кость"))
        label = page.locator("#bones-list button").first.get_attribute("aria-label")
        assert re.fullmatch(r"лучевая кость, оценка 1,00, перелом: \d+\s%", label)
        expect(page.locator("#bones-list .broken").first).to_have_text(re.compile(r"перелом: \d+\s%"))
        expect(page.locator(".suspicion")).to_have_text(re.compile(r"оценки каждой кости отдельно: [\d,]+\s%"))
        assert seen.faults() == []
        page.click("#toggle-bones")
        assert not page.is_visible("#bones") and not names.first.is_visible()

    def test_mirrored_film_moves_with_the_pointer(self, visit: Open, server: Running) -> None:
        pixels = models.radiograph_pixels(450, 350)
        pixels[:60, :60] = 255  # what is left on the film
        server.analysed(png(pixels), name="marked.png")
        seen = visit()
        seen.open("marked.png")
        seen.page.keyboard.press("f")
        seen.page.wait_for_timeout(200)
        before = seen.place("#pane-1 .extent")
        seen.drag(dx=40, dy=0, at=(0.1, 0.5))
        assert round(seen.place("#pane-1 .extent")["x"] - before["x"]) == 40

    def test_window_on_the_full_bit_depth_changes_pixels(self, visit: Open) -> None:
        picture = models.radiograph_pixels(450, 350)
        seen = visit()
        seen.choose(("wrist.dcm", builders.written(builders.grey12(picture))))
        seen.decision()
        values = seen.page.locator("#pane-1 .corner.window")
        expect(values).to_contain_text(re.compile(r"W \d{1,2},\d{3}"))
        first, before = values.inner_text(), seen.film()["mean"]
        seen.drag(dx=0, dy=-60, button="right")
        assert values.inner_text() != first
        assert seen.film()["mean"] > before + 3, "level down is brighter"
        seen.page.keyboard.press("w")
        seen.drag(dx=-120, dy=0)
        assert seen.page.get_attribute("#tool-window", "aria-pressed") == "true"
        seen.page.keyboard.press("Home")
        assert values.inner_text() == first
        assert abs(seen.film()["mean"] - before) < 0.5
        seen.page.keyboard.press("i")
        assert seen.film()["mean"] > 1.3 * before, "the dark ground is bright now"

    def test_bone_layer_has_a_switch_and_an_opacity(self, visit: Open, server: Running) -> None:
        server.analysed(radiograph(), name="wrist.png")
        seen = visit()
        seen.open("wrist.png")
        seen.page.wait_for_timeout(300)
        assert seen.film()["teal"] > 1000
        seen.page.keyboard.press("m")
        assert seen.film()["teal"] == 0
        seen.page.focus("#opacity-bone")
        seen.page.keyboard.press("End")
        assert seen.page.get_attribute("#toggle-bone", "aria-pressed") == "true"
        assert seen.film()["teal"] > 1000
        seen.page.keyboard.press("Home")
        assert seen.film()["teal"] == 0

    def test_magnifier_shows_the_picture_larger(self, visit: Open, server: Running) -> None:
        server.analysed(radiograph(), name="wrist.png")
        seen = visit()
        seen.open("wrist.png")
        seen.film()
        seen.page.keyboard.press("z")
        spot = seen.place(".box")
        seen.page.mouse.move(spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
        expect(seen.page.locator("#pane-1 .lens")).to_be_visible()
        brightness = seen.page.evaluate(
            """() => { const lens = document.querySelector("#pane-1 .lens");
                 return lens.getContext("2d").getImageData(110, 110, 1, 1).data[0]; }"""
        )
        assert brightness > 240
        seen.page.keyboard.press("z")
        assert not seen.page.is_visible("#pane-1 .lens")


class TestAnswer:
    def test_is_saved_and_shown_again(self, visit: Open, server: Running) -> None:
        analysis = server.analysed(radiograph(), name="wrist.png")
        seen = visit()
        seen.open("wrist.png")
        page = seen.page
        seen.film()
        assert page.is_disabled("#answer-save")
        page.click(".judge.reject")
        page.click("#answer-add")
        seen.drag(dx=60, dy=50, at=(0.45, 0.2))
        expect(page.locator(".place")).to_have_count(2)
        page.check("#verdict-unsure")
        page.fill("#answer-comment", "second look")
        page.click("#answer-save")
        expect(page.locator("#answer-state")).to_contain_text("Saved")
        (answer,) = server.client.get(f"/api/v1/analyses/{analysis['id']}/answers").json()["answers"]
        assert (answer["verdict"], answer["comment"]) == ("unsure", "second look")
        assert [(box["status"], box["of"]) for box in answer["boxes"]] == [("rejected", 0), ("added", None)]
        x0, y0, x1, y1 = answer["boxes"][1]["box_xyxy_px"]
        scale = seen.place("#pane-1 .extent")["width"] / 350
        assert abs((x1 - x0) - 60 / scale) < 2 and abs((y1 - y0) - 50 / scale) < 2
        page.reload()
        seen.open("wrist.png")
        expect(page.locator("#pane-1 .box.rejected")).to_have_count(1)
        expect(page.locator("#pane-1 .box.own")).to_have_count(1)
        assert page.is_checked("#verdict-unsure")
        assert page.input_value("#answer-comment") == "second look"

    def test_keyboard_alone_reads_a_film(self, visit: Open, server: Running) -> None:
        analysis = server.analysed(radiograph(), name="wrist.png")
        seen = visit()
        page = seen.page
        seen.rows(1)
        reached: list[str] = []
        for _ in range(24):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    """() => { const { id, className, dataset } = document.activeElement;
                         return id || dataset.language || dataset.sample || className }"""
                )
            )
            if reached[-1].startswith("open"):
                break
        assert {"file", "folder", "search", "filter", "en", "ru"} <= set(reached)
        page.keyboard.press("Enter")
        seen.decision()
        seen.film()
        page.keyboard.press("n")
        page.keyboard.press("a")
        expect(page.locator("#pane-1 .box.accepted")).to_have_count(1)
        page.keyboard.press("d")
        page.keyboard.press("Enter")
        expect(page.locator("#pane-1 .box.own")).to_be_focused()
        before = seen.place("#pane-1 .box.own")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
        expect(page.locator("#pane-1 .box.own")).to_be_focused()
        after = seen.place("#pane-1 .box.own")
        assert after["x"] > before["x"] and after["height"] > before["height"]
        page.keyboard.press("Alt+1")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#answer-state")).to_contain_text("Saved")
        (answer,) = server.client.get(f"/api/v1/analyses/{analysis['id']}/answers").json()["answers"]
        assert answer["verdict"] == "fracture"
        assert [box["status"] for box in answer["boxes"]] == ["accepted", "added"]
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        assert page.locator("#help-list kbd").count() > 20
        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()

    def test_box_is_redrawn(self, visit: Open, server: Running) -> None:
        server.analysed(radiograph(), name="wrist.png")
        seen = visit()
        seen.open("wrist.png")
        seen.film()
        seen.page.click(".judge.redraw")
        seen.drag(dx=40, dy=40, at=(0.4, 0.4))
        expect(seen.page.locator("#pane-1 .box.redrawn")).to_have_count(1)
        assert "redrawn" in seen.page.inner_text(".place")
        seen.page.click(".judge.redraw")
        seen.page.keyboard.press("Enter")
        expect(seen.page.locator("#pane-1 .box.redrawn")).to_be_focused()
        expect(seen.page.locator("#pane-1 .box")).to_have_count(1)


class TestWorklist:
    def test_filters_search_and_unread_marks(self, visit: Open, server: Running) -> None:
        for name, spot in (("first.png", 200), ("second.png", 255), ("third.png", 150)):
            server.analysed(radiograph(spot=spot), name=name)
        seen = visit()
        page = seen.page
        seen.rows(3)
        names = page.locator("#recent .file-name")
        assert [name.inner_text() for name in names.all()] == ["third.png", "second.png", "first.png"]
        assert page.locator("#recent .unread").count() == 3
        page.select_option("#filter", "doubt")
        seen.rows(1)
        seen.open("first.png")
        assert seen.decision() == "In doubt: look again"
        expect(page.locator("#recent .unread")).to_have_count(0)
        page.select_option("#filter", "")
        page.check("#unseen")
        seen.rows(2)
        page.uncheck("#unseen")
        page.fill("#search", "SECOND")
        seen.rows(1)
        page.fill("#search", "")
        seen.rows(3)
        page.focus("#pane-1")
        page.keyboard.press("u")
        expect(page.locator("#recent .unread")).to_have_count(3)

    def test_film_is_removed_after_a_question(self, visit: Open, server: Running) -> None:
        for name, spot in (("first.png", 200), ("second.png", 255)):
            server.analysed(radiograph(spot=spot), name=name)
        seen = visit()
        page = seen.page
        seen.open("first.png")
        page.click("#recent li:nth-child(2) .row-action")
        page.click("#remove button[value=no]")
        assert len(server.client.get("/api/v1/analyses").json()["analyses"]) == 2
        page.click("#recent li:nth-child(2) .row-action")
        page.click("#remove button[value=yes]")
        seen.rows(1)
        expect(page.locator("#drop")).to_be_visible()  # what is removed is not shown any longer
        assert [one["name"] for one in server.client.get("/api/v1/analyses").json()["analyses"]] == ["second.png"]

    def test_older_ones_come_when_asked_for(self, visit: Open, server: Running) -> None:
        analysis = server.analysed(radiograph(), name="film.png")
        made = [analysis | {"id": f"{number:032x}", "name": f"film {number}.png"} for number in range(40)]
        seen = visit()

        def give(route: Any) -> None:
            start = int(re.search(r"cursor=(\d+)", route.request.url)[1]) if "cursor" in route.request.url else 0
            following = str(start + 30) if start + 30 < len(made) else None
            route.fulfill(json={"analyses": made[start : start + 30], "next_cursor": following})

        seen.page.route(re.compile(r"/api/v1/analyses\?"), give)
        seen.page.route("**/thumbnail.jpg", lambda route: route.fulfill(status=204))
        seen.page.reload()
        seen.rows(30)
        seen.page.click("#recent-more")
        seen.rows(40)
        assert not seen.page.is_visible("#recent-more")

    def test_film_sent_by_somebody_else_appears_by_itself(self, visit: Open, server: Running) -> None:
        seen = visit()
        expect(seen.page.locator("#recent-empty")).to_be_visible()
        server.analysed(radiograph(), name="elsewhere.png")
        seen.rows(1)
        expect(seen.page.locator("#recent .row-grade.fracture")).to_have_count(1)

    def test_films_added_together_are_read_side_by_side(self, visit: Open) -> None:
        seen = visit()
        page = seen.page
        page.check("#together")
        seen.choose(("ap.png", radiograph(spot=150)), ("lateral.png", radiograph()))
        seen.rows(2)
        expect(page.locator("#tasks .open")).to_have_count(0)
        expect(page.locator("#recent .row-grade.fracture")).to_have_count(1)
        seen.open("ap.png")
        expect(page.locator("#study .study-summary")).to_contain_text("Study: 2 views")
        expect(page.locator("#study .study-summary")).to_contain_text("Fracture suspected: 1 of 2")
        page.click("#study-beside")
        expect(page.locator("#pane-2 .corner.name")).to_be_visible(timeout=WAIT_MS)
        names = {page.inner_text(f"#pane-{number} .corner.name") for number in (1, 2)}
        assert names == {"ap.png", "lateral.png"}
        page.click("#pane-2", position={"x": 40, "y": 200})
        expect(page.locator("#findings .file-name")).to_have_text(page.inner_text("#pane-2 .corner.name"))
        assert seen.faults() == []
        page.click("#layout-1")
        expect(page.locator("#pane-2")).to_be_hidden()


class TestSignIn:
    def test_person_signs_in_reads_and_signs_out(
        self, visit: Open, tmp_path: Path, model_files: models.ModelFiles
    ) -> None:
        settings = Settings(data_dir=tmp_path / "data", gate=model_files.gate, detector=model_files.detector)
        with running(settings.changed(require_keys=True, decoders=1)) as locked:
            _, key = locked.app.state.access.keys.create("Dr Petrova", scopes=("analyse", "read", "answer"))
            seen = visit(url=locked.url)
            page = seen.page
            page.fill("#key", key)
            page.click("button[type=submit]")
            expect(page.locator("#session-name")).to_have_text("Dr Petrova")
            seen.choose(("wrist.png", radiograph()))
            seen.decision()
            page.check("#verdict-fracture")
            page.click("#answer-save")
            expect(page.locator("#answer-state")).to_contain_text("Dr Petrova")
            seen.rows(1)
            page.click("#sign-out")
            expect(page.locator("#key")).to_be_visible()
            seen.forgiven = "401"
            page.goto(locked.url)
            expect(page.locator("#key")).to_be_visible()
            page.goto("about:blank")

    def test_who_may_only_read_is_asked_for_nothing_else(
        self, visit: Open, tmp_path: Path, model_files: models.ModelFiles
    ) -> None:
        settings = Settings(data_dir=tmp_path / "data", gate=model_files.gate, detector=model_files.detector)
        with running(settings.changed(require_keys=True, decoders=1)) as locked:
            _, key = locked.app.state.access.keys.create("guest", scopes=("read",))
            seen = visit(url=locked.url)
            seen.page.fill("#key", key)
            seen.page.click("button[type=submit]")
            expect(seen.page.locator("#search")).to_be_visible()
            expect(seen.page.locator(".intake")).to_be_hidden()
            expect(seen.page.locator("[data-sample]").first).to_be_hidden()
            seen.page.goto("about:blank")


class TestLanguageAndLooks:
    def test_language_switches_everything_at_once_and_loses_nothing(self, visit: Open, server: Running) -> None:
        server.analysed(radiograph(), name="wrist.png")
        seen = visit()
        page = seen.page
        seen.open("wrist.png")
        page.fill("#answer-comment", "under way")
        page.click("#zoom-in")
        page.click(".judge.accept")
        zoomed = seen.zoom()
        page.click("[data-language=ru]")
        assert page.get_attribute("html", "lang") == "ru"
        assert seen.decision() == "Подозрение на перелом"
        assert "перелом" in page.inner_text("#pane-1 .box")
        assert "language=ru" in page.get_attribute(".links a", "href")
        assert page.input_value("#answer-comment") == "under way" and seen.zoom() == zoomed
        assert page.locator("#pane-1 .box.accepted").count() == 1
        body = page.inner_text("body")
        assert "Не медицинское изделие." in body
        assert not re.search(r"[A-Za-z]{4,}", re.sub(r"Osteon|wrist\.png|JSON|under way", "", body))
        assert page.get_attribute("#zoom-in", "aria-label") == "Приблизить"
        page.reload()
        assert page.inner_text(".drop-title") == "Перетащите рентгенограммы сюда"
        page.click("[data-language=en]")
        assert page.inner_text(".drop-title") == "Drop radiographs here"

    @pytest.mark.parametrize(("width", "locale"), [(320, "ru-RU"), (390, "en-GB"), (768, "ru-RU"), (1280, "ru-RU")])
    def test_page_never_scrolls_sideways(self, visit: Open, server: Running, width: int, locale: str) -> None:
        seen = visit((width, 800), locale=locale)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert seen.page.evaluate(overflow) <= 0
        seen.choose(("a-very-long-name-without-any-place-to-break-it-" * 3 + ".png", radiograph()))
        seen.page.wait_for_selector("#pane-1 .box", timeout=WAIT_MS)
        assert seen.page.evaluate(overflow) <= 0
        for tool in seen.page.locator(".tools .tool:visible").all():
            place = tool.bounding_box()
            assert place["x"] >= 0 and place["x"] + place["width"] <= width
            assert place["height"] >= 36, "large enough for a finger"

    def test_phone_turns_from_list_to_film_and_back(self, visit: Open, server: Running) -> None:
        server.analysed(radiograph(), name="wrist.png")
        seen = visit(PHONE)
        seen.open("wrist.png")
        expect(seen.page.locator("#pane-1")).to_be_visible()
        expect(seen.page.locator("#recent")).to_be_hidden()
        seen.page.click("#to-list")
        expect(seen.page.locator("#recent")).to_be_visible()
        expect(seen.page.locator("#pane-1")).to_be_hidden()

    def test_colours_are_switched_and_kept(self, visit: Open) -> None:
        seen = visit(color_scheme="light")
        ground = "getComputedStyle(document.body).backgroundColor"
        light = seen.page.evaluate(ground)
        seen.page.click("[data-theme-choice=dark]")
        dark = seen.page.evaluate(ground)
        assert light != dark
        assert seen.faults() == [], "readable in the dark too"
        seen.page.reload()
        assert seen.page.evaluate(ground) == dark

    def test_every_control_has_a_name(self, visit: Open) -> None:
        seen = visit()
        seen.choose(("wrist.png", radiograph()))
        seen.page.wait_for_selector("#pane-1 .box", timeout=WAIT_MS)
        nameless = seen.page.evaluate(
            """() => [...document.querySelectorAll("button, a, input, select, textarea")].filter((e) =>
                 !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)"""
        )
        assert nameless == []

    def test_docs_need_no_script_and_no_other_host(self, visit: Open, server: Running) -> None:
        seen = visit()
        seen.page.goto(f"{server.url}/docs")
        assert seen.page.locator("script").count() == 0
        operation = seen.page.locator("details", has_text="/api/v1/analyses").first
        assert not operation.get_by_text("multipart/form-data").is_visible()
        operation.locator("summary").click()
        assert operation.get_by_text("multipart/form-data").is_visible()

    def test_pictures_of_the_page(self, visit: Open, tmp_path: Path) -> None:
        """Kept where OSTEON_SCREENSHOTS says, to be looked at; never blank."""
        folder = Path(os.environ.get("OSTEON_SCREENSHOTS", tmp_path))
        for size, locale, scheme in ((DESKTOP, "en-GB", "light"), (PHONE, "ru-RU", "dark")):
            seen = visit(size, locale=locale, color_scheme=scheme)
            seen.choose(("wrist.png", png(models.radiograph_pixels(1200, 900))))
            seen.page.wait_for_selector("#pane-1 .box", timeout=WAIT_MS)
            seen.page.wait_for_timeout(300)
            picture = folder / f"page-{locale[:2]}-{scheme}.png"
            seen.page.screenshot(path=picture, full_page=True)
            side = np.asarray(Image.open(picture).convert("L"), np.float32)[-300:, -300:]
            assert side.std() > 10
            assert (side.mean() > 110) == (scheme == "light")
