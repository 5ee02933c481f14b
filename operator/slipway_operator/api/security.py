"""Who may ask: the block `spec.security`. None of it belongs to the revision.

Lives here: its fields, bounds and rules.
Stays out: how it reaches the pods (`plan/security.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway_operator.api.fields import Block, block_rules, rule
from slipway_operator.api.references import DNS_NAME, FileReference

Text = Annotated[str, Field(min_length=1, max_length=512)]


class Authentication(Block):
    """Which credentials admit a request."""

    model_config = block_rules(
        rule(
            "(self.type == 'APIKeys') == has(self.secretName)",
            "security.authentication.secretName: expected with type APIKeys, and only with it",
        ),
        rule(
            "[has(self.issuer), has(self.audience), has(self.jwks)]"
            ".all(x, x == (self.type == 'JWT'))",
            "security.authentication: issuer, audience and jwks are expected with type JWT, all of"
            " them, and only with it",
        ),
        rule(
            "!has(self.jwks) || has(self.jwks.configMap) != has(self.jwks.secret)",
            "security.authentication.jwks: expected one of configMap and secret",
        ),
    )

    type: Literal["None", "APIKeys", "JWT"] = Field(
        description="type is None, APIKeys or JWT. Required. Live: the pods of the revisions are"
        " replaced one by one, without a rollout; status tells when all of them ask for"
        " credentials.",
    )
    secret_name: str | None = Field(
        default=None,
        max_length=253,
        pattern=DNS_NAME,
        description="secretName names a Secret of the same namespace, each of whose values is a"
        " key of 16 to 512 visible ASCII characters. With APIKeys. Live. The pods follow changes"
        " of its values within two minutes, without a restart.",
    )
    issuer: Text | None = Field(
        default=None, description="issuer that a token's iss has to be. With JWT. Live."
    )
    audience: Text | None = Field(
        default=None, description="audience that a token's aud has to hold. With JWT. Live."
    )
    jwks: FileReference | None = Field(
        default=None,
        description="jwks holds the issuer's public keys, a JSON Web Key Set. With JWT. Live; its"
        " content is followed without a restart.",
    )
    health_endpoints: Literal["Exempt", "Required"] | None = Field(
        default=None,
        description="healthEndpoints: Exempt answers everybody whether the server is live and"
        " ready; Required asks for credentials there, too. Default Exempt. Live. The kubelet's"
        " probes have a port of their own.",
    )


class Security(Block):
    """Who may ask."""

    authentication: Authentication | None = Field(
        default=None,
        description="authentication says which credentials REST and gRPC ask for; without them the"
        " answer is 401 or UNAUTHENTICATED. Default: everybody may ask. Live. The admin port,"
        " which is in no Service, asks for none.",
    )
