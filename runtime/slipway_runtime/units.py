"""Durations and byte sizes as the resource writes them.

Durations are strings of Gateway API's form (GEP-2257: `30s`, `250ms`, `1h30m`); sizes are
Kubernetes quantities (`64Mi`, `8388608`). Both carry their unit, so neither needs a convention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from math import ceil
from typing import Final

DURATION_PATTERN: Final = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
QUANTITY_PATTERN: Final = (
    r"^[0-9]{1,19}(\.[0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]{1,2})?$"
)

_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DECIMAL: Final[Mapping[str, Decimal | int]] = {
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
}
_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_FACTORS: Final[Mapping[str, Decimal | int]] = {**_DECIMAL, **_BINARY, "": 1}
_DURATION_PART: Final = re.compile(r"([0-9]+)(h|ms|m|s)")
_NUMBER: Final = re.compile(r"([0-9.]+(?:[eE][0-9]+)?)(.*)")


def duration_s(text: str) -> float:
    """Read a GEP-2257 duration in seconds.

    >>> duration_s("1h30m"), duration_s("250ms")
    (5400.0, 0.25)

    Raises:
        ValueError: the text is no such duration.
    """
    if not re.match(DURATION_PATTERN, text):
        raise ValueError("expected a duration such as '30s', '250ms' or '1h30m'")
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def quantity_bytes(value: str | int) -> int:
    """Read a Kubernetes quantity as bytes, rounding a fraction up as Kubernetes does.

    >>> quantity_bytes("64Mi"), quantity_bytes(512), quantity_bytes("1.5k")
    (67108864, 512, 1500)

    Raises:
        ValueError: the value is no such quantity.
    """
    text = str(value)
    if isinstance(value, bool) or not re.match(QUANTITY_PATTERN, text):
        raise ValueError("expected a size such as '64Mi', '1G' or a number of bytes")
    number, suffix = _NUMBER.fullmatch(text).groups()  # type: ignore[union-attr]  # the pattern above holds
    return ceil(Decimal(number) * _FACTORS[suffix])


def readable_bytes(size_bytes: float) -> str:
    """Write a size for people, in the quantity's own units.

    >>> readable_bytes(64 * 2**20), readable_bytes(300)
    ('64Mi', '300')
    """
    for suffix, factor in reversed(_BINARY.items()):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g}{suffix}"
    return f"{size_bytes:.0f}"
