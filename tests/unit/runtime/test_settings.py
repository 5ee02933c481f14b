"""The environment: values, ranges, misspelt names."""

import pytest

from slipway_runtime.errors import ConfigError
from slipway_runtime.settings import Settings, load_settings


def settings(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"SLIPWAY_RUNTIME_{name}", value)
    return load_settings()


def test_without_an_environment_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch)
    ports = (found.http_port, found.grpc_port, found.admin_port)
    assert (found.host, ports) == (None, (8080, 8081, 8082))
    assert (found.drain_s, found.endpoints_grace_s) == (30.0, 5.0)
    assert (found.max_model_bytes, found.insecure_registries) == (16 * 2**30, ())


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(
        monkeypatch,
        HOST="::1",
        HTTP_PORT="80",
        MAX_MODEL_BYTES="1Gi",
        INSECURE_REGISTRIES="Reg.local:5000, other ,",
        DRAIN_S="1.5",
    )
    assert (found.host, found.http_port, found.drain_s) == ("::1", 80, 1.5)
    assert found.max_model_bytes == 2**30
    assert found.insecure_registries == ("reg.local:5000", "other")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(
            "HTPP_PORT",
            "SLIPWAY_RUNTIME_HTPP_PORT is not a setting; did you mean SLIPWAY_RUNTIME_HTTP_PORT",
            id="a slip of the finger",
        ),
        pytest.param("ZZZZZZZZZZZZZZZZ", "known are SLIPWAY_RUNTIME_HOST,", id="nothing like it"),
    ],
)
def test_a_misspelt_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        settings(monkeypatch, **{name: "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("HTTP_PORT", "70000", id="a port out of range"),
        pytest.param("MAX_MODEL_BYTES", "lots", id="a size in words"),
        pytest.param("LOG_LEVEL", "LOUD", id="an unknown level"),
    ],
)
def test_a_value_out_of_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=f"^environment: {name.lower()}: got '{value}'"):
        settings(monkeypatch, **{name: value})
