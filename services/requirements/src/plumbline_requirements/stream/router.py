"""HTTP in, one service call."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request

from plumbline_common import sse
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import Name, Team
from plumbline_requirements.stream.rules import Filter
from plumbline_requirements.stream.schemas import EventName
from plumbline_requirements.stream.service import Streams

router = APIRouter(prefix="/api/v1/events", tags=["events"])

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


@router.get("/stream", response_class=sse.EventStream, response_model=None, responses=_ANSWER)
async def stream(
    actor: Viewer,
    streams: Annotated[Streams, Depends(place)],
    last_event_id: Annotated[
        sse.LastEventId | None, Header(alias="Last-Event-ID", description="Resume after this event")
    ] = None,
    since: Annotated[
        sse.LastEventId | None, Query(alias="last_event_id", description="The same, for a first connection")
    ] = None,
    type: Annotated[list[EventName] | None, Query(max_length=20, description="Events by name")] = None,
    requirement_id: Annotated[UUID | None, Query()] = None,
    service: Annotated[Name | None, Query()] = None,
    owner_team: Annotated[Team | None, Query()] = None,
) -> sse.EventStream:
    """What happens to requirements, as it happens: one event for each in the service's log.

    `id` is the position in the log, `event` the subject without its version, `data` a structured CloudEvent. Without
    an id to resume from the stream begins with what comes from now on. `event: reset` says that events are missing
    (they are kept for 30 days): load anew what you show. Every 15 s a comment comes at the latest. A stream ends
    with its token, when its reader is too slow, and when the service stops: connect again with the last id.
    """
    wanted = Filter(frozenset(type or ()), requirement_id, service, owner_team)
    asked = last_event_id or since
    start = await streams.start(None if asked is None else int(asked))
    return sse.EventStream(
        streams.follow(start, wanted, actor.expires_at),
        media_type="text/event-stream",
        ping=0,
        send_timeout=streams.send_timeout,
        shutdown_event=streams.shutdown,
        shutdown_grace_period=sse.FAREWELL_SECONDS,
    )
