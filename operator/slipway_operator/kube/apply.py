"""Server-side apply without needless writes: is what we want already there? Pure.

Lives here: the comparison, and the mark that catches what the comparison cannot see. Removing a
field from what we want leaves the live object a superset of it, so every applied object carries a
fingerprint of what was applied.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

APPLIED: Final = "slipway.dev/applied"
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_SUFFIX: Final = {
    "": Decimal(1), "m": Decimal("0.001"),
    **{s: Decimal(1000) ** i for i, s in enumerate("kMGTPE", 1)},
    **{s + "i": Decimal(1024) ** i for i, s in enumerate("KMGTPE", 1)},
}  # fmt: skip
_ATOMIC: Final = frozenset({"selector", "matchLabels", "nodeSelector"})
_QUANTITY_PARENTS: Final = frozenset({"requests", "limits"})


def fingerprint(want: Mapping[str, Any]) -> str:
    """Hash what is applied: sixteen hexadecimal digits."""
    text = json.dumps(want, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def marked(want: Mapping[str, Any]) -> dict[str, Any]:
    """Add the fingerprint to what is applied."""
    metadata = want["metadata"]
    notes = {**(metadata.get("annotations") or {}), APPLIED: fingerprint(want)}
    return {**want, "metadata": {**metadata, "annotations": notes}}


def fingerprint_of(marked_want: Mapping[str, Any]) -> str:
    """Read the fingerprint that `marked` has added."""
    return str(marked_want["metadata"]["annotations"][APPLIED])


def covers(live: Any, want: Any) -> bool:
    """Tell whether everything in `want` stands in `live`; lists must match item by item.

    `live` may have more: defaults of the API server, fields of others. Quantities compare by value,
    because the API server rewrites them (`0.5` comes back as `500m`), and an empty text equals an
    absent one, because the API server drops it (`env[].value: ""`).

    >>> covers({"a": 1, "b": 2}, {"a": 1}), covers({"a": [1, 2]}, {"a": [1]})
    (True, False)
    """
    if live == want:  # most of it is, word for word, and this needs no Python to tell
        return True
    if isinstance(want, dict):
        found = live if isinstance(live, dict) else {}
        return all(_covers_field(found.get(k), k, v) for k, v in want.items())
    if isinstance(want, list):
        items = live if isinstance(live, list) else []
        return len(items) == len(want) and all(map(covers, items, want))
    return want == "" and live is None


def _covers_field(live: Any, name: str, want: Any) -> bool:
    if name in _ATOMIC and isinstance(want, dict):
        return bool(live == want)  # one key more selects something else
    if name in _QUANTITY_PARENTS and isinstance(want, dict) and isinstance(live, dict):
        return all(k in live and _value(live[k]) == _value(v) for k, v in want.items())
    return covers(live, want)


def differing_field(live: Any, want: Any, path: str = "") -> str:
    """Name the first field of `want` that does not stand in `live`.

    >>> differing_field({"spec": {"type": "NodePort"}}, {"spec": {"type": "ClusterIP"}})
    'spec.type'
    """
    if not isinstance(want, Mapping):
        return path
    found = live if isinstance(live, Mapping) else {}
    for name, value in want.items():
        if not _covers_field(found.get(name), name, value):
            below = f"{path}.{name}" if path else name
            return below if name in _ATOMIC else differing_field(found.get(name), value, below)
    return path


def _value(quantity: Any) -> Any:
    found = _QUANTITY.fullmatch(str(quantity))
    return Decimal(found[1]) * _SUFFIX[found[2] or ""] if found else quantity
