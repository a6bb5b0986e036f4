"""HTTP in, one service call."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import Name, Team
from plumbline_requirements.stream.rules import Filter
from plumbline_requirements.stream.schemas import EventName, LastEventId
from plumbline_requirements.stream.service import Streams

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1/events", tags=["events"])

FAREWELL_SECONDS = 2
"""How long a stream may take to end by itself when the server stops."""

_EXAMPLE = """\
retry: 2000
id: 41

id: 42
event: requirements.requirement.deleted
data: {"specversion":"1.0","id":"…","source":"/plumbline/requirements",\
"type":"plumbline.requirements.requirement.deleted.v1","subject":"…","time":"2026-11-01T12:00:00Z",\
"data":{"requirement_id":"…","revision":3,"actor":"alice"}}

: heartbeat
id: 42

"""
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, without an end",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}

Viewer = Annotated[UserInfo, Depends(require("viewer"))]


async def place(request: Request) -> AsyncIterator[Streams]:
    """The process's streams, with a place held among them until the answer has ended."""
    streams: Streams = request.app.state.streams
    with streams.place():
        yield streams


class _Stream(EventSourceResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("a stream is cut off: its reader takes nothing")


@router.get("/stream", response_class=_Stream, response_model=None, responses=_ANSWER)
async def stream(
    actor: Viewer,
    streams: Annotated[Streams, Depends(place)],
    last_event_id: Annotated[
        LastEventId | None, Header(alias="Last-Event-ID", description="Resume after this event")
    ] = None,
    since: Annotated[
        LastEventId | None, Query(alias="last_event_id", description="The same, for a first connection")
    ] = None,
    type: Annotated[list[EventName] | None, Query(max_length=20, description="Events by name")] = None,
    requirement_id: Annotated[UUID | None, Query()] = None,
    service: Annotated[Name | None, Query()] = None,
    owner_team: Annotated[Team | None, Query()] = None,
) -> EventSourceResponse:
    """What happens to requirements, as it happens: one event for each in the service's log.

    `id` is the position in the log, `event` the subject without its version, `data` a structured CloudEvent. Without
    an id to resume from the stream begins with what comes from now on. `event: reset` says that events are missing
    (they are kept for 30 days): load anew what you show. Every 15 s a comment comes at the latest. A stream ends
    with its token, when its reader is too slow, and when the service stops: connect again with the last id.
    """
    wanted = Filter(frozenset(type or ()), requirement_id, service, owner_team)
    asked = last_event_id or since
    start = await streams.start(None if asked is None else int(asked))
    return _Stream(
        streams.follow(start, wanted, actor.expires_at),
        media_type="text/event-stream",
        ping=0,
        send_timeout=streams.send_timeout,
        shutdown_event=streams.shutdown,
        shutdown_grace_period=FAREWELL_SECONDS,
    )
