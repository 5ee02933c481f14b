"""Resource versions: which of two states of an object is newer. Pure.

Resource versions of one kind compare as numbers (KEP-5504). This is the only place that does so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

UNKNOWN: Final = -1


def number(version: str) -> int:
    """Read a resource version; `UNKNOWN` when it is no number."""
    return int(version) if version.isdigit() else UNKNOWN


def version_of(manifest: Mapping[str, Any]) -> int:
    """Read the resource version of an object."""
    return number(str(manifest["metadata"].get("resourceVersion", "")))


def is_newer(seen: int, known: int) -> bool:
    """Tell whether version `seen` is newer than `known`: watch events can come late, or after ours.

    What cannot be compared counts as newer.
    """
    return seen > known or UNKNOWN in (seen, known)
