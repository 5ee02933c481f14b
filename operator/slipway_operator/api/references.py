"""References to objects of the same namespace."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from slipway_operator.api.fields import Block

DNS_NAME: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_KEY: Final = r"^[-._a-zA-Z0-9]+$"


class KeyReference(Block):
    """One key of a ConfigMap or a Secret."""

    name: str = Field(
        max_length=253, pattern=DNS_NAME, description="name of the object in the same namespace."
    )
    key: str = Field(
        min_length=1, max_length=253, pattern=_KEY, description="key whose value is taken."
    )


class FileReference(Block):
    """A file that is a value of a ConfigMap or of a Secret."""

    config_map: KeyReference | None = Field(
        default=None, description="configMap names a ConfigMap and its key."
    )
    secret: KeyReference | None = Field(
        default=None, description="secret names a Secret and its key."
    )
