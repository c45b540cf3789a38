"""The sign-in page in headless Chromium: by typing a key, by the link that the first start tells, and out again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Running, radiograph
from test_web_browser import CHROMIUM, FLAGS, WAIT_MS, axe, expect, sync_api

Serve = Callable[..., Running]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def locked(serve: Serve) -> Running:
    return serve(require_keys=True)


def key_of(server: Running) -> str:
    _, token = server.app.state.access.keys.create("Dr Petrova")
    return str(token)


def test_typed_key_lets_in_and_the_page_works_and_signs_out(locked: Running, page: Any, tmp_path: Path) -> None:
    page.goto(locked.url)
    assert page.url == f"{locked.url}/sign-in"
    page.fill("#key", "wrong")
    page.click("button")
    expect(page.locator("#fault")).to_contain_text("does not work")
    page.fill("#key", key_of(locked))
    page.click("button")
    page.wait_for_url(f"{locked.url}/")
    (tmp_path / "wrist.png").write_bytes(radiograph())
    page.set_input_files("input[type=file]", str(tmp_path / "wrist.png"))
    expect(page.locator("#announcement")).to_contain_text("Fracture suspected")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{locked.url}/sign-in")
    page.goto(locked.url)
    assert page.url == f"{locked.url}/sign-in"


def test_link_lets_in_and_leaves_no_key_in_the_address(locked: Running, page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    key = key_of(locked)
    page.goto(f"{locked.url}/sign-in#key={key}")
    page.wait_for_url(f"{locked.url}/")
    page.go_back()
    assert key not in page.url
    assert not [url for url in asked if key in url]
    assert all(url.startswith(locked.url) for url in asked)


@pytest.mark.parametrize(("language", "title"), [("en", "Sign in to Osteon"), ("ru", "Вход в Osteon")])
def test_is_usable_by_everybody(locked: Running, page: Any, language: str, title: str) -> None:
    page.goto(f"{locked.url}/sign-in?language={language}")
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    found = axe.Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).not_to_be_empty()
