"""What the spec's `security.authentication` asks for, as a runtime is told.

Lives here: the block's types. The names of Secrets and ConfigMaps are the operator's affair: here
their contents are files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from slipway_runtime.config import explained
from slipway_runtime.errors import ConfigError, shown
from slipway_runtime.extras import require

_OF_CLUSTERS: Final = frozenset({"secretName", "jwks"})
"""Fields of the spec that name objects of a cluster."""

Text = Annotated[str, Field(min_length=1, max_length=512)]


class Policy(BaseModel):
    """Which credentials admit a request."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False
    )

    type: Literal["APIKeys", "JWT"]
    health_endpoints: Literal["Exempt", "Required"] = "Exempt"
    """Whether `live` and `ready` of the server answer everybody."""
    issuer: Text | None = None
    """What a token's `iss` has to be."""
    audience: Text | None = None
    """What a token's `aud` has to hold."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for name in ("issuer", "audience"):
            if (getattr(self, name) is None) == (self.type == "JWT"):
                raise ValueError(f"{name}: expected with type JWT, and only with it")
        return self

    @property
    def exempts_health(self) -> bool:
        """Whether health endpoints answer everybody."""
        return self.health_endpoints == "Exempt"


def read_policy(text: str) -> Policy:
    """Read the policy that the operator passes on as JSON.

    Raises:
        ConfigError: no JSON, or none of the kinds that are known here.
        MissingExtra: it needs what is not installed.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ConfigError(f"--authentication: got {shown(text)}, expected JSON") from err
    return _validated(document, "--authentication")


def policy_of(block: Mapping[str, Any]) -> Policy | None:
    """Read a spec's `security`; None where it asks for no authentication.

    Raises:
        ConfigError: it asks for what a runtime cannot do, or does not know.
        MissingExtra: it needs what is not installed.
    """
    unknown = sorted(set(block) - {"authentication"})
    if unknown:
        raise ConfigError(f"spec.security.{unknown[0]}: not served by this release")
    wanted = block.get("authentication") or {"type": "None"}
    if not isinstance(wanted, Mapping):
        raise ConfigError(f"spec.security.authentication: got {shown(wanted)}, expected an object")
    if wanted.get("type") == "None":
        return None
    kept = {key: value for key, value in wanted.items() if key not in _OF_CLUSTERS}
    return _validated(kept, "spec.security.authentication")


def _validated(document: object, where: str) -> Policy:
    try:
        policy = Policy.model_validate(document)
    except ValidationError as err:
        raise ConfigError(f"{where}: {explained(err, Policy)}") from err
    if policy.type == "JWT":
        require(f"{where}: type JWT", "jwt", "cryptography")
    return policy
