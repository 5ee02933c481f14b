"""How many frames a peer may send that cost us more than they cost it.

Pure: whoever owns the connection tells when a second has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway_runtime.http2 import frames
from slipway_runtime.http2.frames import Code, ConnectionProblem

_EMPTY_DATA: Final = 256
"""Not a kind of frame: a DATA frame that neither carries nor ends anything."""
_REFUSED: Final = 257
_OTHER: Final = 258
_UNFINISHED: Final = 259
_A_SECOND: Final[Mapping[int, tuple[int, str]]] = {
    frames.PING: (64, "PING"),
    frames.SETTINGS: (32, "SETTINGS"),
    frames.PRIORITY: (1_000, "PRIORITY"),
    # Clients that give up on requests say so, a proxy for many at once. Requests that were given up
    # before they were complete, or together with them, are an attack's (CVE-2023-44487).
    frames.RST_STREAM: (1_000, "RST_STREAM"),
    _UNFINISHED: (100, "RST_STREAM of unfinished requests"),
    frames.WINDOW_UPDATE: (50_000, "WINDOW_UPDATE"),
    _EMPTY_DATA: (1_000, "empty DATA"),
    _REFUSED: (1_000, "refused"),
    _OTHER: (1_000, "unknown"),
}


class Calm:
    """Counts what a connection sent in this second."""

    def __init__(self) -> None:
        self._left = _full()

    def tick(self) -> None:
        """A second has passed."""
        self._left = _full()

    def earn(self) -> None:
        """A message moved: clients may ping along with it to measure the connection."""
        self._left[frames.PING] = _A_SECOND[frames.PING][0]

    def spend(self, kind: int) -> None:
        """Count a frame.

        Raises:
            ConnectionProblem: there were too many of its kind.
        """
        kind = kind if kind in self._left else _OTHER
        self._left[kind] -= 1
        if self._left[kind] < 0:
            most, name = _A_SECOND[kind]
            raise ConnectionProblem(
                Code.ENHANCE_YOUR_CALM, f"more than {most} {name} frames in a second"
            )

    def spend_empty(self) -> None:
        """Count a DATA frame that says nothing."""
        self.spend(_EMPTY_DATA)

    def spend_unfinished(self) -> None:
        """Count a request that its client gave up before it was complete."""
        self.spend(_UNFINISHED)

    def spend_refused(self) -> None:
        """Count a stream that broke a rule, or came too many."""
        self.spend(_REFUSED)


def _full() -> dict[int, int]:
    return {kind: most for kind, (most, _) in _A_SECOND.items()}
