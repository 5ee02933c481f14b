"""Say where a laptop's server listens, and how it is asked.

Printed once the model is ready, on the event loop: imports no library that is slow to import.
"""

from __future__ import annotations

from collections.abc import Iterator

from slipway_runtime.inference.signature import Signature
from slipway_runtime.protocols.examples import curl_commands, python_snippet


def greeting(
    signature: Signature, name: str, *, rest: str | None, grpc: str | None, admin: str
) -> str:
    """Say where a laptop's server listens, and how it is asked.

    Args:
        signature: of the model that is ready.
        name: under which it is served.
        rest: base of the URLs of the client port; None where REST is not served.
        grpc: address of the gRPC port, or None.
        admin: base of the URLs of the admin port.
    """
    doors = [f"REST {rest}"] * (rest is not None) + [f"gRPC {grpc}"] * (grpc is not None)
    lines = [
        f"Serving {name}: {', '.join(doors)}",
        f"Try it in a browser: {admin}/docs (metrics: {admin}/metrics); Ctrl-C ends it.",
        *(requests(signature, rest, name) if rest else ()),
    ]
    return "\n".join(lines)


def requests(signature: Signature, base: str, name: str) -> Iterator[str]:
    """Requests to paste into a shell, and into Python."""
    commands = curl_commands(signature, base, name)
    if commands:
        yield "Ask it, with zeros:"
        yield from (f"  {command}" for command in commands)
    yield "Ask it from Python, with zeros:"
    snippet = python_snippet(signature, base, name)
    yield from (f"  {line}" for line in snippet.splitlines())
