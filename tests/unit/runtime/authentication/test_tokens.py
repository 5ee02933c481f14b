"""Which tokens are valid, and that a key decides what may be signed with it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from slipway_runtime.authentication.policy import Policy
from slipway_runtime.authentication.tokens import LEEWAY_S, MAX_TOKEN_BYTES, Tokens, tokens_of
from slipway_runtime.errors import ConfigError
from tests.unit.runtime.credentials import AUDIENCE, ISSUER, Issuer

POLICY = Policy(type="JWT", issuer=ISSUER, audience=AUDIENCE)
STRANGER = Issuer()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def tokens(issuer: Issuer) -> Tokens:
    return tokens_of(POLICY, {"jwks.json": issuer.jwks().encode()})


def fault(tokens: Tokens, token: str | bytes) -> str:
    raw = token.encode() if isinstance(token, str) else token
    return tokens.fault(b"Bearer " + raw, None)


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("rsa", "RS256"), ("rsa", "RS512"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")],
)
def test_b68_a_token_of_the_issuer_is_valid(
    tokens: Tokens, issuer: Issuer, name: str, algorithm: str
) -> None:
    assert fault(tokens, issuer.token(name, algorithm)) == ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"exp": time() - LEEWAY_S - 5}, "has expired", id="expired"),
        pytest.param({"nbf": time() + 10**6}, "not valid yet", id="not yet"),
        pytest.param({"aud": "another"}, "another audience", id="wrong aud"),
        pytest.param({"aud": None}, "lacks a claim", id="no aud"),
        pytest.param({"iss": "https://other.test"}, "another issuer", id="wrong iss"),
        pytest.param({"iss": None}, "lacks a claim", id="no iss"),
        pytest.param({"exp": None}, "lacks a claim", id="no exp"),
        pytest.param({"exp": "soon"}, "not valid", id="exp is no number"),
        pytest.param({"exp": float("inf")}, "not valid", id="exp without end"),
        pytest.param({"headers": {"kid": "unknown"}}, "key that is not known", id="unknown kid"),
        pytest.param({"headers": {"kid": "ec"}}, "key that is not known", id="kid of another kind"),
        pytest.param({"headers": {"crit": ["x"], "x": 1}}, "not valid", id="unknown crit"),
        pytest.param({"key": STRANGER.keys["rsa"]}, "no valid signature", id="another's key"),
    ],
)
def test_b68_what_makes_a_token_invalid(
    tokens: Tokens, issuer: Issuer, changes: dict[str, Any], expected: str
) -> None:
    assert expected in fault(tokens, issuer.token(**changes))


def test_b68_clocks_may_differ_a_little(tokens: Tokens, issuer: Issuer) -> None:
    assert fault(tokens, issuer.token(exp=time() - LEEWAY_S / 2)) == ""
    assert fault(tokens, issuer.token(nbf=time() + LEEWAY_S / 2)) == ""
    assert fault(tokens, issuer.token(aud=["other", AUDIENCE])) == ""


def test_b68_a_token_without_signature_is_none(tokens: Tokens, issuer: Issuer) -> None:
    unsigned = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "exp": time() + 60}, "", "none")
    assert "not known" in fault(tokens, unsigned)
    head, body, _ = issuer.token().split(".")
    assert fault(tokens, f"{head}.{body}.")
    forged = _part({"alg": "none", "kid": "rsa"})
    assert fault(tokens, f"{forged}.{body}.")


def test_b68_a_public_key_is_no_secret_to_sign_with(tokens: Tokens, issuer: Issuer) -> None:
    """The old trick: HS256 with the text of the RSA key, which everybody knows."""
    public = issuer.keys["rsa"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = _part({"iss": ISSUER, "aud": AUDIENCE, "exp": time() + 60})
    signed = f"{_part({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{body}"
    mac = base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), hashlib.sha256)).rstrip(b"=")
    assert "not known" in fault(tokens, f"{signed}.{mac.decode()}")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"a.b.c", id="no base64"),
        pytest.param(b"....", id="dots"),
        pytest.param(b"\xff\xfe.\x00.x", id="bytes"),
        pytest.param(b"x" * (MAX_TOKEN_BYTES + 1), id="too long"),
        pytest.param(
            base64.urlsafe_b64encode(b'{"alg":' + b"[" * 3000).rstrip(b"=") + b".e30.x",
            id="a header of many levels",
        ),
        pytest.param(b"WzFd.e30.x", id="a header that is a list"),
        pytest.param(b"eyJhbGciOlsxXX0.e30.x", id="an algorithm that is a list"),
    ],
)
def test_b68_what_is_no_token_is_refused_and_breaks_nothing(tokens: Tokens, token: bytes) -> None:
    assert fault(tokens, token)


def test_b68_only_the_header_authorization_carries_tokens(tokens: Tokens, issuer: Issuer) -> None:
    token = issuer.token().encode()
    assert "credentials: none" in tokens.fault(None, token)
    assert "credentials: none" in tokens.fault(b"Basic " + token, None)


def test_b68_a_remembered_token_expires_all_the_same(issuer: Issuer) -> None:
    known = tokens_of(POLICY, {"jwks.json": issuer.jwks().encode()})
    exp = time() + 60
    assert fault(known, issuer.token(exp=exp)) == ""
    [(digest, expires_s)] = known._valid.items()
    assert expires_s == pytest.approx(exp + LEEWAY_S, abs=1)
    late = issuer.token(exp=time() - LEEWAY_S - 5)
    known._valid = {hashlib.sha256(late.encode()).digest(): time() + 60}  # type: ignore[misc,assignment]  # as if it had been valid
    assert fault(known, late) == "", "the second time, nothing is verified"
    known._valid[next(iter(known._valid))] = time() - 1
    assert fault(known, late) == "the token has expired"
    assert not known._valid
    assert digest != hashlib.sha256(late.encode()).digest()


def test_b68_memory_is_bounded_whatever_comes(issuer: Issuer) -> None:
    known = tokens_of(POLICY, {"jwks.json": issuer.jwks("ed").encode()})
    for number in range(4200):
        assert fault(known, issuer.token("ed", "EdDSA", jti=str(number))) == ""
    assert len(known._valid) == 4096


def test_a_token_without_kid_is_tried_with_the_few_keys_that_may_be(issuer: Issuer) -> None:
    known = tokens_of(POLICY, {"jwks.json": issuer.jwks().encode()})
    anonymous = {"kid": None}
    assert fault(known, issuer.token(headers=anonymous)) == ""
    two = {"keys": [STRANGER.public("rsa", kid="old"), issuer.public("rsa", kid="new")]}
    known = tokens_of(POLICY, {"jwks.json": json.dumps(two).encode()})
    assert fault(known, issuer.token(headers=anonymous)) == ""
    many = {"keys": [issuer.public("rsa", kid=str(n)) for n in range(5)]}
    known = tokens_of(POLICY, {"jwks.json": json.dumps(many).encode()})
    assert "not known" in fault(known, issuer.token(headers=anonymous))


def test_a_key_for_something_else_is_passed_over(issuer: Issuer) -> None:
    keys = [issuer.public("rsa", use="enc"), {"kty": "new"}, issuer.public("ec", alg="ES256")]
    known = tokens_of(POLICY, {"k": json.dumps({"keys": keys}).encode()})
    assert len(known) == 1
    assert "not known" in fault(known, issuer.token("rsa"))
    assert fault(known, issuer.token("ec", "ES256")) == ""


def _weak() -> str:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - the weakness is the point
    return json.dumps({"keys": [jwt.algorithms.RSAAlgorithm.to_jwk(weak.public_key(), True)]})


def _private() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return json.dumps({"keys": [jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True)]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{", "no JWKS", id="no JSON"),
        pytest.param("[]", "no JWKS", id="a list"),
        pytest.param('{"keys": {}}', "expected a list", id="no list"),
        pytest.param('{"keys": [1]}', "key 0: got int", id="no object"),
        pytest.param('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "is a secret", id="oct"),
        pytest.param(_private(), "is a secret", id="a private key"),
        pytest.param(_weak(), "has 1024 bits, expected at least 2048", id="weak"),
        pytest.param('{"keys": [{"kty": "RSA"}]}', "damaged", id="without its parts"),
        pytest.param(json.dumps({"keys": [{}] * 65}), "at most 64", id="too many"),
        pytest.param("[" * 100_000, "no JWKS", id="many levels"),
    ],
)
def test_b68_what_is_no_key_set_is_told(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match="authentication: ") as caught:
        tokens_of(POLICY, {"jwks.json": text.encode()})
    assert expected in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_volume_holds_one_key_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 2 files, expected one"):
        tokens_of(POLICY, {"a": b"", "b": b""})


def _part(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
