"""The page in a real browser: what is seen, what moves by itself, and what is not let in."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.statuses import SITUATIONS, recorded
from tests.ui.conftest import HOSTILE, Site

_LONGEST_S = 60


def _read(browser: Chrome, expression: str) -> Any:
    """Read something at once: the page may put its main part anew between two questions."""
    return browser.execute_script(f"return {expression}")


def _until(browser: Chrome, expected: str) -> None:
    """Wait for words; the page puts its main part anew in between."""

    def is_there(driver: Any) -> bool:
        return expected in str(_read(driver, "document.querySelector('main').innerText"))

    WebDriverWait(browser, _LONGEST_S).until(is_there, f"{expected!r} is not seen")


def _complaints(browser: Chrome) -> list[str]:
    """What the browser has to say: refused scripts, styles and requests among it."""
    return [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]


def test_the_overview_leads_to_every_model(browser: Chrome, site: Site) -> None:
    browser.get(site.url)
    names = {a.text for a in browser.find_elements(By.CSS_SELECTOR, "tbody a")}
    assert {f"t1/{situation}" for situation in SITUATIONS} <= names
    browser.find_element(By.LINK_TEXT, "t1/baking-counted").click()
    _until(browser, "candidate 24 of 4000")
    assert _complaints(browser) == []


def test_a_search_finds(browser: Chrome, site: Site) -> None:
    browser.get(site.url)
    browser.find_element(By.NAME, "q").send_keys("paused-for\n")
    _until(browser, "1 ModelDeployments")
    assert "t1/paused-for-approval" in _read(browser, "document.body.innerText")


def test_a_rollout_moves_without_being_asked(browser: Chrome, site: Site) -> None:
    site.put(recorded("shifting"), "m")
    browser.get(f"{site.url}/models/t1/m")
    _until(browser, "Traffic")
    site.put(recorded("baking-counted"), "m")
    _until(browser, "candidate 24 of 4000")
    assert _read(browser, "document.querySelectorAll('svg.chart polyline.applied').length") == 1
    bar = "document.querySelector('svg.bar rect.candidate').getAttribute('width')"
    assert _read(browser, bar) == "20"
    site.put(recorded("aborted-by-analysis"), "m")
    _until(browser, "slipway retry m")
    assert _complaints(browser) == []


def test_the_style_is_applied(browser: Chrome, site: Site) -> None:
    browser.get(f"{site.url}/models/t1/healthy")
    weight = "getComputedStyle(document.querySelector('.phase.healthy')).fontWeight"
    assert _read(browser, weight) == "600"


@pytest.mark.parametrize("path", ["/", "/models/t1/hostile"])
def test_hostile_words_are_read_and_do_nothing(browser: Chrome, site: Site, path: str) -> None:
    browser.get(site.url + path)
    _until(browser, HOSTILE[:40])
    browser.execute_async_script("setTimeout(arguments[0], 2500)")  # one renewal by the script
    assert "owned" not in browser.title
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert _complaints(browser) == []


def test_the_policy_lets_nothing_else_in(browser: Chrome, site: Site) -> None:
    browser.get(site.url)
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = \"document.title='owned'\";"
        "document.body.append(s)"
    )
    assert browser.title == "Slipway"
    refused = _complaints(browser)
    assert any("Content Security Policy" in text for text in refused), refused


@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_is_no_wider_than_its_window(browser: Chrome, site: Site, width: int) -> None:
    browser.set_window_size(width, 900)
    browser.get(f"{site.url}/models/t1/baking-counted")
    _until(browser, "Conditions")
    root = "document.documentElement"
    assert _read(browser, f"{root}.scrollWidth - {root}.clientWidth") <= 0
