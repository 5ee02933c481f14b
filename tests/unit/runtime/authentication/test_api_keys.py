"""Which keys are keys, and that nothing of them is told."""

from __future__ import annotations

import pytest

from slipway_runtime.authentication.api_keys import keys_of_lines, keys_of_secret
from slipway_runtime.errors import ConfigError

GOOD = b"k" * 32


@pytest.mark.parametrize(
    ("authorization", "api_key", "expected"),
    [
        pytest.param(b"Bearer " + GOOD, None, "", id="a bearer"),
        pytest.param(b"bEARER  " + GOOD, None, "", id="schemes have no case"),
        pytest.param(None, GOOD, "", id="X-API-Key"),
        pytest.param(b"Basic YTpi", GOOD, "", id="somebody else's Authorization beside the key"),
        pytest.param(b"Bearer wrong", GOOD, "", id="a token for a proxy beside the key"),
        pytest.param(None, None, "credentials: none, expected", id="nothing"),
        pytest.param(b"Basic YTpi", None, "credentials: none, expected", id="another scheme"),
        pytest.param(b"Bearer", None, "credentials: none, expected", id="a scheme alone"),
        pytest.param(b"Bearer ", None, "not valid", id="an empty token"),
        pytest.param(None, b"", "not valid", id="an empty key"),
        pytest.param(None, GOOD[:-1], "not valid", id="the beginning of a key"),
        pytest.param(None, GOOD + b"k", "not valid", id="a key and more"),
        pytest.param(None, GOOD.upper(), "not valid", id="keys have case"),
        pytest.param(None, b"\xff" * 32, "not valid", id="no ASCII"),
        pytest.param(None, b"k" * 100_000, "not valid", id="very long"),
        pytest.param(GOOD, None, "credentials: none", id="a key without its scheme"),
    ],
)
def test_b68_what_admits(authorization: bytes | None, api_key: bytes | None, expected: str) -> None:
    fault = keys_of_secret({"alice": GOOD + b"\n"}).fault(authorization, api_key)
    assert (fault == "") == (expected == "")
    assert expected in fault


def test_b68_every_value_of_a_secret_is_a_key_of_its_own() -> None:
    files = {f"client-{n}": f"{n:032}".encode() for n in range(1024)}
    known = keys_of_secret(files)
    assert len(known) == 1024
    assert [known.fault(None, key) for key in files.values()] == [""] * 1024
    assert known.fault(None, b"%032d" % 1024)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"short", "'alice' has 5 characters, expected 16 to 512", id="short"),
        pytest.param(b"", "'alice' has 0 characters", id="empty"),
        pytest.param(b"s" * 513, "'alice' has 513 characters", id="long"),
        pytest.param(b"secret secret secret", "'alice' has white space", id="a space"),
        pytest.param(b"secretsecret\nsecretsecret", "'alice' has white space", id="two lines"),
        pytest.param("schlüssel".encode() * 4, "beyond ASCII", id="no ASCII"),
    ],
)
def test_b68_what_is_no_key_is_told_by_its_name_and_never_shown(
    content: bytes, expected: str
) -> None:
    with pytest.raises(ConfigError, match="authentication: key") as caught:
        keys_of_secret({"bob": GOOD, "alice": content})
    assert expected in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_has_a_key_on_each_line() -> None:
    known = keys_of_lines({"keys": b"# of alice\n" + GOOD + b"\n\n" + b"j" * 32})
    assert len(known) == 2
    assert known.fault(None, b"j" * 32) == known.fault(None, GOOD) == ""
    assert known.fault(None, b"# of alice")
    with pytest.raises(ConfigError, match="key 'line 2' has 5 characters"):
        keys_of_lines({"keys": GOOD + b"\nshort"})


def test_b68_the_time_of_a_refusal_follows_from_no_key() -> None:
    """Two processes hash the same key differently: nobody can choose how a hash begins."""
    one, other = keys_of_secret({"a": GOOD}), keys_of_secret({"a": GOOD})
    assert set(one._known) != set(other._known)
    assert GOOD not in b"".join([*one._known, *one._known.values()])
