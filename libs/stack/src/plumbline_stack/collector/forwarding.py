"""Telemetry on its way to the gateway, with a token."""

import asyncio
import contextlib
import gzip
import logging
import time

import httpx
from google.protobuf.message import Message

from plumbline_stack.keys import Issuer

_log = logging.getLogger(__name__)
_TOKEN_SECONDS = 3600.0
_AGAIN = {0, 429, 502, 503, 504}


class Forwarder:
    """Sends OTLP requests to the gateway in the background. What can't be sent in time is dropped, oldest first."""

    def __init__(self, what: str, endpoint: str, issuer: Issuer, *, capacity: int = 60) -> None:
        """`what` they tell of, for the log."""
        self._endpoint = endpoint
        self._what = what
        self._issuer = issuer
        self._capacity = capacity
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._token = ""
        self._renew_at = 0.0
        self._failing = False

    def put(self, message: Message) -> None:
        """Takes a message at once. From the event loop's thread only."""
        while self._waiting.qsize() >= self._capacity:
            self._waiting.get_nowait()
        self._waiting.put_nowait(gzip.compress(message.SerializeToString(), compresslevel=1))

    async def run(self) -> None:
        """Sends until cancelled. While the gateway is away or overloaded, a message is tried again each second."""
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                body = await self._waiting.get()
                while (status := await self._send(client, body)) in _AGAIN:
                    self._tell(status)
                    await asyncio.sleep(1)
                self._tell(status)

    def _tell(self, status: int) -> None:
        """Log the first failure after a success."""
        failing = not 200 <= status < 300
        if failing and not self._failing:
            answer = f"status {status}" if status else "no answer"
            _log.warning("%s do not reach %s: %s", self._what, self._endpoint, answer)
        self._failing = failing

    async def _send(self, client: httpx.AsyncClient, body: bytes) -> int:
        """The status of the answer, 0 without one."""
        headers = {
            "authorization": f"Bearer {self._fresh_token()}",
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
        }
        with contextlib.suppress(httpx.HTTPError):
            return (await client.post(self._endpoint, content=body, headers=headers)).status_code
        return 0

    def _fresh_token(self) -> str:
        if time.monotonic() >= self._renew_at:
            self._token = self._issuer.token("ingest", subject="collector", expires_in=_TOKEN_SECONDS)
            self._renew_at = time.monotonic() + _TOKEN_SECONDS / 2
        return self._token
