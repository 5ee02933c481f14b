"""How the C library keeps freed memory: for a server, which soon needs as much again.

By default glibc gives large buffers back to the kernel when they are freed, and the next request
gets them anew, a page fault for every 4 KiB: reading a JSON body of 240 KiB took twice as long.
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT_BYTES: Final = 64 * 2**20
"""Free memory at the end of the heap that is not given back."""
_MAPPED_ABOVE_BYTES: Final = 16 * 2**20
"""Larger buffers are mapped and given back one by one."""
_ARENAS: Final = 2
"""Of the loop and of the engine; each thread that had its own would keep its own."""


def keep_freed_memory() -> None:
    """Tell the C library; another one than glibc has no such settings, and stays as it is."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_ABOVE_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)
