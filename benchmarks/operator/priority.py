"""Let what is measured go before other work of the machine, where a quiet one cannot be had.

Linux shares the processor between sessions first (`autogroup`), and only then between processes:
a component with a session of its own counts as little as each of a dozen test runs beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_AHEAD: Final = -15


@contextmanager
def ahead(pids: Iterable[int]) -> Iterator[None]:
    """Prefer the sessions of these processes and our own, from which the operator is started.

    Raises:
        OSError: this takes root, and a kernel with autogroups.
    """
    for pid in (*pids, os.getpid()):
        _prefer(pid, _AHEAD)
    try:
        yield
    finally:
        _prefer(os.getpid(), 0)  # the shell's session may be ours; the others have ended


def _prefer(pid: int, nice: int) -> None:
    Path(f"/proc/{pid}/autogroup").write_text(str(nice))
