"""When traces are sent: only when OpenTelemetry's own variables say so."""

import pytest

from slipway_runtime.errors import ConfigError
from slipway_runtime.monitoring.trace_settings import wants_traces

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
AT = "http://collector:4318"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, False, id="nothing is said"),
        pytest.param({"OTEL_SERVICE_NAME": "x"}, False, id="no endpoint"),
        pytest.param({BASE: ""}, False, id="an empty endpoint"),
        pytest.param({BASE: AT}, True, id="an endpoint"),
        pytest.param({TRACES: AT + "/v1/traces"}, True, id="an endpoint for traces alone"),
        pytest.param({BASE: AT, "OTEL_SDK_DISABLED": "True"}, False, id="switched off"),
        pytest.param({BASE: AT, "OTEL_SDK_DISABLED": "no"}, True, id="not switched off"),
        pytest.param({BASE: AT, "OTEL_TRACES_EXPORTER": "none"}, False, id="no exporter of traces"),
        pytest.param(
            {BASE: AT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, id="the protocol"
        ),
    ],
)
def test_an_endpoint_switches_them_on(environment: dict[str, str], expected: bool) -> None:
    assert wants_traces(environment) is expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        pytest.param({BASE: "collector:4317"}, f"{BASE}: got 'collector:4317'", id="no scheme"),
        pytest.param(
            {BASE: AT, TRACES: "grpc://x"}, f"{TRACES}: got 'grpc://x'", id="another scheme"
        ),
        pytest.param(
            {BASE: AT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: got 'grpc', expected http/protobuf; .* usually 4318",
            id="gRPC",
        ),
    ],
)
def test_what_cannot_work_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wants_traces(environment)
