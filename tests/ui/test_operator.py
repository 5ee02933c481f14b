"""The page of a real operator on a real API server, in a real browser, while a version comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from selenium.webdriver import Chrome

from tests.cluster.kubelet import Script, Supplied
from tests.cluster.models import Models
from tests.cluster.operators import Operator, free_port
from tests.ui.looking import complaints, read, until

SECOND: Final = "https://models.example/2.onnx"
ROLLOUT: Final = {
    "steps": [{"weight": 20, "hold": "1s", "approval": "Manual"}],
    "watch": "2s",
    "scaleDownDelay": "1s",
    "traffic": {"settle": "1s"},
}
_BAR: Final = "document.querySelector('svg.bar rect.candidate').getAttribute('width')"


def test_a_rollout_is_seen_as_it_goes(
    chromium: Chrome, start: Callable[..., Operator], models: Models, script: Script
) -> None:
    port = free_port()
    start(ui_enabled="true", ui_port=str(port)).until_ready()
    _ask_for(models)
    first = models.until("Ready")["status"]["stable"]
    chromium.get(f"http://127.0.0.1:{port}")
    until(chromium, f"{models.namespace}/m")
    chromium.get_log("browser")  # type: ignore[no-untyped-call]
    chromium.get(f"http://127.0.0.1:{port}/models/{models.namespace}/m")
    until(chromium, "serves with 4 of 4 replicas")
    script.supply = Supplied("sha256:" + "cd" * 32)
    _ask_for(models, uri=SECOND)
    until(chromium, "waits for the action approve")
    assert read(chromium, _BAR) == "20"
    candidate = models.get()["status"]["candidate"]
    text = f"slipway.dev/rollout-action=approve @{candidate['hash']} #1"
    approved = models.kubectl("annotate", "mdep/m", text)
    assert approved.returncode == 0, approved.stderr
    until(chromium, f"revision r2 {candidate['hash'][:4]} serves with 4 of 4 replicas")
    assert first["hash"] != candidate["hash"]
    assert complaints(chromium) == []
    chromium.get("about:blank")


def _ask_for(models: Models, **more: Any) -> None:
    models.apply(replicas=4, rollout=ROLLOUT, **more)
