"""Tell the person at the terminal what is happening, and wait for conditions with a bound.

Everything goes to standard error, so that standard output stays machine-readable.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from devcluster.errors import DevclusterError

HEARTBEAT_S: Final = 10.0
POLL_S: Final = 0.1
TAIL_LINES: Final = 12

_started = time.monotonic()


def say(text: str) -> None:
    """Print one line with the seconds since this program started."""
    print(f"[{time.monotonic() - _started:6.1f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(
    what: str, *, detail: Callable[[], str] = lambda: "", quiet_below_s: float = 1.0
) -> Iterator[None]:
    """Announce a step that may be long: a line every ten seconds, and its duration at the end.

    Args:
        what: a participle phrase, such as `building slipway-node`.
        detail: asked at each heartbeat for what is being done just now.
        quiet_below_s: a step that ends sooner leaves no closing line.
    """
    begun = time.monotonic()
    finished = threading.Event()

    def beat() -> None:
        while not finished.wait(HEARTBEAT_S):
            say(f"  still {what} ({time.monotonic() - begun:.0f} s) {detail()}".rstrip())

    say(what)
    ticker = threading.Thread(target=beat, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        finished.set()
        ticker.join()
    elapsed_s = time.monotonic() - begun
    if elapsed_s >= quiet_below_s:
        say(f"  done: {what} ({elapsed_s:.1f} s)")


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout_s: float,
    log: Path | None = None,
    poll_s: float = POLL_S,
) -> None:
    """Poll a condition until it holds.

    Raises:
        DevclusterError: it did not within `timeout_s`; the message names `what` and `log`,
            and carries the log's last lines.
    """
    begun = time.monotonic()
    next_beat_s = HEARTBEAT_S
    while not condition():
        elapsed_s = time.monotonic() - begun
        if elapsed_s > timeout_s:
            raise DevclusterError(f"{what}: waited {timeout_s:.0f} s in vain{log_excerpt(log)}")
        if elapsed_s > next_beat_s:
            say(f"  still waiting for {what} ({elapsed_s:.0f} s)")
            next_beat_s += HEARTBEAT_S
        time.sleep(poll_s)


def log_excerpt(log: Path | None, lines: int = TAIL_LINES) -> str:
    """Quote the end of a log for an error message; empty without a log."""
    if log is None:
        return ""
    return f"\n  read {log}; its last lines:\n" + "\n".join(
        f"    {line[:400]}" for line in tail(log, lines)
    )


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a file; none where it does not exist. Reads at most the last 256 KiB."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - 256 * 1024))
            return stream.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
