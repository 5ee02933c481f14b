"""Traffic through a Gateway: the block `spec.exposure.gateway`. None of it belongs to the revision.

Lives here: its fields, bounds and rules.
Stays out: the routes that are made from it (`plan/routes.py`), and whether a Gateway takes them
(`plan/verification.py`).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from slipway_operator.api.fields import Block, Duration, PassthroughItem, block_rules, rule, rules

_NAME: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_HOSTNAME: Final = r"^(\*\.)?[a-z0-9][-a-z0-9.]*$"
_PATH: Final = r"^/([-A-Za-z0-9._~!$&'()*+,;=:@%]+(/[-A-Za-z0-9._~!$&'()*+,;=:@%]+)*)?$"

Hostnames = Annotated[
    list[Annotated[str, Field(max_length=253, pattern=_HOSTNAME)]],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
]


class ParentRef(Block):
    """A Gateway."""

    name: str = Field(
        max_length=253, pattern=_NAME, description="name of the Gateway. Required. Live."
    )
    namespace: str | None = Field(
        default=None,
        max_length=63,
        pattern=_NAME,
        description="namespace of the Gateway. Default: that of this resource. Live.",
    )
    section_name: str | None = Field(
        default=None,
        max_length=253,
        pattern=_NAME,
        description="sectionName is the listener of the Gateway. Default: all that fit. Live.",
    )


class GatewayGrpc(Block):
    """How gRPC comes through the Gateway."""

    model_config = block_rules(
        rule(
            "(has(self.mode) && self.mode == 'GRPCRoute') == (has(self.hostnames) &&"
            " self.hostnames.size() > 0)",
            "exposure.gateway.grpc.hostnames: the mode GRPCRoute needs hostnames of its own,"
            " SameHost has none",
        ),
    )

    mode: Literal["SameHost", "GRPCRoute"] | None = Field(
        default=None,
        description="mode: SameHost, by path, under the hostnames of REST; or GRPCRoute, an "
        "object of its own. Default SameHost. Live. SameHost needs HTTPRouteBackendProtocolH2C.",
    )
    hostnames: Hostnames | None = Field(
        default=None, description="hostnames of the GRPCRoute, none of REST's. Live."
    )


class GatewayTimeouts(Block):
    """How long the Gateway waits."""

    request: Duration | None = Field(
        default=None,
        description="request is how long it waits for an answer. Default: its own. Live.",
    )


class Gateway(Block):
    """Traffic through a Gateway."""

    model_config = block_rules(
        rule(
            "!has(self.grpc) || !has(self.grpc.hostnames) || self.grpc.hostnames.size() == 0 ||"
            " (has(self.hostnames) && self.hostnames.size() > 0 &&"
            " self.grpc.hostnames.all(h, !(h in self.hostnames)))",
            "exposure.gateway.grpc.hostnames: expected other ones than in"
            " exposure.gateway.hostnames, of which there has to be one",
        ),
        rule(
            "!has(self.pathPrefix) || self.pathPrefix == '/' || !has(self.grpc) ||"
            " (has(self.grpc.mode) && self.grpc.mode == 'GRPCRoute')",
            "exposure.gateway.pathPrefix: gRPC has no prefixes; use grpc.mode GRPCRoute, or leave"
            " grpc out",
        ),
    )

    parent_refs: Annotated[
        list[ParentRef],
        Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(description="parentRefs are the Gateways. Required. Live.")
    hostnames: Hostnames | None = Field(
        default=None,
        description="hostnames that clients ask for. Default: all of the listener. Live. Of two "
        "resources with the same hostname and path the older has it.",
    )
    path_prefix: str | None = Field(
        default=None,
        max_length=1024,
        pattern=_PATH,
        description="pathPrefix that clients' paths begin with; the model does not see it. "
        "Default /. Live. Another one needs HTTPRoutePathRewrite.",
    )
    grpc: GatewayGrpc | None = Field(
        default=None,
        description="grpc says how gRPC comes through the Gateway. Live. When absent: SameHost, "
        "where the GatewayClass can and pathPrefix is /.",
    )
    filters: (
        Annotated[
            list[PassthroughItem],
            Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        ]
        | None
    ) = Field(
        default=None,
        description="filters of REST's rule, as in an HTTPRoute. Live. The GatewayClass has to "
        "list their features.",
    )
    timeouts: GatewayTimeouts | None = Field(
        default=None,
        description="timeouts of REST's rule. Live. Needs HTTPRouteRequestTimeout.",
        json_schema_extra=rules(
            rule(
                "!has(self.request) || duration(self.request) <= duration('24h')",
                "exposure.gateway.timeouts.request: expected at most 24h",
            )
        ),
    )
