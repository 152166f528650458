"""An OpenTelemetry collector for tests: a real HTTP server that decodes what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, kw_only=True)
class Received:
    """One span as the collector got it; ids in hexadecimal digits."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    facts: dict[str, Any]
    failed: bool
    seconds: float
    service: str


class Collector:
    """The spans that arrived, and how it answers."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.requests: list[dict[str, str]] = []  # their headers
        self.status = 200
        self.answers = threading.Event()
        self.answers.set()
        self.url = ""

    def named(self, name: str) -> list[Received]:
        return [one for one in self.spans if one.name == name]

    def one(self, name: str) -> Received:
        (found,) = self.named(name)
        return found

    def take(self, headers: dict[str, str], body: bytes) -> None:
        self.requests.append(headers)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_received(span, service) for span in scope.spans]


def _received(span: Any, service: str) -> Received:
    return Received(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        facts={pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes},
        failed=span.status.code == 2,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        service=service,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens for as long as a block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.answers.wait(30)
            if collector.status == 200:
                collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            else:
                collector.requests.append({})
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:  # who hung up does not want an answer
            pass

    server = Server(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()
