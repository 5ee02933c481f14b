"""The page in a real browser: what is seen, what moves by itself, and what is not let in."""

from __future__ import annotations

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.statuses import SITUATIONS, recorded
from tests.ui.conftest import HOSTILE, Site
from tests.ui.looking import complaints, read, until


def test_the_overview_leads_to_every_model(browser: Chrome, site: Site) -> None:
    browser.get(site.url)
    names = {a.text for a in browser.find_elements(By.CSS_SELECTOR, "tbody a")}
    assert {f"t1/{situation}" for situation in SITUATIONS} <= names
    browser.find_element(By.LINK_TEXT, "t1/baking-counted").click()
    until(browser, "candidate 24 of 4000")
    assert complaints(browser) == []


def test_a_search_finds(browser: Chrome, site: Site) -> None:
    browser.get(site.url)
    browser.find_element(By.NAME, "q").send_keys("paused-for\n")
    until(browser, "1 ModelDeployments")
    assert "t1/paused-for-approval" in read(browser, "document.body.innerText")


def test_a_rollout_moves_without_being_asked(browser: Chrome, site: Site) -> None:
    site.put(recorded("shifting"), "m")
    browser.get(f"{site.url}/models/t1/m")
    until(browser, "Traffic")
    site.put(recorded("baking-counted"), "m")
    until(browser, "candidate 24 of 4000")
    assert read(browser, "document.querySelectorAll('svg.chart polyline.applied').length") == 1
    bar = "document.querySelector('svg.bar rect.candidate').getAttribute('width')"
    assert read(browser, bar) == "20"
    site.put(recorded("aborted-by-analysis"), "m")
    until(browser, "slipway retry m")
    assert complaints(browser) == []


def test_the_style_is_applied(browser: Chrome, site: Site) -> None:
    browser.get(f"{site.url}/models/t1/healthy")
    weight = "getComputedStyle(document.querySelector('.phase.healthy')).fontWeight"
    assert read(browser, weight) == "600"


@pytest.mark.parametrize("path", ["/", "/models/t1/hostile"])
def test_hostile_words_are_read_and_do_nothing(browser: Chrome, site: Site, path: str) -> None:
    browser.get(site.url + path)
    until(browser, HOSTILE[:40])
    browser.execute_async_script("setTimeout(arguments[0], 2500)")  # one renewal by the script
    assert "owned" not in browser.title
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert complaints(browser) == []


def test_the_policy_lets_nothing_else_in(browser: Chrome, site: Site) -> None:
    browser.get(site.url)
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = \"document.title='owned'\";"
        "document.body.append(s)"
    )
    assert browser.title == "Slipway"
    refused = complaints(browser)
    assert any("Content Security Policy" in text for text in refused), refused


@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_is_no_wider_than_its_window(browser: Chrome, site: Site, width: int) -> None:
    browser.set_window_size(width, 900)
    browser.get(f"{site.url}/models/t1/baking-counted")
    until(browser, "Conditions")
    root = "document.documentElement"
    assert read(browser, f"{root}.scrollWidth - {root}.clientWidth") <= 0
