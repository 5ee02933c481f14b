"""A picture as plain lines: for logs, pipes and terminals that cannot draw. Pure: text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from slipway_operator.picture.picture import Picture

_SIGN: Final = {"passed": "x", "here": ">", "ahead": " "}


def lines(seen: Picture) -> list[str]:
    """Write everything, section by section."""
    found = [f"{seen.namespace}/{seen.name}  {seen.phase}  {seen.state}".rstrip(), seen.message]
    if seen.model:
        found.append(f"model  {seen.model}")
    found += [f"url    {url}" for url in seen.endpoints]
    for title, rows in _sections(seen):
        if rows:
            found += ["", title, *_table(rows)]
    if seen.weight:
        found += ["", f"weight: {seen.weight}"]
    found += [f"({gap})" for gap in seen.gaps]
    return found + list(_hints(seen))


def _sections(seen: Picture) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    yield "revisions:", [(t.role, t.revision, f"{t.weight} %", t.pods) for t in seen.tracks]
    yield "steps:", [(f"[{_SIGN[s.place]}]", s.label, s.detail) for s in seen.steps]
    yield "checks:", [(c.name, c.verdict, c.evidence, c.message or c.counts) for c in seen.checks]
    yield (
        "pods:",
        [(p.name, p.revision, p.state, f"{p.restarts} restarts", p.age) for p in seen.pods],
    )
    yield "conditions:", [(c.type, c.status, c.reason, c.age, c.message) for c in seen.conditions]
    yield "events:", [(e.age, e.type, e.reason, e.message) for e in seen.events]


def _hints(seen: Picture) -> Iterator[str]:
    if seen.hints:
        yield ""
    for hint in seen.hints:
        yield f"{hinted(hint.verb, seen)}  {hint.text}" if hint.verb else f"or: {hint.text}"


def hinted(verb: str, seen: Picture) -> str:
    """Write the command that a hint speaks of."""
    first, _, rest = verb.partition(" ")
    place = "" if seen.namespace == "default" else f" -n {seen.namespace}"
    return f"slipway {first} {seen.name}{place}{f' {rest}' if rest else ''}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns; the last one is as long as it is, and empty columns are left out."""
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows)]
    widths = {i: max(len(row[i]) for row in rows) for i in used}
    return ["  " + "  ".join(row[i].ljust(widths[i]) for i in used).rstrip() for row in rows]


def changed(before: Picture | None, seen: Picture, at: str) -> str | None:
    """Write one line about what is new since the picture before; None when nothing is."""
    if before is not None and _gist(before) == _gist(seen):
        return None
    weight = next((f"{t.weight} %" for t in seen.tracks if t.role == "candidate"), "")
    verdicts = ", ".join(f"{c.name} {c.verdict}" for c in seen.checks)
    parts = (at, seen.phase, seen.state, weight, verdicts, seen.message)
    return "  ".join(part for part in parts if part)


def _gist(seen: Picture) -> tuple[object, ...]:
    checks = tuple((c.name, c.verdict) for c in seen.checks)
    return seen.phase, seen.state, seen.message, seen.tracks, checks
