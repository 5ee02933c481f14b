"""Read a Sigstore bundle, in which cosign 3 writes a signature: a statement in an envelope.

Lives here: what was signed, in which bytes, and for which digest.
Stays out: where bundles lie (`oci.py`), and whether a signature is good (`signature.py`). Logs,
timestamps and certificates in a bundle are not looked at: the given key has to have signed.

Source: sigstore/cosign, "BUNDLE_SPEC.md"; in-toto, "Statement" and secure-systems-lab/dsse,
"protocol.md" for the bytes that are signed.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final, NamedTuple

KIND: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_SIGNATURE: Final = "https://sigstore.dev/cosign/sign/v1"
"""The predicate of `cosign sign`; others attest something, which may be nothing good."""


class Claim(NamedTuple):
    """What somebody says they have signed."""

    content: bytes
    signature: bytes
    payload: bytes
    """The statement; what it says counts for nothing before the signature is good."""


def claimed(raw: bytes) -> Claim | None:
    """Take a bundle apart; None where it holds no envelope with one signature."""
    try:
        envelope = json.loads(raw)["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        made = base64.b64decode(signature["sig"], validate=True)
        is_statement = envelope["payloadType"] == _PAYLOAD
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Claim(_enveloped(payload), made, payload) if is_statement else None


def stated_digest(payload: bytes, wanted: str) -> str | None:
    """The digest that a statement signs: the wanted one, if it is among several.

    >>> stated_digest(b"{}", "sha256:0") is None
    True
    """
    try:
        found: dict[str, Any] = json.loads(payload)
        if (found["_type"], found["predicateType"]) != (_STATEMENT, _SIGNATURE):
            return None
        digests = [f"sha256:{subject['digest']['sha256']}" for subject in found["subject"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return wanted if wanted in digests else next(iter(digests), None)


def _enveloped(payload: bytes) -> bytes:
    """The bytes that a signature of an envelope is made of.

    >>> _enveloped(b"{}")
    b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
    """
    kind = _PAYLOAD.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
