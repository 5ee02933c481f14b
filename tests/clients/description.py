"""The Open Inference Protocol's OpenAPI description, corrected where it contradicts the protocol.

It is read from MLServer's wheel when it is needed, and no copy is kept; the corrections are data,
each with its reason, in `description.yaml`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import yaml

from tests.clients.environments import description_wheel

CORRECTIONS: Final = Path(__file__).with_name("description.yaml")
_DOCUMENT: Final = "mlserver/rest/openapi/dataplane.json"


def original() -> dict[str, Any]:
    """The description as it is published."""
    with zipfile.ZipFile(description_wheel()) as wheel:
        read: dict[str, Any] = json.loads(wheel.read(_DOCUMENT))
        return read


def corrected() -> dict[str, Any]:
    """The description with all contradictions and hints applied."""
    document = original()
    for change in [*_corrections()["contradictions"], *_corrections()["hints"]]:
        put(document, change["at"], change["put"])
    return document


def hinted(document: dict[str, Any]) -> dict[str, Any]:
    """The runtime's own description, which needs no correction, with hints."""
    for change in _corrections()["own_hints"]:
        put(document, change["at"], change["put"])
    return document


def _corrections() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(CORRECTIONS.read_text())
    return read


def put(document: Any, at: Sequence[str], value: Any) -> None:
    """Set a value, wherever the keys lead.

    Raises:
        KeyError: they lead nowhere: the description has changed, and so must the correction.
    """
    *way, last = at
    owners = list(_owners(document, way))
    if not owners:
        raise KeyError(f"{' / '.join(at)}: not in the description")
    for owner in owners:
        owner[int(last) if isinstance(owner, list) else last] = value


def _owners(node: Any, way: Sequence[str]) -> Iterator[Any]:
    if not way:
        yield node
        return
    first, *rest = way
    if isinstance(node, list):
        yield from _owners(node[int(first)], rest)
        return
    for key in node:
        if fnmatchcase(key, first):
            yield from _owners(node[key], rest)
