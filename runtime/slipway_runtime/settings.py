"""What this process is told by its environment: one frozen value, read once.

Lives here: ports, limits and timeouts of the process. What a revision decides comes in
serving.json (`config.py`). A misspelt `SLIPWAY_RUNTIME_*` name is refused, because a limit that
silently does not apply is worse than a crash.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from slipway_runtime.config import explained
from slipway_runtime.errors import ConfigError
from slipway_runtime.units import quantity_bytes

PREFIX: Final = "SLIPWAY_RUNTIME_"


def _hosts(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(host.strip().lower() for host in value.split(",") if host.strip())


Endpoint = Annotated[str, Field(pattern=r"^https?://[^@/\s]+")]
Bytes = Annotated[int, BeforeValidator(quantity_bytes)]
Hosts = Annotated[tuple[str, ...], BeforeValidator(_hosts)]


class Settings(BaseModel):
    """Every `SLIPWAY_RUNTIME_*` variable, in lower case and without its prefix."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    host: str | None = None
    """Address all ports listen on; default 0.0.0.0 in pods (`--config`), 127.0.0.1 on a laptop."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """REST for clients; 0 takes a free port, and the log says which."""
    grpc_port: int = Field(default=8081, ge=0, le=65535)
    """gRPC for clients, and its health service; 0 takes a free port, and the log says which."""
    admin_port: int = Field(default=8082, ge=0, le=65535)
    """Probes, metrics, status and the API page; never in a Service for clients."""
    drain_s: float = Field(default=30.0, ge=0, le=3600)
    """How long requests in flight may take to finish after the listener has closed."""
    endpoints_grace_s: float = Field(default=5.0, ge=0, le=600)
    """How long to keep accepting after SIGTERM while proxies forget this pod, in seconds.

    Too short loses requests; the pod's grace period must hold this, the drain and a margin.
    """
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged; DEBUG tells each request."""
    access_log_sample: float = Field(default=0.0, ge=0, le=1)
    """Share of the answered requests with a line in the log, evenly spread; 1 for all of them."""
    access_log_errors_per_s: float = Field(default=10.0, ge=0, le=10_000)
    """Lines a second for failed requests, client errors and server errors apart; 0 for none.

    Beyond them they are counted, and the next line says how many.
    """
    max_inflight_bytes: Bytes = Field(default=64 * 2**20, ge=2**20)
    """Request bodies held at once; more are answered 429. A lone one always fits.

    Raise it together with the memory limit: decoding takes a few times the body.
    """
    max_connections: int = Field(default=2048, ge=1, le=1_000_000)
    """Connections on the client port; more are answered 503 and closed. An idle one costs 13 KiB.

    One that stops within its head may cost 32 KiB more, until the head's timeout.
    """
    head_timeout_s: float = Field(default=10.0, gt=0, le=3600)
    """How long a client may take from connecting, or from a request's first byte, to its head."""
    body_timeout_s: float = Field(default=20.0, gt=0, le=3600)
    """Head start of a request's body; after it, it must have come at 1 KiB/s or faster."""
    keep_alive_s: float = Field(default=75.0, gt=0, le=86400)
    """How long a connection may be idle between requests.

    Above the idle timeout of usual load balancers (60 s): they have to be the ones who close, or a
    request meets a closing connection.
    """
    max_connection_age_s: float = Field(default=300.0, ge=0, le=86400)
    """After so long, give or take a tenth, a connection's next answer closes it; 0 for never.

    Clients that keep connections for hours would see neither new pods nor a rollout's weights.
    """
    max_model_bytes: Bytes = Field(default=16 * 2**30, ge=1)
    """Largest model that is fetched; bounds the disk a wrong URI can fill."""
    max_model_files: int = Field(default=10_000, ge=1, le=1_000_000)
    """Most files that a folder or an archive may have; each is named in memory."""
    insecure_registries: Hosts = ()
    """Comma-separated `host[:port]` of registries that are spoken to in plain HTTP."""
    token_hosts: Hosts = ()
    """Comma-separated hosts besides the registry's own that its credentials may be shown to.

    Some registries send their clients for a token to another host; no other one gets credentials.
    """
    s3_endpoint: str | None = None
    """Base URL of an S3-compatible store; a Secret's `AWS_ENDPOINT_URL` wins. Default AWS."""
    s3_region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,32}$")
    """Region of the bucket; a Secret's `AWS_REGION` wins. A wrong one costs one request on AWS."""
    s3_addressing: Literal["Auto", "Path", "VirtualHosted"] = "Auto"
    """Bucket in the path or in the host name; Auto is by path, at AWS by host name."""
    gs_endpoint: Endpoint | None = None
    """Base URL of a store in place of Google Cloud Storage's."""
    hf_endpoint: Endpoint | None = None
    """Base URL of a hub in place of Hugging Face's."""
    connect_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """How long one connection attempt of the supply step may take."""
    read_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """How long a store may be silent before the attempt counts as cut."""
    fetch_attempts: int = Field(default=5, ge=1, le=100)
    """Attempts in a row without progress before the supply step gives up."""
    validate_timeout_s: float = Field(default=300.0, gt=0, le=7200)
    """How long checking, loading and warming a model may take in the supply step."""
    convert_timeout_s: float = Field(default=900.0, gt=0, le=86_400)
    """How long converting a model of another format may take."""
    config_json: str | None = None
    """serving.json itself, for the supply step, which has no ConfigMap yet."""


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of this process.

    Raises:
        ConfigError: an unknown name, or a value out of its range.
    """
    _refuse_unknown(environment)
    ours = {name.upper(): value for name, value in environment.items()}
    try:
        return Settings.model_validate(
            {
                name.removeprefix(PREFIX).lower(): value
                for name, value in ours.items()
                if name.startswith(PREFIX)
            }
        )
    except ValidationError as err:
        raise ConfigError(f"environment: {explained(err, Settings)}") from err


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted(environment):
        given = name.upper().removeprefix(PREFIX)
        if given != name.upper() and given not in known:
            near = difflib.get_close_matches(given, known, n=1)
            names = ", ".join(PREFIX + each for each in near or known)
            remedy = f"did you mean {names}?" if near else f"known are {names}"
            raise ConfigError(f"environment: {name} is not a setting; {remedy}")
