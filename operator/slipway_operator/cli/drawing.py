"""A picture drawn in a terminal, with rich. Texts are values, never markup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from slipway_operator.cli.lines import hinted
from slipway_operator.picture.picture import Picture, Track

_OF_PHASE: Final = {
    "Healthy": "green", "Progressing": "cyan", "Pending": "cyan", "Paused": "yellow",
    "RollingBack": "yellow", "Suspended": "yellow", "Degraded": "red", "Failed": "red",
}  # fmt: skip
_OF_VERDICT: Final = {
    "Pass": "green", "Fail": "red", "Warn": "yellow", "Running": "cyan", "NoData": "yellow",
    "Inconclusive": "yellow",
}  # fmt: skip
_OF_PLACE: Final = {"passed": ("✓", "green"), "here": ("▶", "bold cyan"), "ahead": ("·", "dim")}
_BAR: Final = 40


def drawing(seen: Picture) -> Group:
    """Draw everything."""
    return Group(*_parts(seen))


def _parts(seen: Picture) -> Iterator[RenderableType]:
    colour = _OF_PHASE.get(seen.phase, "white")
    yield Text.assemble(
        (f"{seen.namespace}/{seen.name}", "bold"), "  ", (seen.phase, f"bold {colour}"), "  ",
        (seen.state, "dim"),
    )  # fmt: skip
    yield Text(seen.message, style=colour)
    if seen.model:
        yield Text(seen.model, style="dim")
    if seen.steps:
        yield _section("steps", _steps(seen))
    if seen.tracks:
        yield _section("traffic", _tracks(seen))
    yield from _tables(seen)
    yield from (Text(f"({gap})", style="dim") for gap in seen.gaps)
    for hint in seen.hints:
        command = hinted(hint.verb, seen) if hint.verb else "or:"
        yield Text.assemble((command, "bold"), "  ", (hint.text, "dim"))


def _section(title: str, body: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", style="bold"), Padding(body, (0, 0, 0, 2)))


def _steps(seen: Picture) -> Text:
    line = Text()
    for number, step in enumerate(seen.steps):
        sign, style = _OF_PLACE[step.place]
        line.append("  " if number else "").append(f"{sign} {step.label}", style=style)
        if step.place == "here":
            line.append(f" ({step.detail})", style="cyan")
    return line


def _tracks(seen: Picture) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    for track in seen.tracks:
        rows.add_row(track.role, track.revision, _bar(track), f"{track.weight} %", track.pods)
    return Group(rows, Text(seen.weight, style="dim")) if seen.weight else rows


def _bar(track: Track) -> ProgressBar:
    style = "green" if track.role == "stable" else "cyan"
    return ProgressBar(
        total=100, completed=track.weight, width=_BAR, complete_style=style, finished_style=style
    )


def _tables(seen: Picture) -> Iterator[RenderableType]:
    yield from _table("checks", [
        (Text(c.name), Text(c.verdict, _OF_VERDICT.get(c.verdict, "")), Text(c.evidence, "dim"),
         Text(c.message or c.counts, "dim"))
        for c in seen.checks
    ])  # fmt: skip
    yield from _table("pods", [
        (Text(p.name), Text(p.revision), Text(p.state, _of_pod(p.state)),
         Text(f"{p.restarts} restarts", "red" if p.restarts else "dim"), Text(p.age, "dim"))
        for p in seen.pods
    ])  # fmt: skip
    yield from _table("conditions", [
        (Text(c.type), Text(c.status), Text(c.reason), Text(c.age, "dim"), Text(c.message, "dim"))
        for c in seen.conditions
    ])  # fmt: skip
    yield from _table("events", [
        (Text(e.age, "dim"), Text(e.reason, "yellow" if e.type == "Warning" else ""),
         Text(e.message, "dim"))
        for e in seen.events
    ])  # fmt: skip


def _of_pod(state: str) -> str:
    return "green" if state == "Ready" else "yellow"


def _table(title: str, rows: Sequence[Sequence[Text]]) -> Iterator[RenderableType]:
    """Draw rows; the last column takes the room that is left, each row is one line."""
    if not rows:
        return
    table = Table.grid(padding=(0, 2))
    for _ in rows[0][:-1]:
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    yield _section(title, table)
