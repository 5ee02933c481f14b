"""`slipway status`: look once, or again and again."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from slipway_operator.cli.cluster import Around, Cluster
from slipway_operator.cli.lines import changed, lines
from slipway_operator.kube.errors import Throttled, Unavailable
from slipway_operator.picture.picture import Picture, picture

_LOOK_S: Final = 1.0
"""Pause between two looks: three small requests, at the pace of whoever reads along."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at once."""

    mdep: dict[str, Any]
    around: Around
    at: datetime

    def picture(self, *gaps: str) -> Picture:
        """Draw it up."""
        return picture(
            self.mdep, datetime.now(UTC), pods=self.around.pods, events=self.around.events,
            gaps=(*self.around.gaps, *gaps),
        )  # fmt: skip

    def document(self) -> dict[str, Any]:
        """Write it for programs: what was drawn, and the whole status."""
        return {**asdict(self.picture()), "status": self.mdep.get("status") or {}}


async def look(cluster: Cluster, name: str) -> Look:
    """Look once."""
    mdep = await cluster.model(name)
    return Look(mdep, await cluster.around(name), datetime.now(UTC))


async def show_once(cluster: Cluster, name: str, *, as_json: bool, plain: bool) -> None:
    """Write the status once."""
    seen = await look(cluster, name)
    if as_json:
        sys.stdout.write(json.dumps(seen.document(), indent=2) + "\n")
    elif plain:
        sys.stdout.write("\n".join(lines(seen.picture())) + "\n")
    else:
        from rich.console import Console

        from slipway_operator.cli.drawing import drawing

        Console().print(drawing(seen.picture()))


async def follow(cluster: Cluster, name: str, *, as_json: bool, plain: bool) -> None:
    """Go on showing the status, until somebody ends it or the ModelDeployment is gone."""
    if as_json:
        await _each(cluster, name, _json_lines())
    elif plain:
        await _each(cluster, name, _plain_lines())
    else:
        await _drawn(cluster, name)


Tell = Callable[[Look | None, str], None]
"""Told of each look, or of why there was none."""


async def _each(cluster: Cluster, name: str, tell: Tell) -> None:
    seen: Look | None = None
    while True:
        trouble = ""
        try:
            seen = await look(cluster, name)
        except (Unavailable, Throttled) as error:
            if seen is None:
                raise
            trouble = f"no answer since {seen.at:%H:%M:%S}Z: {error.message}"
        tell(seen, trouble)
        await asyncio.sleep(_LOOK_S)


def _json_lines() -> Tell:
    last = ""

    def tell(seen: Look | None, trouble: str) -> None:
        nonlocal last
        if seen is None or trouble:
            return
        version = str(seen.mdep["metadata"].get("resourceVersion"))
        if version != last:
            sys.stdout.write(json.dumps(seen.document()) + "\n")
            sys.stdout.flush()
        last = version

    return tell


def _plain_lines() -> Tell:
    last: Picture | None = None
    told = ""

    def tell(seen: Look | None, trouble: str) -> None:
        nonlocal last, told
        at = f"{datetime.now(UTC):%H:%M:%S}Z"
        if seen is not None and not trouble:
            now = seen.picture()
            line = "\n".join([*lines(now), ""]) if last is None else changed(last, now, at)
            last = now
        else:
            line = f"{at}  {trouble}" if trouble != told else None
        told = trouble
        if line is not None:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    return tell


async def _drawn(cluster: Cluster, name: str) -> None:
    from rich.live import Live

    from slipway_operator.cli.drawing import drawing

    # On a screen of its own: a picture higher than the terminal would otherwise scroll away.
    with Live(screen=True, auto_refresh=False) as live:

        def tell(seen: Look | None, trouble: str) -> None:
            if seen is not None:
                live.update(drawing(seen.picture(*([trouble] if trouble else []))), refresh=True)

        await _each(cluster, name, tell)
