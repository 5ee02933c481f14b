"""What the pages show, and that nothing which they show can act."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_operator.picture.picture import picture
from slipway_operator.ui.html import document, el
from slipway_operator.ui.memory import MOST_MODELS, MOST_POINTS, Memory
from slipway_operator.ui.pages import Selection, detail, overview
from tests.statuses import SITUATIONS, recorded

NOW = datetime(2026, 11, 20, 9, 33, 30, tzinfo=UTC)
HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' &lt;"


class _Reader(HTMLParser):
    """Reads a page as a browser would: its elements and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(mdep: dict[str, Any], memory: Memory | None = None) -> _Reader:
    points = memory.points("m") if memory else ()
    return _Reader(detail(picture(mdep, NOW), points))


def _assert_harmless(read: _Reader) -> None:
    scripts = [a for tag, a in read.tags if tag == "script"]
    assert scripts == [{"src": "/live.js", "defer": "defer"}]
    assert {tag for tag, _ in read.tags} <= {
        "html", "head", "meta", "title", "link", "script", "body", "header", "main", "section",
        "h1", "h2", "p", "a", "span", "b", "ol", "ul", "li", "div", "table", "thead", "tbody",
        "tr", "th", "td", "code", "figure", "figcaption", "svg", "rect", "line", "text",
        "polyline", "form", "input", "nav",
    }  # fmt: skip
    names = {name for _, attributes in read.tags for name in attributes}
    assert not {n for n in names if n.startswith("on") or n == "style"}
    links = [a["href"] for tag, a in read.tags if tag in ("a", "link")]
    assert all(link is not None and link.startswith("/") for link in links)


def test_a_rollout_is_shown_with_its_numbers() -> None:
    memory, mdep = Memory(), recorded("baking-counted")
    for seconds in (0, 5, 10):
        memory.note("m", mdep, NOW + timedelta(seconds=seconds))
    read = _page(mdep, memory)
    for expected in ("t1/digits", "20 %", "80 %", "candidate 24 of 4000", "RollingOut", "15s left"):
        assert expected in read.text
    lines = [a for tag, a in read.tags if tag == "polyline"]
    assert [a["class"] for a in lines] == ["desired", "applied", "observed"]
    assert len(str(lines[0]["points"]).split()) == 3


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_has_a_page(situation: str) -> None:
    _assert_harmless(_page(recorded(situation)))


def test_an_overview_links_to_each() -> None:
    seen = [picture(recorded(s), NOW) for s in ("healthy", "baking", "aborted-by-user")]
    read = _Reader(overview(seen, Selection(1, 3, 120, "t1/")))
    assert [a["href"] for tag, a in read.tags if tag == "a"] == [
        *["/models/t1/digits"] * 3, "/?page=2&q=t1%2F",
    ]  # fmt: skip
    _assert_harmless(read)


@given(text=st.text(max_size=60) | st.just(HOSTILE))
@settings(max_examples=60, deadline=None)
def test_hostile_words_are_only_words(text: str) -> None:
    mdep = recorded("aborted-by-analysis")
    status = mdep["status"]
    status["message"] = status["phase"] = status["rollout"]["state"] = text
    status["conditions"][0]["message"] = status["analysis"][0]["verdict"] = text
    status["analysis"][0]["eFail"] = status["stable"]["hash"] = text
    mdep["metadata"] |= {"name": text or "x", "namespace": text or "y"}
    _assert_harmless(_page(mdep))
    seen = picture(mdep, NOW)
    _assert_harmless(_Reader(overview([seen], Selection(1, 1, 1, text))))


def test_hostile_words_are_shown_as_they_are() -> None:
    mdep = recorded("healthy")
    mdep["status"]["message"] = HOSTILE
    assert HOSTILE in _page(mdep).text


@given(text=st.text())
def test_every_text_can_be_written(text: str) -> None:
    assert document(el("p", text, "tail", title=text)).startswith(b"<!DOCTYPE html>")


def test_the_memory_is_bounded() -> None:
    memory, mdep = Memory(), recorded("baking")
    for number in range(MOST_POINTS + 5):
        memory.note("m", mdep, NOW + timedelta(seconds=number))
    assert len(memory.points("m")) == MOST_POINTS
    for number in range(MOST_MODELS + 5):
        memory.note(number, mdep, NOW)
    assert memory.points("m") == memory.points(0) == ()
    assert len(memory.points(MOST_MODELS)) == 1


def test_another_rollout_begins_anew_and_the_end_of_one_is_kept() -> None:
    memory, mdep = Memory(), recorded("baking")
    memory.note("m", mdep, NOW)
    memory.note("m", recorded("healthy"), NOW)
    assert len(memory.points("m")) == 1
    mdep["status"]["rollout"]["id"] = "2-2"
    memory.note("m", mdep, NOW)
    assert len(memory.points("m")) == 1
