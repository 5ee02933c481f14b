"""What a REST wire has to say for itself, so that `infer.py` can serve it: pure functions.

A dialect knows its paths, its bodies and the form of its errors. Limits, the data plane, metrics
and the connection are the endpoint's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from slipway_runtime.inference.request import InferenceResponse
from slipway_runtime.inference.signature import Signature
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.body import Part
from slipway_runtime.protocols.head import Head


class Target(NamedTuple):
    """The model and version that a path names; None where it leaves them to the server."""

    model: str | None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    model_name: str
    model_version: str


class Answer(NamedTuple):
    """A body and how it is to be read."""

    body: bytes
    json_bytes: int | None = None
    """Length of the JSON where binary tensors follow it."""


class Dialect(Protocol):
    """One way of asking for an inference over HTTP."""

    @property
    def label(self) -> str:
        """The wire's name in metrics."""

    @property
    def verbs(self) -> tuple[str, ...]:
        """What its paths accept."""

    def target(self, raw_path: bytes) -> Target | None:
        """Tell which model a path names; None for every path of others."""

    def route(self, target: Target) -> str:
        """The template of such a path, for logs and traces."""

    def decode(self, body: Part, head: Head, signature: Signature) -> Asked:
        """Read a request.

        Raises:
            InvalidRequest: naming the field, what it holds and what was expected.
        """

    def is_file(self, head: Head, signature: Signature) -> bool:
        """Whether the body is a file, which may be as large as binary tensors."""

    def encode(self, response: InferenceResponse, asked: Asked, identity: Identity) -> Answer:
        """Write the answer."""

    def refusal(self, status: int, kind: str, message: str) -> bytes:
        """Write an error; `kind` names its class."""


def decoded_part(part: bytes) -> str:
    """One segment of a path: split first, decode then, so that an encoded slash stays inside."""
    return unquote(part.decode("latin-1"), errors="replace")
