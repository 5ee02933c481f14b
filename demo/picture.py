"""Digits as pictures in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from demo.model import Pixels

_SHADES: Final = " ░▒▓█"
_SIDE: Final = 8
_MAX: Final = 16


def rows(pixels: Pixels) -> list[str]:
    """Draw one digit of 64 pixels from 0 to 16: eight lines of sixteen characters."""
    steps = np.clip(pixels, 0, _MAX) * (len(_SHADES) - 1) / _MAX
    grid = steps.round().astype(int).reshape(_SIDE, _SIDE)
    return ["".join(_SHADES[v] * 2 for v in row) for row in grid]


def gallery(digits: Sequence[Pixels], captions: Sequence[str]) -> str:
    """Draw digits side by side, each above its caption."""
    drawn = [rows(d) for d in digits]
    width = 2 * _SIDE
    lines = ["  ".join(line) for line in zip(*drawn, strict=True)]
    return "\n".join([*lines, "  ".join(c.center(width) for c in captions)])
