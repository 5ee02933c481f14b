"""The building blocks of the resource's types: blocks, durations, quantities, CEL rules.

Lives here: what a field of any version of the API is made of.
Stays out: the fields themselves (`v1alpha1.py`, `status.py`), and the schema (`schema.py`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

DURATION_PATTERN: Final = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
QUANTITY_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_DURATION_PART: Final = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Block(BaseModel):
    """A frozen object of the resource, camelCase on the wire; unknown fields are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


def rule(expression: str, message: str) -> dict[str, str]:
    """Build one CEL rule; `message` names the field and the remedy."""
    return {"rule": expression, "message": message}


def rules(*validations: dict[str, str]) -> dict[str, Any]:
    """Attach CEL rules to a field or a block through its JSON schema."""
    return {"x-kubernetes-validations": list(validations)}


def block_rules(*validations: dict[str, str]) -> ConfigDict:
    """Attach CEL rules to a block."""
    return ConfigDict(json_schema_extra=rules(*validations))


def passthrough(kind: str) -> dict[str, Any]:
    """Describe a block of Kubernetes' own types: kept as written, checked by the API server."""
    return {"type": kind, "x-kubernetes-preserve-unknown-fields": True}


def list_by(*keys: str) -> dict[str, Any]:
    """Describe a list whose items are merged by these fields of theirs."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def item_by(**keys: str) -> dict[str, Any]:
    """Describe items of Kubernetes' own types in such a list: these are texts, with this told."""
    texts = {
        key: {"type": "string", "maxLength": 253, "description": told} for key, told in keys.items()
    }
    return {**passthrough("object"), "properties": texts, "required": list(keys)}


Duration = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=24)]
"""A duration of Gateway API's form (GEP-2257): `30s`, `5m`, `1h30m`, `250ms`."""

Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "maxLength": 24}
    ),
]
"""A Kubernetes quantity; kept as it is written, never normalised (GitOps tools compare text)."""

PassthroughObject = Annotated[dict[str, Any], WithJsonSchema(passthrough("object"))]
PassthroughItem = Annotated[dict[str, Any], WithJsonSchema(passthrough("object"))]


def seconds(duration: str) -> float:
    """Read a GEP-2257 duration in seconds.

    >>> seconds("1h30m"), seconds("250ms")
    (5400.0, 0.25)

    Raises:
        ValueError: it is not of that form.

    Source: Gateway API, GEP-2257.
    """
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"duration: got {duration!r}, expected a form like 30s, 5m, 1h30m, 250ms")
    return sum(float(n) * _SECONDS[unit] for n, unit in _DURATION_PART.findall(duration))
