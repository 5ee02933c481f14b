"""The operator's settings: one frozen value, read once from the environment that it is given.

Every name begins with `SLIPWAY_OPERATOR_`; an unknown one is refused, so that a misspelt setting is
not silently the default.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

PREFIX: Final = "SLIPWAY_OPERATOR_"


class Settings(BaseSettings):
    """How this process runs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    runtime_image: str = Field(min_length=1)
    """Image of the runtime for revisions whose spec names none. Required.

    A revision keeps the image it was made with, so changing this restarts no model.
    """
    runtime_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Pull policy for revisions whose spec names none."""
    converter_image: str = ""
    """Image that converts models of other formats than ONNX; empty: they are refused.

    A revision keeps the image it was made with.
    """
    insecure_registries: str = ""
    """OCI registries that models may come from without TLS, `host:port`, comma separated."""
    lease_namespace: str = "slipway-system"
    """Namespace of the Lease: the operator's own."""
    lease_name: str = "slipway-operator"
    """Name of the Lease; operators that share it take turns."""
    identity: str = Field(default_factory=socket.gethostname)
    """Who this process is in the Lease: the pod's name."""
    lease_duration_s: float = Field(default=15.0, ge=2, le=300)
    """Others take over when the Lease has not changed for this long, in seconds."""
    lease_renew_deadline_s: float = Field(default=10.0, ge=1, le=299)
    """The leader stops writing when its last renewal is this long ago, in seconds."""
    lease_retry_s: float = Field(default=2.0, gt=0, le=60)
    """Pause between attempts at the Lease, in seconds."""
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """Namespaces to look after, comma separated; empty: the whole cluster."""
    workers: int = Field(default=8, ge=1, le=64)
    """ModelDeployments that are reconciled at the same time."""
    api_qps: float = Field(default=50.0, gt=0, le=10_000)
    """Writes to the API server per second, in the mean; raising it costs the API server."""
    api_burst: int = Field(default=100, ge=1, le=10_000)
    """Writes that may go at once."""
    resync_s: float = Field(default=600.0, ge=1, le=86_400)
    """Pause between full comparisons of cache and cluster, in seconds."""
    discovery_s: float = Field(default=30.0, ge=1, le=3_600)
    """Pause between looks at which kinds of other projects (KEDA) are installed, in seconds."""
    metering_s: float = Field(default=15.0, ge=1, le=300)
    """Pause between readings of the pods of models with a latency objective, in seconds."""
    prometheus_address: str = Field(default="", pattern=r"^(https?://[^\s?#]+)?$")
    """Prometheus that checks of type PromQL ask when their ModelDeployment names none."""
    prometheus_folder: str = ""
    """Folder with the files `token` and `ca.crt` for it, either of which may be missing."""
    health_host: str = "0.0.0.0"  # noqa: S104 - probes and scrapers come from outside the pod
    """Address that probes and metrics listen on."""
    health_port: int = Field(default=8080, ge=0, le=65_535)
    """Port of probes and metrics."""
    ui_enabled: bool = False
    """Serve the read-only page, on this pod's loopback alone: `kubectl port-forward` reaches it."""
    ui_port: int = Field(default=8083, ge=0, le=65_535)
    """Port of that page."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """How much is logged."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables that begin with `SLIPWAY_OPERATOR_`.

        Raises:
            pydantic.ValidationError: one is unknown, missing or out of bounds.
        """
        named = {
            n.removeprefix(PREFIX).lower(): v
            for n, v in environment.items()
            if n.startswith(PREFIX)
        }
        return cls.model_validate(named)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given and nothing else: the process' own environment is not consulted."""
        return (init_settings,)

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(n.strip() for n in value.split(",") if n.strip())
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.lease_duration_s > self.lease_renew_deadline_s > self.lease_retry_s:
            raise ValueError(
                "expected lease_duration_s > lease_renew_deadline_s > lease_retry_s, got"
                f" {self.lease_duration_s}, {self.lease_renew_deadline_s}, {self.lease_retry_s}"
            )
        return self


def unknown_names(environment: Mapping[str, str]) -> list[str]:
    """Name the variables that look like settings and are none."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(n for n in environment if n.startswith(PREFIX) and n not in known)
