"""What `slipway status` writes: plain lines, a drawing, one line per change."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from slipway_operator.cli.drawing import drawing
from slipway_operator.cli.lines import changed, lines
from slipway_operator.picture.picture import Picture, picture
from tests.statuses import SITUATIONS, recorded
from tests.unit.repository.files import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "status"
NOW = datetime(2026, 11, 20, 9, 33, 30, tzinfo=UTC)
HOSTILE = "\x1b]52;c;ZXZpbA==\x07 [red]not markup[/red] \u202e"


def _pod(name: str, hash_: str, restarts: int = 0) -> dict[str, Any]:
    container = {"name": "serve", "restartCount": restarts, "state": {"running": {}}}
    return {
        "metadata": {
            "name": name, "labels": {"slipway.dev/revision": hash_},
            "creationTimestamp": "2026-11-20T09:31:00Z",
        },
        "status": {
            "phase": "Running", "containerStatuses": [container],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }  # fmt: skip


def _seen(situation: str) -> Picture:
    mdep = recorded(situation)
    status = mdep.get("status") or {}
    hashes = [status[t]["hash"] for t in ("stable", "candidate") if status.get(t)]
    pods = [_pod(f"digits-{h}-{i}", h, i) for h in hashes for i in range(2)]
    event = {
        "type": "Normal", "reason": "RolloutBaking", "message": status.get("message", ""),
        "lastTimestamp": "2026-11-20T09:33:25Z",
    }  # fmt: skip
    return picture(mdep, NOW, pods=pods, events=[event])


def _drawn(seen: Picture, width: int = 110) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width, force_terminal=True, color_system="truecolor").print(
        drawing(seen)
    )
    return screen.getvalue()


@pytest.mark.parametrize(
    "situation", ["baking-counted", "paused-for-approval", "aborted-by-analysis", "healthy"]
)
def test_plain_lines_are_what_the_golden_file_says(situation: str) -> None:
    text = "\n".join(lines(_seen(situation))) + "\n"
    golden = GOLDEN / f"{situation}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert golden.read_text() == text, "review the difference, then run `make golden`"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_can_be_written_and_drawn_in_a_narrow_terminal(situation: str) -> None:
    seen = _seen(situation)
    assert seen.message in "\n".join(lines(seen))
    assert "digits" in _drawn(seen, width=40)


def test_a_drawing_shows_the_share_the_step_and_the_verdict() -> None:
    text = _drawn(_seen("baking-counted"))
    assert "80 %" in text
    assert "20 %" in text
    assert "━" in text, "a bar"
    assert "15s left" in text
    assert "candidate 24 of 4000" in text


def test_hostile_words_are_shown_and_steer_nothing() -> None:
    mdep = recorded("paused-for-approval")
    mdep["status"]["message"] = HOSTILE
    mdep["status"]["conditions"][0]["message"] = HOSTILE
    seen = picture(mdep, NOW)
    for text in (_drawn(seen), "\n".join(lines(seen))):
        assert "\x1b]52" not in text
        assert "\u202e" not in text
        assert "[red]not markup[/red]" in text


def test_only_a_change_is_worth_a_line() -> None:
    before, after = _seen("baking"), _seen("paused-for-approval")
    assert changed(before, before, "09:33:30Z") is None
    line = changed(before, after, "09:33:30Z")
    assert line is not None
    assert line.startswith("09:33:30Z  Paused  Paused  20 %")
    assert "\n" not in line


def test_the_guide_shows_what_is_written() -> None:
    guide = (REPOSITORY / "docs" / "guides" / "cli.md").read_text()
    assert (GOLDEN / "baking-counted.txt").read_text() in guide
