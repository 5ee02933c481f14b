"""Charts as SVG: weights over time, the share of each track, the evidence of a check. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from slipway_operator.ui.html import Element, el
from slipway_operator.ui.memory import Point

_WIDTH: Final = 640
_HEIGHT: Final = 160
_LEFT: Final = 40
_BOTTOM: Final = 20
_MOST_EVIDENCE: Final = 3.0
"""Powers of ten that a bar of evidence has room for."""


def weights(points: Sequence[Point]) -> Element:
    """Draw the candidate's share: asked for, applied, observed."""
    if len(points) < 2:
        return el("p", "The chart begins with the rollout's next looks.", class_="dim")
    start = points[0].at
    length = max(1.0, (points[-1].at - start).total_seconds())

    def place(point: Point, percent: float) -> str:
        x = _LEFT + (point.at - start).total_seconds() / length * (_WIDTH - _LEFT)
        return f"{x:.1f},{_y(percent):.1f}"

    chart = el(
        "svg", el("title", "The candidate's share over time"), *_grid(),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT + _BOTTOM}", class_="chart", role="img",
    )  # fmt: skip
    chart.append(_line(points, place, lambda p: p.desired, "desired"))
    chart.append(_line(points, place, lambda p: p.applied, "applied"))
    seen = [p for p in points if p.observed is not None]
    chart.append(_line(seen, place, lambda p: p.observed or 0.0, "observed"))
    for at, x, anchor in ((start, _LEFT, "start"), (points[-1].at, _WIDTH, "end")):
        text = f"{at:%H:%M:%S}Z"
        chart.append(el("text", text, x=x, y=_HEIGHT + 15, text_anchor=anchor))
    names = (el("span", name, class_=name) for name in ("desired", "applied", "observed"))
    return el("figure", chart, el("figcaption", *names))


def _y(percent: float) -> float:
    return _HEIGHT - min(100.0, max(0.0, percent)) / 100 * (_HEIGHT - 10)


def _grid() -> list[Element]:
    lines = []
    for percent in (0, 50, 100):
        y = f"{_y(percent):.1f}"
        lines.append(el("line", x1=_LEFT, x2=_WIDTH, y1=y, y2=y, class_="grid"))
        lines.append(el("text", f"{percent} %", x=0, y=f"{_y(percent) + 4:.1f}"))
    return lines


def _line(
    points: Sequence[Point],
    place: Callable[[Point, float], str],
    of: Callable[[Point], float],
    name: str,
) -> Element:
    return el("polyline", points=" ".join(place(p, of(p)) for p in points), class_=name)


def share(percent: int, name: str) -> Element:
    """Draw one share as a bar."""
    return el(
        "svg", el("title", f"{percent} %"),
        el("rect", width=100, height=10, class_="back"),
        el("rect", width=percent, height=10, class_=name),
        viewBox="0 0 100 10", class_="bar", role="img", preserveAspectRatio="none",
    )  # fmt: skip


def evidence(worse: str, fine: str) -> Element:
    """Draw how much speaks against a candidate, and for it: powers of ten."""
    against, in_favour = _powers(worse), _powers(fine)
    return el(
        "svg", el("title", f"worse {worse or '?'}, fine {fine or '?'}"),
        el("rect", width=100, height=10, class_="back"),
        el("rect", x=f"{50 - 50 * against:.1f}", width=f"{50 * against:.1f}", height=10,
           class_="against"),
        el("rect", x=50, width=f"{50 * in_favour:.1f}", height=10, class_="favour"),
        viewBox="0 0 100 10", class_="bar", role="img", preserveAspectRatio="none",
    )  # fmt: skip


def _powers(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    if not value > 1 or math.isinf(value):  # NaN, too
        return 1.0 if value > 1 else 0.0
    return min(1.0, math.log10(value) / _MOST_EVIDENCE)
