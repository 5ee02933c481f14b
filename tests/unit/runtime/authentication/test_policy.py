"""What a runtime is told of who may ask: by the operator, and by the YAML on a laptop."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_runtime.authentication.policy import Policy, policy_of, read_policy
from slipway_runtime.errors import ConfigError

JWT = {"type": "JWT", "issuer": "https://issuer.test", "audience": "digits"}


def test_the_operators_words_are_read() -> None:
    assert read_policy('{"type": "APIKeys", "healthEndpoints": "Required"}') == Policy(
        type="APIKeys", healthEndpoints="Required"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{", "expected JSON", id="no JSON"),
        pytest.param('{"type": "None"}', "'APIKeys' or 'JWT'", id="none at all"),
        pytest.param('{"type": "Basic"}', "'APIKeys' or 'JWT'", id="an unknown type"),
        pytest.param('{"type": "APIKeys", "tls": 1}', "tls: unknown key", id="an unknown field"),
        pytest.param('{"type": "JWT", "issuer": "x"}', "audience: expected", id="no audience"),
        pytest.param('{"type": "APIKeys", "issuer": "x"}', "issuer: expected", id="a key's issuer"),
        pytest.param("[]", "--authentication: document", id="a list"),
    ],
)
def test_b68_what_is_not_understood_ends_the_process(text: str, expected: str) -> None:
    """Never open because of a word that this release does not know."""
    with pytest.raises(ConfigError) as caught:
        read_policy(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        pytest.param({}, None, id="nothing is asked for"),
        pytest.param({"authentication": {"type": "None"}}, None, id="by name"),
        pytest.param(
            {"authentication": {"type": "APIKeys", "secretName": "keys"}},
            Policy(type="APIKeys"),
            id="the Secret is the cluster's",
        ),
        pytest.param(
            {"authentication": {**JWT, "jwks": {"secret": {"name": "n", "key": "k"}}}},
            Policy(type="JWT", issuer="https://issuer.test", audience="digits"),
            id="so is the key set",
        ),
    ],
)
def test_a_spec_is_read(security: dict[str, Any], expected: Policy | None) -> None:
    assert policy_of(security) == expected


@pytest.mark.parametrize(
    "security", [{"tls": {}}, {"authentication": {"type": "mTLS"}}, {"authentication": [1]}]
)
def test_b68_a_spec_that_asks_for_more_is_refused(security: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^spec\.security"):
        policy_of(security)
