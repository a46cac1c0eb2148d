"""A collector made of the protocol's official definitions, which keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

WITHOUT_EXTRA = (
    "import sys; sys.modules['opentelemetry'] = None\n"
    "import importlib.metadata as metadata\n"
    "found = metadata.distribution\n"
    "def distribution(name):\n"
    "    if name.startswith('opentelemetry'): raise metadata.PackageNotFoundError(name)\n"
    "    return found(name)\n"
    "metadata.distribution = distribution\n"
    "from unitsync.cli.app import run_app; sys.exit(run_app(sys.argv[1:]))"
)
"""``unitsync`` in an installation without the extra."""


class Receiver:
    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.refuse_from: int | None = None
        """How many requests are taken before all others are told to come again."""
        self.answers = threading.Event()
        """While it is not set, requests are read, but not answered."""
        self.answers.set()
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, str | bool | int]:
        (resource,) = [each.resource for each in self.requests[-1].resource_spans]
        return attributes(resource.attributes)


def attributes(pairs: list[KeyValue]) -> dict[str, str | bool | int]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.paths.append(self.path)
            receiver.headers.append(dict(self.headers))
            status = receiver.status
            if receiver.refuse_from is not None and len(receiver.requests) >= receiver.refuse_from:
                status = 503
            if status == 200:
                receiver.requests.append(ExportTraceServiceRequest.FromString(body))
            receiver.answers.wait()
            self.send_response(status)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        try:
            yield receiver
        finally:
            receiver.answers.set()
            server.shutdown()
            serving.join()
