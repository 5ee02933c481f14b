"""The pages: one with all ModelDeployments, one of each. Pure: pictures in, HTML out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from slipway_operator.picture.picture import Picture, Track
from slipway_operator.picture.words import clean
from slipway_operator.ui import charts
from slipway_operator.ui.html import Element, document, el
from slipway_operator.ui.memory import Point

_T = TypeVar("_T")

PER_PAGE: Final = 50
LONGEST_SEARCH: Final = 100


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of all ModelDeployments are shown."""

    number: int
    """Of the page, from 1."""
    pages: int
    found: int
    search: str


def overview(seen: Sequence[Picture], chosen: Selection) -> bytes:
    """Write the page with the ModelDeployments of one selection."""
    rows = [
        el(
            "tr",
            _cell(el("a", f"{s.namespace}/{s.name}", href=_path(s))),
            _phase(s.phase), _cell(s.state),
            *(_cell(_track(s, role)) for role in ("stable", "candidate")),
            _cell(s.message),
        )
        for s in seen
    ]  # fmt: skip
    head = ("model", "phase", "rollout", "stable", "candidate", "message")
    search = el(
        "form",
        el("input", type="search", name="q", value=chosen.search, maxlength=LONGEST_SEARCH,
           placeholder="namespace/name", aria_label="search"),
        action="/", method="get",
    )  # fmt: skip
    count = el("p", f"{chosen.found} ModelDeployments", class_="dim")
    main = el("main", el("h1", "Slipway"), count, _table("models", head, rows), _turning(chosen))
    return _page("Slipway", main, search)


def _path(seen: Picture) -> str:
    return f"/models/{quote(seen.namespace, safe='')}/{quote(seen.name, safe='')}"


def _track(seen: Picture, role: str) -> str:
    found = next((t for t in seen.tracks if t.role == role), None)
    return f"{found.revision} {found.weight} %" if found else ""


def _turning(chosen: Selection) -> Element:
    links = []
    for text, number in (("before", chosen.number - 1), ("next", chosen.number + 1)):
        if 1 <= number <= chosen.pages:
            query = urlencode({"page": number, **({"q": chosen.search} if chosen.search else {})})
            links.append(el("a", text, href=f"/?{query}"))
    return el("nav", f"page {chosen.number} of {chosen.pages} ", *links)


def detail(seen: Picture, points: Sequence[Point]) -> bytes:
    """Write the page of one ModelDeployment."""
    name = f"{seen.namespace}/{seen.name}"
    main = el(
        "main",
        el("h1", name, " ", el("span", seen.phase, class_=f"phase {seen.phase.lower()}")),
        el("p", seen.message, class_="message"),
        el("p", seen.model, class_="dim"),
        _section("Steps", _steps(seen), bool(seen.steps)),
        _section("Traffic", _traffic(seen, points), bool(seen.tracks)),
        _section("Checks", _checks(seen), bool(seen.checks)),
        _section("Pods", _rows(("pod", "revision", "state", "restarts", "age"), seen.pods,
                 lambda p: (p.name, p.revision, p.state, str(p.restarts), p.age)),
                 bool(seen.pods)),
        _section("Conditions", _rows(("type", "status", "reason", "since", "message"),
                 seen.conditions, lambda c: (c.type, c.status, c.reason, c.age, c.message)),
                 bool(seen.conditions)),
        _section("History", _rows(("revision", "hash", "version", "promoted", "digest"),
                 seen.history, lambda h: (h.revision, h.hash, h.version, h.promoted, h.digest)),
                 bool(seen.history)),
        _section("What helps", _hints(seen), bool(seen.hints)),
    )  # fmt: skip
    return _page(name, main, el("a", "all models", href="/"))


def _section(title: str, body: Element, has_any: bool) -> Element | None:
    return el("section", el("h2", title), body) if has_any else None


def _steps(seen: Picture) -> Element:
    items = [
        el("li", el("b", s.label), " ", s.detail if s.place == "here" else "", class_=s.place)
        for s in seen.steps
    ]
    return el("ol", *items, class_="steps")


def _traffic(seen: Picture, points: Sequence[Point]) -> Element:
    body = el("div", *(_share(track) for track in seen.tracks))
    if seen.weight:
        body.append(el("p", seen.weight, class_="dim"))
        body.append(charts.weights(points))
    return body


def _share(track: Track) -> Element:
    text = el("span", f"{track.role} {track.revision} {track.weight} %, {track.pods}")
    return el("div", text, charts.share(track.weight, track.role), class_="share")


def _checks(seen: Picture) -> Element:
    rows = [
        el(
            "tr", _cell(c.name),
            _cell(el("span", c.verdict, class_=f"verdict {clean(c.verdict).lower()}")),
            _cell(charts.evidence(*_bets(c.evidence))), _cell(c.evidence),
            _cell(c.message or c.counts),
        )
        for c in seen.checks
    ]  # fmt: skip
    return _table("checks", ("check", "verdict", "worse | fine", "evidence", "message"), rows)


def _bets(evidence: str) -> tuple[str, str]:
    """Take `worse 0.3, fine 4.1` apart."""
    worse, _, fine = evidence.removeprefix("worse ").partition(", fine ")
    return worse, fine


def _hints(seen: Picture) -> Element:
    items = [
        el("li", el("code", f"slipway {h.verb} {seen.name} -n {seen.namespace}"), " ", h.text)
        if h.verb
        else el("li", h.text)
        for h in seen.hints
    ]
    return el("ul", *items)


def _rows(
    head: Sequence[str], values: Iterable[_T], cells: Callable[[_T], Iterable[str]]
) -> Element:
    return _table("plain", head, [el("tr", *map(_cell, cells(value))) for value in values])


def _table(name: str, head: Sequence[str], rows: Sequence[Element]) -> Element:
    titles = el("thead", el("tr", *(el("th", text, scope="col") for text in head)))
    return el("div", el("table", titles, el("tbody", *rows), class_=name), class_="wide")


def _cell(content: Element | str) -> Element:
    return el("td", content)


def _phase(phase: str) -> Element:
    return _cell(el("span", phase, class_=f"phase {phase.lower()}"))


def _page(title: str, main: Element, beside: Element) -> bytes:
    head = el(
        "head", el("meta", charset="utf-8"), el("title", title),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("link", rel="stylesheet", href="/style.css"),
        el("script", src="/live.js", defer="defer"),
    )  # fmt: skip
    state = el("span", id="connection", role="status")
    return document(el("html", head, el("body", el("header", beside, state), main), lang="en"))


def message(status: int, text: str) -> bytes:
    """Write a page that only says something."""
    main = el("main", el("h1", str(status)), el("p", clean(text)))
    return _page(str(status), main, el("a", "all models", href="/"))
