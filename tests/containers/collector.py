"""As much of a collector as the journeys need: metrics, Envoy's in the form of the semantic conventions, and logs of
OTLP/HTTP go on to the gateway, traces nowhere.

Like the real one it takes what comes at once, and keeps it until the gateway does.
"""

import gzip
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue

from envoy_metrics import normalise
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

TOKEN = Path("/run/secrets/ingest-token").read_text()
LATER = (429, 502, 503, 504)
"""Answers after which OTLP/HTTP sends again."""
taken: SimpleQueue[tuple[str, bytes]] = SimpleQueue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if self.path != "/v1/traces":
            unpacked = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            taken.put((self.path, normalised(unpacked) if self.path == "/v1/metrics" else unpacked))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def normalised(body: bytes) -> bytes:
    message = ExportMetricsServiceRequest.FromString(body)
    normalise(message)
    return message.SerializeToString()


def pass_on() -> None:
    pause = threading.Event()
    while True:
        path, body = taken.get()
        while sent(path, body) in LATER:
            pause.wait(1)


def sent(path: str, body: bytes) -> int:
    headers = {"content-type": "application/x-protobuf", "authorization": f"Bearer {TOKEN}"}
    gateway = http.client.HTTPConnection("gateway", 8080, timeout=5)
    try:
        gateway.request("POST", path, body, headers)
        return gateway.getresponse().status
    except (OSError, http.client.HTTPException):
        return 503
    finally:
        gateway.close()


threading.Thread(target=pass_on, daemon=True).start()
ThreadingHTTPServer(("0.0.0.0", 4318), Handler).serve_forever()
