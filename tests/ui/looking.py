"""Looking at a page that puts its main part anew while one looks."""

from __future__ import annotations

from typing import Any, Final

from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

_LONGEST_S: Final = 60


def read(browser: Chrome, expression: str) -> Any:
    """Read something at once: the page may put its main part anew between two questions."""
    return browser.execute_script(f"return {expression}")


def until(browser: Chrome, expected: str) -> None:
    """Wait for words; the page puts its main part anew in between."""

    def is_there(driver: Any) -> bool:
        return expected in str(read(driver, "document.querySelector('main').innerText"))

    WebDriverWait(browser, _LONGEST_S).until(is_there, f"{expected!r} is not seen")


def complaints(browser: Chrome) -> list[str]:
    """What the browser has to say: refused scripts, styles and requests among it."""
    return [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]
