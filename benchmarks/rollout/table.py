"""Cases as rows of a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
"""A case's `name`, `figures` (`judging.Figures.json`) and `faults`."""

_HEAD = (
    "Case", "Ends", "Detected after", "Harmed", "Failed by the machinery", "Requests",
    "Stable's pods, least", "Share, applied and measured", "Verdict",
)  # fmt: skip


def markdown(results: Sequence[Result]) -> str:
    """Write results as a table of a page."""
    lines = [f"| {' | '.join(_HEAD)} |", "| --- " * len(_HEAD) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(r))} |" for r in results)])


def plain(result: Result) -> str:
    """Write one result as a line of a terminal."""
    name, ends, after, harmed, failed, requests, capacity, shares, verdict = _cells(result)
    counts = f"{requests} requests, {harmed} harmed, {failed} failed by the machinery"
    return (
        f"{name}: {verdict}; {ends}; {after or 'nothing to detect'}; {counts}; {capacity}; {shares}"
    )


def _cells(result: Result) -> tuple[str, ...]:
    found = result["figures"]
    ends = f"{found['end']} {found['reason']}".strip()
    shares = ", ".join(f"{s['applied']} %: {s['measured']} %" for s in found["shares"])
    verdict = "pass" if not result["faults"] else f"fail: {'; '.join(result['faults'])}"
    return (
        result["name"], ends, _after(found), str(found["harmed"]), str(found["failed"]),
        str(found["requests"]), f"{found['capacity']:.0%}", shares, verdict,
    )  # fmt: skip


def _after(found: Mapping[str, Any]) -> str:
    if found["left_s"] is not None:
        kept = f" (kept connections {found['left_kept_s']:.1f} s)" if found["left_kept_s"] else ""
        return f"left after {found['left_s']:.1f} s{kept}"
    return "" if found["detected_s"] is None else f"{found['detected_s']:.1f} s"
