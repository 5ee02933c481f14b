"""Where and when a benchmark was run, and what else the machine did."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_NOISE_S: Final = 3.0


def machine() -> dict[str, object]:
    """Where and when this is, and how many cores other work uses just now."""
    return {**place(), "noise": round(_busy_cores(_NOISE_S), 2)}


def place() -> dict[str, object]:
    """Where and when this is."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }


def placed(report: Mapping[str, Any]) -> str:
    """Tell when and where a run was made.

    >>> placed({"date": "2026-11-21", "cores": 2, "cpu": "A Processor", "system": "Linux 6"})
    '2026-11-21: 2 cores of A Processor, Linux 6'
    """
    return f"{report['date']}: {report['cores']} cores of {report['cpu']}, {report['system']}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")


def _busy_cores(seconds: float) -> float:
    def used() -> int:
        user, nice, system, *_ = Path("/proc/stat").read_text().split()[1:]
        return int(user) + int(nice) + int(system)

    before = used()
    time.sleep(seconds)  # the span whose use is counted; no condition ends it
    return (used() - before) / _TICKS / seconds
