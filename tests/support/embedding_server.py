"""An endpoint as OpenAI's `POST /v1/embeddings`, as a process of its own, that fails in the way its path says.

`python embedding_server.py DIMENSIONS` prints its port. `/ok/v1/embeddings` answers well; `GET /ok/v1/count` says how
often that was asked.
"""

import hashlib
import json
import math
import random
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

asked: Counter[str] = Counter()


def vector(text: str) -> list[float]:
    chosen = random.Random(hashlib.sha256(text.encode()).digest())
    return [chosen.gauss(0, 1) for _ in range(Handler.dimensions)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dimensions = 0

    def do_GET(self) -> None:
        self._answer(200, asked[self.path.split("/")[1]])

    def do_POST(self) -> None:
        mode = self.path.split("/")[1]
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked[mode] += 1
        texts = request["input"]
        data: list[dict[str, Any]] = [
            {"object": "embedding", "index": place, "embedding": vector(text)} for place, text in enumerate(texts)
        ]
        match mode:
            case "ok":
                data.reverse()
            case "key":
                if self.headers.get("Authorization") != "Bearer s3cret":
                    return self._answer(401, {"error": {"message": "who are you?"}})
            case "wrong":
                data[-1]["embedding"] = [1.0, 2.0, 3.0]
            case "nan":
                data[0]["embedding"][5] = math.nan
            case "zero":
                data[0]["embedding"] = [0.0] * self.dimensions
            case "words":
                data[0]["embedding"] = ["a"] * self.dimensions
            case "text":
                data[0]["embedding"] = "AAAA"
            case "few":
                data.pop()
            case "twice":
                data[-1]["index"] = 0
            case "nothing":
                self.close_connection = True
                return None
            case "empty":
                return self._send(200, b"")
            case "html":
                return self._send(200, b"<html>Welcome</html>")
            case "deep":
                return self._send(200, b"[" * 100_000)
            case "down":
                return self._answer(503, {})
            case "flaky" if asked[mode] % 3:
                return self._answer(429 if asked[mode] % 2 else 500, {})
            case "slow":
                time.sleep(30)  # noqa: TID251 - a process of its own
            case "trickle":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                for _ in range(100):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.1)  # noqa: TID251
            case "picky" if any("poison" in text for text in texts):
                return self._answer(400, {"error": {"message": "not that"}})
            case "moved":
                self.send_response(307)
                self.send_header("Location", "/ok/v1/embeddings")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
        return self._answer(200, {"object": "list", "data": data, "model": request["model"]})

    def _answer(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    Handler.dimensions = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()
