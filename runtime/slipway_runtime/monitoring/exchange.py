"""One inference request and its answer, as the doors tell it to logs and traces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter

from slipway_runtime.inference.timing import Timing

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(slots=True)
class Exchange:
    """From the head of a request to its answer; never its payload, and no header but named ones."""

    protocol: str
    """The wire's name in metrics."""
    route: str
    """The template of the path, or gRPC's `service/Method`: nothing that the client chose."""
    headers: Headers
    """As they came; read only where a line or a span is written."""
    verb: str = ""
    """Of HTTP; empty for gRPC."""
    timing: Timing | None = None
    """To be passed to `DataPlane.infer`; None where nobody watches."""
    begun_s: float = field(default_factory=perf_counter)
    revision: str | None = None
    """Of the model that was asked; None where none was."""
    id: str | None = None
    """What the client calls this inference, in the body."""
    # What follows is known at the end, and set by `Telemetry.end` where somebody watches.
    status: int = field(init=False)
    """Of HTTP; over gRPC, the one of the same outcome."""
    grpc_status: str = field(init=False)
    error: str = field(init=False)
    """The class of what went wrong: messages quote the client's data."""
    duration_s: float = field(init=False)
    bytes_in: int = field(init=False)
    bytes_out: int = field(init=False)
    """Both of the payload, before it is compressed for the way back."""

    def header(self, name: bytes) -> list[bytes]:
        """Every value of one header; `name` in lower case."""
        return [value for key, value in self.headers if key == name]
