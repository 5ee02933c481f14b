"""Settings come from the environment only, each is documented, and a misspelt one is refused."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import pytest
from pydantic import ValidationError

from slipway_operator.run import start
from slipway_operator.settings import PREFIX, Settings, unknown_names

IMAGE = "registry.test/runtime:1"


def _settings(**values: Any) -> Settings:
    return Settings(**{"runtime_image": IMAGE, **values})


def test_the_image_is_all_that_is_needed() -> None:
    found = _settings()
    assert (found.runtime_image, found.watch_namespaces, found.workers) == (IMAGE, (), 8)


def test_the_given_environment_is_read_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}WORKERS", "3")
    given = {
        f"{PREFIX}RUNTIME_IMAGE": IMAGE,
        f"{PREFIX}WATCH_NAMESPACES": "a, b,,",
        f"{PREFIX}API_QPS": "5",
        "PATH": "/bin",
    }
    found = Settings.read(given)
    assert (found.watch_namespaces, found.api_qps, found.workers) == (("a", "b"), 5.0, 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("runtime_image", ""),
        ("runtime_image_pull_policy", "Sometimes"),
        ("lease_duration_s", 1),
        ("lease_renew_deadline_s", 0.5),
        ("lease_retry_s", 0),
        ("workers", 0),
        ("workers", 65),
        ("api_qps", 0),
        ("api_burst", 0),
        ("resync_s", 0),
        ("health_port", 65_536),
        ("log_level", "LOUD"),
    ],
)
def test_a_value_out_of_bounds_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        _settings(**{field: value})
    assert refused.value.errors()[0]["loc"] == (field,)


@pytest.mark.parametrize(
    "times",
    [
        {"lease_duration_s": 10, "lease_renew_deadline_s": 10},
        {"lease_renew_deadline_s": 2, "lease_retry_s": 2},
    ],
)
def test_times_that_would_let_two_lead_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="expected lease_duration_s > "):
        _settings(**times)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        _settings().workers = 3  # type: ignore[misc]


def test_unknown_names_are_found() -> None:
    environment = {"PATH": "/", f"{PREFIX}WORKERS": "1", f"{PREFIX}WORKER": "1"}
    assert unknown_names(environment) == [f"{PREFIX}WORKER"]


def test_a_misspelt_setting_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert start({f"{PREFIX}WORKER": "1"}) == 2
    assert capsys.readouterr().err == (
        "slipway-operator: unknown setting SLIPWAY_OPERATOR_WORKER\n"
    )


def test_a_missing_setting_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(f"{PREFIX}RUNTIME_IMAGE", raising=False)
    assert start({}) == 2
    assert "SLIPWAY_OPERATOR_RUNTIME_IMAGE: Field required" in capsys.readouterr().err


def test_every_setting_has_a_docstring() -> None:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(Settings))).body
    assert isinstance(body, ast.ClassDef)
    documented = {
        field.target.id
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
    assert documented == Settings.model_fields.keys()
