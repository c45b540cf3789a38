"""The page in headless Chromium, against a running server: what a person sees, and what leaves the browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving import Running, photograph, png, radiograph

import models

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

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
DESKTOP = (1360, 860)
WAIT_MS = 20_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """An open page, with everything it asked for and complained about."""

    page: Any
    requests: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def asked(self, method: str, path: str) -> list[Any]:
        return [one for one in self.requests if one.method == method and one.url.split("?")[0].endswith(path)]

    def choose(self, *files: tuple[str, bytes]) -> None:
        payload = [{"name": name, "mimeType": "application/octet-stream", "buffer": content} for name, content in files]
        self.page.set_input_files("#file", payload)

    def decision(self) -> str:
        decision = self.page.wait_for_selector("#findings .decision", timeout=WAIT_MS)
        return str(decision.inner_text().strip())

    def rows(self, count: int) -> None:
        """Wait until the list of recent analyses has so many rows."""
        sync_api.expect(self.page.locator("#recent .open")).to_have_count(count, timeout=WAIT_MS)


@pytest.fixture
def visit(browser: Any, server: Running) -> Iterator[Callable[..., Visit]]:
    """Opens the page; at the end of the test nothing may have gone to another host, and nothing been complained of."""
    visits: list[Visit] = []

    def open_page(size: tuple[int, int] = DESKTOP, *, locale: str = "en-GB", **options: Any) -> Visit:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, locale=locale, **options)
        made = Visit(context.new_page())
        made.page.on("request", lambda request: made.requests.append(request))  # a builtin method cannot be marked
        made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
        made.page.on(
            "console",
            lambda message: made.complaints.append(message.text) if message.type in ("error", "warning") else None,
        )
        made.page.goto(server.url)
        visits.append(made)
        return made

    yield open_page
    for one in visits:
        elsewhere = [r.url for r in one.requests if not r.url.startswith((server.url, f"blob:{server.url}", "data:"))]
        one.page.context.close()
        assert elsewhere == [], "nothing goes to another host"
        assert one.complaints == []


Open = Callable[..., Visit]


def test_radiograph_goes_all_the_way_to_boxes(visit: Open, server: Running) -> None:
    seen = visit()
    seen.choose(("wrist.png", png(models.radiograph_pixels(1200, 900))))
    assert seen.decision() == "Fracture suspected"
    box = seen.page.wait_for_selector(".box.fracture", timeout=WAIT_MS)
    assert box.inner_text().startswith("1 · fracture 89")
    drawn, picture = box.bounding_box(), seen.page.locator("#picture").bounding_box()
    x0, y0, x1, y1 = models.spot_box_px(1200, 900)
    scale = picture["width"] / 900
    middle = (drawn["x"] + drawn["width"] / 2 - picture["x"], drawn["y"] + drawn["height"] / 2 - picture["y"])
    assert abs(middle[0] - (x0 + x1) / 2 * scale) < 40 * scale
    assert abs(middle[1] - (y0 + y1) / 2 * scale) < 40 * scale
    places = seen.page.locator(".place")
    assert places.count() == 1
    assert "Probability 89%" in places.inner_text() and "Score 0.89" in places.inner_text()
    assert len(seen.asked("POST", "/previews")) == 1
    assert len(seen.asked("POST", "/analyses")) == 1


def test_preview_is_small_and_goes_first(visit: Open, server: Running) -> None:
    previews: list[tuple[int, int]] = []
    preview = server.service.preview

    def watched(upload: Any) -> Any:
        previews.append(Image.open(BytesIO(upload.content)).size)
        return preview(upload)

    object.__setattr__(server.service, "preview", watched)
    seen = visit()
    seen.choose(("wrist.png", png(models.radiograph_pixels(1200, 900))))
    seen.decision()
    assert previews == [(384, 512)]
    order = [one.url.rsplit("/", 1)[1] for one in seen.requests if one.method == "POST"]
    assert order == ["previews", "analyses"]


def test_photograph_is_turned_away_and_never_sent_whole(visit: Open, server: Running) -> None:
    seen = visit()
    seen.choose(("holiday.png", photograph(1200, 1600)))
    assert seen.decision() == "Not a radiograph"
    text = seen.page.inner_text("#findings")
    assert "No bone was seen on the preview." in text
    assert "The full-size file was not sent." in text
    seen.page.wait_for_timeout(300)
    assert len(seen.asked("POST", "/previews")) == 1
    assert seen.asked("POST", "/analyses") == []
    assert server.client.get("/api/v1/analyses").json()["analyses"] == []
    assert seen.page.locator(".box").count() == 0
    assert not server.service.pipeline.detector.loaded


def test_bone_mask_lies_over_the_preview_before_the_file_is_sent(visit: Open) -> None:
    seen = visit()
    seen.page.route("**/api/v1/analyses", lambda route: None if route.request.method == "POST" else route.continue_())
    seen.choose(("wrist.png", radiograph()))
    seen.page.wait_for_selector("#mask:not([hidden])", timeout=WAIT_MS)
    assert seen.page.get_attribute("#mask", "src").startswith("data:image/png;base64,")
    assert seen.page.get_attribute("#picture", "src").startswith("blob:")
    assert seen.page.is_visible("#upload"), "the progress bar of the upload"
    assert "Sending the full-size file" in seen.page.inner_text("#state")
    seen.page.unroute_all(behavior="ignoreErrors")


def test_upload_tells_how_far_it_is(visit: Open) -> None:
    seen = visit()
    seen.page.evaluate(
        """() => { window.seen = [];
             const bar = document.getElementById("upload");
             const note = () => window.seen.push(bar.value);
             const changes = { childList: true, characterData: true, subtree: true };
             new MutationObserver(note).observe(document.getElementById("state"), changes); }"""
    )
    seen.choose(("wrist.png", radiograph() + bytes(8_000_000)))
    seen.decision()
    values = seen.page.evaluate("window.seen")
    assert max(values) == 100


def test_file_the_browser_cannot_show_is_sent_whole_and_shown_by_the_server(visit: Open) -> None:
    buffer = BytesIO()
    pages = [Image.fromarray(models.radiograph_pixels(600, 450, spot=spot)) for spot in (150, 200)]
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    seen = visit()
    seen.choose(("two.tif", buffer.getvalue()))
    assert seen.decision() == "No fracture found"
    assert seen.asked("POST", "/previews") == []
    assert "image.png" in seen.page.get_attribute("#picture", "src")
    assert seen.page.inner_text("#page-number") == "Page 1 of 2"
    seen.page.click("#page-next")
    assert seen.decision() == "In doubt: look again"
    assert seen.page.locator(".box.doubt").count() == 1


def test_exif_orientation_is_heeded_in_preview_and_picture(visit: Open, server: Running) -> None:
    upright = Image.fromarray(models.radiograph_pixels(600, 400))
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    lying.save(buffer, "JPEG", quality=95, exif=exif)
    seen = visit()
    seen.choose(("turned.jpg", buffer.getvalue()))
    assert seen.decision() == "Fracture suspected"
    assert "400 × 600 px" in seen.page.inner_text("#findings")
    picture = seen.page.locator("#picture").bounding_box()
    assert picture["height"] > picture["width"]


def test_broken_file_is_explained(visit: Open) -> None:
    seen = visit()
    seen.choose(("notes.txt", b"no picture at all"))
    assert seen.decision() == "This is no picture Osteon can read"
    assert "Text, expected a picture." in seen.page.inner_text("#findings")
    seen.complaints[:] = [text for text in seen.complaints if "422" not in text]  # Chromium notes each refused request


def test_file_over_the_limit_is_not_even_sent(browser: Any, serve: Callable[..., Running]) -> None:
    server = serve(max_upload_mb=0.01)
    page = browser.new_page(locale="en-GB")
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.goto(server.url)
    page.set_input_files("#file", [{"name": "a.png", "mimeType": "image/png", "buffer": bytes(20_000)}])
    assert page.wait_for_selector("#findings .decision", timeout=WAIT_MS).inner_text() == "The file is too large"
    assert posts == []
    page.close()


def test_language_switches_everything_at_once_and_is_kept(visit: Open) -> None:
    seen = visit()
    seen.choose(("wrist.png", radiograph()))
    seen.decision()
    seen.page.click("[data-language=ru]")
    assert seen.page.get_attribute("html", "lang") == "ru"
    assert seen.decision() == "Подозрение на перелом"
    assert "перелом" in seen.page.inner_text(".box")
    assert "language=ru" in seen.page.get_attribute(".links a", "href")
    body = seen.page.inner_text("body")
    assert "Не медицинское изделие." in body and "Fracture" not in body and "Drop" not in body
    assert seen.page.get_attribute("#zoom-in", "aria-label") == "Приблизить"
    seen.page.reload()
    assert seen.page.inner_text(".drop-title") == "Перетащите рентгенограмму сюда"
    seen.page.click("[data-language=en]")
    assert seen.page.inner_text(".drop-title") == "Drop a radiograph here"


def test_russian_browser_gets_russian(visit: Open) -> None:
    seen = visit(locale="ru-RU")
    seen.choose(("дача.png", photograph()))
    assert seen.decision() == "Не рентгенограмма"
    assert "Полный файл не отправлен." in seen.page.inner_text("#findings")


@pytest.mark.parametrize("locale", ["en-GB", "ru-RU"])
@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_page_never_scrolls_sideways(visit: Open, width: int, locale: str) -> None:
    seen = visit((width, 800), locale=locale)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert seen.page.evaluate(overflow) <= 0
    seen.choose(("a-very-long-name-without-any-place-to-break-it-" * 3 + ".png", radiograph()))
    seen.page.wait_for_selector(".box", timeout=WAIT_MS)
    seen.page.wait_for_selector("#recent .open", timeout=WAIT_MS)
    assert seen.page.evaluate(overflow) <= 0
    for tool in seen.page.locator(".tools .tool:visible").all():
        place = tool.bounding_box()
        assert place["x"] >= 0 and place["x"] + place["width"] <= width
        assert place["height"] >= 36, "large enough for a finger"


def test_zoom_pan_boxes_and_bone_by_mouse_and_keyboard(visit: Open) -> None:
    seen = visit()
    seen.choose(("wrist.png", radiograph()))
    seen.page.wait_for_selector(".box", timeout=WAIT_MS)
    page = seen.page

    def zoom() -> int:
        return int(page.inner_text("#zoom").rstrip("%"))

    fitted = zoom()
    page.click("#zoom-in")
    assert zoom() > fitted
    page.click("#zoom-fit")
    assert zoom() == fitted
    page.hover("#stage-frame")
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(50)
    assert zoom() > fitted
    before = page.locator(".box").bounding_box()
    frame = page.locator("#stage-frame").bounding_box()
    page.mouse.move(frame["x"] + 30, frame["y"] + 30)
    page.mouse.down()
    page.mouse.move(frame["x"] + 80, frame["y"] + 60)
    page.mouse.up()
    after = page.locator(".box").bounding_box()
    assert (round(after["x"] - before["x"]), round(after["y"] - before["y"])) == (50, 30)
    page.focus("#stage-frame")
    page.keyboard.press("0")
    assert zoom() == fitted
    page.keyboard.press("b")
    assert not page.is_visible(".box") and page.get_attribute("#toggle-boxes", "aria-pressed") == "false"
    page.keyboard.press("m")
    assert not page.is_visible("#mask")
    page.click("#toggle-boxes")
    assert page.is_visible(".box")
    page.focus(".place")
    page.keyboard.press("Enter")
    assert page.locator(".box.selected").count() == 1 and zoom() > fitted


def test_keyboard_alone_reaches_file_language_and_samples(visit: Open) -> None:
    seen = visit()
    reached = []
    for _ in range(10):
        seen.page.keyboard.press("Tab")
        reached.append(
            seen.page.evaluate(
                """() => { const { id, dataset } = document.activeElement;
                     return id || dataset.language || dataset.sample || "" }"""
            )
        )
    assert {"file", "en", "ru", "drawn", "photograph"} <= set(reached)


def test_recent_analyses_open_and_are_removed(visit: Open, server: Running) -> None:
    server.analysed(radiograph(spot=200), name="first.png")
    server.analysed(radiograph(), name="second.png")
    seen = visit()
    page = seen.page
    page.wait_for_selector("#recent .open", timeout=WAIT_MS)
    assert [name.inner_text() for name in page.locator("#recent .file-name").all()] == ["second.png", "first.png"]
    page.click("#recent .open >> nth=1")
    assert seen.decision() == "In doubt: look again"
    page.click("#recent li:nth-child(2) .tool")
    page.click("#remove button[value=no]")
    assert len(server.client.get("/api/v1/analyses").json()["analyses"]) == 2
    page.click("#recent li:nth-child(2) .tool")
    page.click("#remove button[value=yes]")
    seen.rows(1)
    assert not page.is_visible("#viewer"), "what is removed is not shown any longer"
    assert [one["name"] for one in server.client.get("/api/v1/analyses").json()["analyses"]] == ["second.png"]


@pytest.mark.parametrize(("key", "expected"), [("drawn", {1}), ("photograph", {0})])
def test_sample_is_one_click(visit: Open, key: str, expected: set[int]) -> None:
    seen = visit()
    seen.page.click(f"[data-sample={key}]")
    seen.decision()
    assert {len(seen.asked("POST", "/analyses"))} == expected


def test_several_files_are_analysed_one_after_another(visit: Open) -> None:
    seen = visit()
    seen.choose(("a.png", radiograph(spot=150)), ("b.png", radiograph()))
    seen.rows(2)
    assert [name.inner_text() for name in seen.page.locator("#recent .file-name").all()] == ["b.png", "a.png"]


def test_dropped_file_is_analysed(visit: Open) -> None:
    seen = visit()
    transfer = seen.page.evaluate_handle(
        """(bytes) => { const data = new DataTransfer();
             data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" })); return data; }""",
        list(radiograph()),
    )
    seen.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    assert seen.decision() == "Fracture suspected"


