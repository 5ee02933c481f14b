"""Numbers as text, so that evidence survives a restart in the status.

Little-endian doubles in base64. What somebody has damaged is no state, and evidence begins anew.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence


def encoded(numbers: Sequence[float]) -> str:
    """Write numbers.

    >>> encoded([1.0])
    'AAAAAAAA8D8='
    """
    return base64.b64encode(struct.pack(f"<{len(numbers)}d", *numbers)).decode()


def decoded(text: object, size: int) -> tuple[float, ...] | None:
    """Read `size` finite numbers; None when the text holds anything else."""
    if not isinstance(text, str):
        return None
    try:
        numbers = struct.unpack(f"<{size}d", base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, struct.error):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
