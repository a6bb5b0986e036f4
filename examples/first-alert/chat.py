"""Stands for a chat's webhook: prints the text of each message. python3 examples/first-alert/chat.py"""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer


class Chat(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(message["text"], flush=True)  # noqa: T201 - that is what it is for
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """The messages are all that there is to see."""


HTTPServer(("127.0.0.1", 9099), Chat).serve_forever()
