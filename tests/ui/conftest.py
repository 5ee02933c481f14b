"""A real browser, and the page of an operator that has seen everything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from slipway_operator.engine.cache import Cache
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT
from slipway_operator.ui.server import Page
from tests.cluster.conftest import (  # noqa: F401 - fixtures of the test with a real operator
    api,
    cluster,
    kubeconfig,
    kubelet,
    models,
    namespace,
    script,
    start,
)
from tests.statuses import SITUATIONS, recorded

HOSTILE: Final = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
)


@dataclass(slots=True)
class Site:
    """The page, served by this process."""

    url: str
    cache: Cache
    page: Page
    version: int = 1

    def put(self, mdep: dict[str, Any], name: str) -> None:
        """Let a watch bring a ModelDeployment."""
        self.version += 1
        mdep["metadata"] |= {
            "name": name, "uid": f"uid-{name}", "resourceVersion": str(self.version),
        }  # fmt: skip
        self.cache.put(MODEL_DEPLOYMENT, mdep)
        self.page.look()


@pytest.fixture
def site() -> Iterator[Site]:
    """One ModelDeployment in every situation; `hostile` has hostile words."""
    cache = Cache()
    page, loop = Page(cache), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(page.serve("127.0.0.1", 0), loop).result(60)
    served = Site(f"http://127.0.0.1:{runner.addresses[0][1]}", cache, page)
    for situation in SITUATIONS:
        served.put(recorded(situation), situation)
    hostile = recorded("aborted-by-analysis")
    hostile["status"]["message"] = HOSTILE
    served.put(hostile, "hostile")
    yield served
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium without a window, which nothing but this machine is reachable for."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--no-first-run", "--window-size=1280,1400",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    log = tmp_path_factory.mktemp("driver") / "driver.log"
    service = Service("/usr/bin/chromedriver", log_output=str(log))
    driver = Chrome(options=options, service=service)
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Chrome, site: Site) -> Iterator[Chrome]:
    """The browser as if it were new; it leaves the page before the page ends."""
    chromium.get("about:blank")
    chromium.get_log("browser")  # type: ignore[no-untyped-call]
    yield chromium
    chromium.get("about:blank")
