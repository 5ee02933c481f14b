"""What the demonstration says: numbered steps, progress on what takes time, plain sentences."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_BOLD: Final = "\033[1m"
_DIM: Final = "\033[2m"
_PLAIN: Final = "\033[0m"
_TICK_S: Final = 5.0


def _styled(text: str, style: str) -> str:
    return (
        f"{style}{text}{_PLAIN}" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text
    )


def say(text: str = "") -> None:
    """Say something."""
    print(text, flush=True)


def title(number: int, text: str) -> None:
    """Begin a step."""
    say()
    say(_styled(f"{number}. {text}", _BOLD))


def command(text: str) -> None:
    """Show a command that is run, or that the reader may run."""
    say(_styled(f"   $ {text}", _DIM))


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say what is going on, again every few seconds, and how long it took."""
    start = time.monotonic()
    over = threading.Event()

    def tick() -> None:
        while not over.wait(_TICK_S):
            say(f"   … {what}, {time.monotonic() - start:.0f} s")

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
    say(f"   {what}: {time.monotonic() - start:.1f} s")