def test_results_are_announced(visit: Open) -> None:
    seen = visit()
    assert seen.page.get_attribute("#findings", "aria-live") == "polite"
    assert seen.page.get_attribute("#state", "role") == "status"


def test_every_control_has_a_name(visit: Open) -> None:
    seen = visit()
    seen.choose(("wrist.png", radiograph()))
    seen.page.wait_for_selector(".box", timeout=WAIT_MS)
    nameless = seen.page.evaluate(
        """() => [...document.querySelectorAll("button, a, input")].filter((e) =>
             !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_docs_need_no_script_and_no_other_host(visit: Open, server: Running) -> None:
    seen = visit()
    seen.page.goto(f"{server.url}/docs")
    assert seen.page.locator("script").count() == 0
    operation = seen.page.locator("details", has_text="/api/v1/analyses").first
    assert not operation.get_by_text("multipart/form-data").is_visible()
    operation.locator("summary").click()
    assert operation.get_by_text("multipart/form-data").is_visible()


def test_pictures_of_the_page(visit: Open, tmp_path: Path) -> None:
    """Kept where OSTEON_SCREENSHOTS says, to be looked at; never blank."""
    folder = Path(os.environ.get("OSTEON_SCREENSHOTS", tmp_path))
    for size, locale, scheme in ((DESKTOP, "en-GB", "light"), (PHONE, "ru-RU", "dark")):
        seen = visit(size, locale=locale, color_scheme=scheme)
        seen.choose(("wrist.png", png(models.radiograph_pixels(1200, 900))))
        seen.page.wait_for_selector(".box", timeout=WAIT_MS)
        seen.page.wait_for_timeout(300)
        picture = folder / f"page-{locale[:2]}-{scheme}.png"
        seen.page.screenshot(path=picture, full_page=True)
        pixels = np.asarray(Image.open(picture).convert("L"), np.float32)
        assert pixels.std() > 15
        assert (pixels.mean() > 110) == (scheme == "light")
