"""Server-sent events (HTML Living Standard, section 9.2): what the streams of all services have in common."""

import logging
from typing import Annotated

from pydantic import StringConstraints
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from plumbline_common.errors import Unavailable

log = logging.getLogger(__name__)

RETRY_MS = 2000
"""How long a client waits before it connects again."""
FAREWELL_SECONDS = 2
"""How long a stream may take to end by itself when the server stops."""

LastEventId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,19}$")]
"""The id of the last event that arrived."""


class TooManyStreams(Unavailable):
    slug = "too-many-streams"
    title = "This process has no place for another stream"


class EventStream(EventSourceResponse):
    """An answer of frames that are ready as bytes. A reader that takes nothing is cut off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("a stream is cut off: its reader takes nothing")


def frame(id: int, event: str, data: str) -> bytes:
    """One event; `data` is one line."""
    return f"id: {id}\nevent: {event}\ndata: {data}\n\n".encode()


def opening(id: int) -> bytes:
    """What a stream begins with. The id lets a client that hears nothing else resume from here."""
    return f"retry: {RETRY_MS}\nid: {id}\n\n".encode()


def heartbeat(id: int) -> bytes:
    """A comment; the id moves a client past events that it does not want."""
    return f": heartbeat\nid: {id}\n\n".encode()


def comment(text: str) -> bytes:
    return f": {text}\n\n".encode()
