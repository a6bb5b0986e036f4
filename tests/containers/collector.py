"""As much of a collector as the journeys need: metrics and logs of OTLP/HTTP go on to the gateway, traces nowhere."""

import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = Path("/run/secrets/ingest-token").read_text()
PASSED = ("content-type", "content-encoding")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        status = 200 if self.path == "/v1/traces" else self._passed_on(body)
        self.send_response(status)
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

    def _passed_on(self, body: bytes) -> int:
        headers = {name: self.headers[name] for name in PASSED if name in self.headers}
        gateway = http.client.HTTPConnection("gateway", 8080, timeout=5)
        try:
            gateway.request("POST", self.path, body, headers | {"authorization": f"Bearer {TOKEN}"})
            return gateway.getresponse().status
        except OSError:
            return 503
        finally:
            gateway.close()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


ThreadingHTTPServer(("0.0.0.0", 4318), Handler).serve_forever()
