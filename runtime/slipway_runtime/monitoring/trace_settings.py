"""Whether traces are wanted: what OpenTelemetry's standard variables say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway_runtime.errors import ConfigError, shown

_BASE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Tell whether the variables name an endpoint and do not switch traces off.

    >>> wants_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"})
    True
    >>> wants_traces({})
    False

    Raises:
        ConfigError: an endpoint or a protocol that cannot work; found here and not at the first
            export, a day later.
    """
    name = next((name for name in (_TRACES, _BASE) if environment.get(name)), None)
    if name is None or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none":
        return False
    _check_endpoint(name, environment[name])
    _check_protocol(environment)
    return True


def _check_endpoint(name: str, endpoint: str) -> None:
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigError(
            f"environment: {name}: got {shown(endpoint)}, expected http://HOST:4318 or https://…"
        )


def _check_protocol(environment: Mapping[str, str]) -> None:
    name = next((name for name in _PROTOCOLS if environment.get(name)), None)
    if name is not None and environment[name].strip() != _PROTOCOL:
        raise ConfigError(
            f"environment: {name}: got {shown(environment[name])}, expected {_PROTOCOL}; name the "
            "collector's HTTP port, usually 4318"
        )
