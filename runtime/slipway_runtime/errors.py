"""What can go wrong, named by fact.

    SlipwayError
    ├── ConfigError               a setting or serving.json breaks its contract
    ├── MissingExtra              a spec needs a package of an extra that is not installed
    ├── SupplyError               the model cannot be had; goes into the termination message
    │   ├── NotFound              nothing lies at the URI
    │   ├── AccessDenied          the store refuses us
    │   ├── DigestMismatch        the bytes are not the promised ones
    │   ├── SignatureMismatch     nobody whom the spec trusts has signed the artifact
    │   ├── Unsupported           a scheme, layout, format or datatype this release does not serve
    │   │   └── Foreign           a model that has to be converted first
    │   ├── PickleNotAllowed      loading the file would run what its author wrote
    │   ├── InvalidModel          the bytes are no model that can be run
    │   ├── ConversionMismatch    what was converted answers otherwise than the original
    │   ├── InvalidConfig         the spec asks for something impossible
    │   ├── Untrusted             the store's certificate is signed by nobody we trust
    │   ├── DiskFull              the volume has no room for the model
    │   └── Unavailable           a later attempt can succeed; the last three are not terminal
    └── ServingError              one request cannot be answered
        ├── Unauthenticated       nobody known asks: no key or token, or none that is valid
        ├── InvalidRequest        it breaks a rule of the protocol
        │   └── InvalidTensor     one of its tensors does
        ├── RequestTooLarge       its body is over the limit
        ├── BodyTimeout           its body did not arrive in time
        ├── UnsupportedEncoding   its body is compressed in a way we do not read
        ├── ModelNotFound         no such model or version here
        ├── ModelNotReady         loading or draining
        ├── QueueFull             more is waiting than may wait
        ├── DeadlineExceeded      no answer within the request timeout
        ├── LoadFailed            the file of the model cannot be loaded; laptops only
        ├── InferenceFailed       the model could not compute an answer
        └── NotServed             a method of the protocol that this server does not have

Knows no HTTP: `protocols/wire.py` gives every ServingError its status.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

_SHOWN_CHARACTERS: Final = 120


class SlipwayError(Exception):
    """Base of everything this package raises on purpose; its text is safe to show."""


class ConfigError(SlipwayError):
    """A setting, a command line or serving.json breaks its contract."""


class MissingExtra(SlipwayError):
    """A spec asks for what this installation lacks: `extras.py` says which extra brings it."""


class SupplyError(SlipwayError):
    """The model cannot be had."""

    reason: ClassVar[str]
    terminal: ClassVar[bool] = True

    def told(self) -> dict[str, Any]:
        """As a process of its own tells it to the one that has started it."""
        return {"failure": {"reason": self.reason, "message": str(self)}}


class NotFound(SupplyError):
    """Nothing lies at the URI."""

    reason = "NotFound"


class AccessDenied(SupplyError):
    """The store refuses us."""

    reason = "AccessDenied"


class DigestMismatch(SupplyError):
    """The bytes are not the promised ones."""

    reason = "DigestMismatch"


class SignatureMismatch(SupplyError):
    """Nobody whom the spec trusts has signed the artifact."""

    reason = "SignatureMismatch"


class Unsupported(SupplyError):
    """A scheme, layout, format or datatype that this release does not serve."""

    reason = "Unsupported"


class Foreign(Unsupported):
    """A model of another format than ONNX, where a step that converts may go on."""

    def __init__(self, format_: str) -> None:
        super().__init__(
            f"model: a model of the format {format_}, expected ONNX; convert it with "
            "`slipway-runtime convert`, or give the operator a converter "
            "(chart value converterImage)"
        )
        self.format: Final = format_


class PickleNotAllowed(SupplyError):
    """Loading the file runs what its author wrote, and the spec does not allow that."""

    reason = "PickleNotAllowed"


class InvalidModel(SupplyError):
    """The bytes are no model that can be run."""

    reason = "InvalidModel"


class ConversionMismatch(SupplyError):
    """The converted model answers otherwise than the original."""

    reason = "ConversionMismatch"


class InvalidConfig(SupplyError):
    """The spec asks for something impossible."""

    reason = "InvalidConfig"


class Untrusted(SupplyError):
    """The store's certificate is signed by nobody we trust; it may be renewed, or the bundle be."""

    reason = "Untrusted"
    terminal = False


class DiskFull(SupplyError):
    """The volume has no room for the model; it may on another node, or later."""

    reason = "DiskFull"
    terminal = False


class Unavailable(SupplyError):
    """The store does not answer as it should; a later attempt can succeed."""

    reason = "Unavailable"
    terminal = False


SUPPLY_ERRORS: Final = {kind.reason: kind for kind in SupplyError.__subclasses__()}
"""Reason to kind, to raise again what another process has told."""


class ServingError(SlipwayError):
    """One request cannot be answered."""

    retry_after_s: int | None = None
    """When another attempt may succeed, where that is known better than by the kind."""


class Unauthenticated(ServingError):
    """Nobody known asks: there is no key or token, or none that is valid."""

    challenge = "Bearer"
    """What the client is asked for, in the words of RFC 6750."""


class InvalidRequest(ServingError):
    """The request breaks a rule of the protocol."""


class InvalidTensor(InvalidRequest):
    """A tensor's name, datatype, shape or data breaks a rule or the model's signature."""


class RequestTooLarge(ServingError):
    """The body is over the limit."""


class BodyTimeout(ServingError):
    """The body did not arrive in time."""


class MisframedMessage(ServingError):
    """A message says of itself what its call denies."""


class UnsupportedEncoding(ServingError):
    """The body is compressed in a way we do not read."""


class ModelNotFound(ServingError):
    """No such model or version here."""


class ModelNotReady(ServingError):
    """The model is loading, or the server is draining."""


class QueueFull(ServingError):
    """More is waiting than may wait."""


class DeadlineExceeded(ServingError):
    """No answer within the request timeout."""


class LoadFailed(ServingError):
    """The file of the model cannot be loaded; what was loaded before goes on."""


class InferenceFailed(ServingError):
    """The model could not compute an answer."""


class NotServed(ServingError):
    """A method of the protocol that this server does not have."""


def shown(value: object) -> str:
    """Quote a value for an error text: its repr, cut so that hostile input cannot flood a log.

    >>> shown("x" * 500)[-4:]
    "xx…'"
    """
    if isinstance(value, str | bytes):
        text = repr(value[:_SHOWN_CHARACTERS])
        return text if len(value) <= _SHOWN_CHARACTERS else f"{text[:-1]}…{text[-1]}"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def clipped(text: str, max_bytes: int) -> str:
    """Cut a text to a number of UTF-8 bytes, marking the cut.

    >>> clipped("abcdef", 6), clipped("abcdefg", 6)
    ('abcdef', 'abc…')
    """
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= max_bytes:
        return raw.decode("utf-8")
    return raw[: max(0, max_bytes - 3)].decode("utf-8", "ignore") + "…"
