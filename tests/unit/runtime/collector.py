"""A real OTLP receiver: what came over the wire, decoded with OpenTelemetry's own messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.stores.serving import served

_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Span:
    """A span and the resource it came with."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    start_ns: int
    end_ns: int
    kind: int
    status: int
    attributes: dict[str, Any]
    resource: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        """Every word it brought."""
        return [self.name, self.state, *map(str, self.attributes.values())]


@dataclass
class Collector:
    """Where spans arrive."""

    url: str
    status: int = 200
    """What each delivery is answered with."""
    spans: list[Span] = field(default_factory=list)
    deliveries: int = 0
    news: threading.Condition = field(default_factory=threading.Condition)

    def until(self, fact: Callable[[], bool]) -> None:
        """Wait until something has come to be."""
        with self.news:
            is_so = self.news.wait_for(fact, _PATIENCE_S)
            assert is_so, f"{self.deliveries} deliveries: {[span.name for span in self.spans]}"

    def has_come(self, deliveries: int) -> bool:
        """Whether so many deliveries have come."""
        return self.deliveries >= deliveries

    def server_spans(self, **attributes: object) -> list[Span]:
        """Those of requests, with these attributes (`_` for `.`)."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return [s for s in self.spans if s.kind == 2 and wanted.items() <= s.attributes.items()]

    def children(self, parent: Span) -> dict[str, Span]:
        """Those inside of another, by name."""
        return {each.name: each for each in self.spans if each.parent_id == parent.span_id}

    def receive(self, raw: bytes) -> None:
        found = list(_spans(ExportTraceServiceRequest.FromString(raw)))
        with self.news:
            self.deliveries += 1
            if self.status == 200:
                self.spans += found
            self.news.notify_all()


@contextmanager
def collector(status: int = 200) -> Iterator[Collector]:
    """A receiver on a free port."""
    with served(ThreadingHTTPServer(("127.0.0.1", 0), _Handler)) as server:
        made = Collector(f"http://127.0.0.1:{server.server_address[1]}", status)
        server.collector = made  # type: ignore[attr-defined]  # how a handler finds it
        yield made


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        made: Collector = self.server.collector  # type: ignore[attr-defined]  # as above
        assert self.path == "/v1/traces", self.path
        assert self.headers["Content-Type"] == "application/x-protobuf"
        made.receive(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(made.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the test says what matters."""


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for group in request.resource_spans:
        resource = _values(group.resource.attributes)
        for scope in group.scope_spans:
            for each in scope.spans:
                yield Span(
                    name=each.name,
                    trace_id=each.trace_id.hex(),
                    span_id=each.span_id.hex(),
                    parent_id=each.parent_span_id.hex(),
                    state=each.trace_state,
                    start_ns=each.start_time_unix_nano,
                    end_ns=each.end_time_unix_nano,
                    kind=each.kind,
                    status=each.status.code,
                    attributes=_values(each.attributes),
                    resource=resource,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes
    }
