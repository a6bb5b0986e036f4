"""HTTP in, one service call."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from plumbline_analysis.jobs import rules, service
from plumbline_analysis.jobs.following import SEND_TIMEOUT_SECONDS, Following
from plumbline_analysis.jobs.schemas import JobPage, JobResponse
from plumbline_common import idempotency, sse, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import JobSnapshot, JobState, Name

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Asker = Annotated[UserInfo, Depends(require("editor", "operator"))]

ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"headers": {"Location": {"description": "Where the job is read", "schema": {"type": "string"}}}}
}
"""The answer of a route that asks for a job."""
_ETAG = {"ETag": {"description": "The revision", "schema": {"type": "string"}}}
_EXAMPLE = """\
retry: 2000
id: 2

id: 3
event: running
data: {"id":"…","kind":"backtest","state":"running","progress":0.35,"message":"judges the history",…}

: heartbeat
id: 3

id: 4
event: succeeded
data: {"id":"…","kind":"backtest","state":"succeeded","progress":1.0,…}

"""
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, up to the end of the job",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    },
    204: {"description": "The job is over and its last event has arrived: do not connect again"},
}


def accepted(job: JobSnapshot) -> Response:
    """The answer to who asked for a job."""
    headers = {"Location": f"{router.prefix}/{job.id}", "ETag": etag(job.revision)}
    return web.json_response(job.model_dump_json().encode(), 202, headers)


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    state: JobState | None = None,
    kind: Annotated[Name | None, Query(description="Such as `backtest`")] = None,
) -> JobPage:
    """Jobs, the newest first, without what came of them."""
    return await service.page(session, state, kind, skip, limit)


@router.get("/{id}", responses={200: {"headers": _ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> JobResponse:
    """One job, with its result once it has succeeded."""
    found = await service.one(session, id)
    response.headers["ETag"] = etag(found.revision)
    return found


@router.post("/{id}/cancel", response_model=JobSnapshot, responses={200: {"headers": _ETAG}})
async def cancel(
    id: UUID, actor: Asker, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """End a job that is not over yet. Who asked for it may, and so may operators."""
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    cancelled = await service.cancel(session, id, actor)
    headers = {"ETag": etag(cancelled.revision)}
    return await claimed.keep(web.json_response(cancelled.model_dump_json().encode(), headers=headers))


async def place(request: Request) -> AsyncIterator[Following]:
    """The process's streams of jobs, with a place held among them until the answer has ended."""
    following: Following = request.app.state.following
    with following.place():
        yield following


@router.get("/{id}/events", response_class=sse.EventStream, response_model=None, responses=_STREAM)
async def events(
    id: UUID,
    actor: Viewer,
    following: Annotated[Following, Depends(place)],
    last_event_id: Annotated[
        sse.LastEventId | None, Header(alias="Last-Event-ID", description="Resume after this event")
    ] = None,
) -> Response:
    """A job as it stands, and again at each change of it, up to its end.

    `id` is the job's revision, `event` its state, `data` the job. What lay between two changes may be left out, never
    the newest. Every 15 s a comment comes at the latest. A stream ends with the job, with its token, and when the
    service stops: connect again with the last id.
    """
    job = await following.look_up(id)
    seen = int(last_event_id or 0)
    if job.state in rules.OVER and seen >= job.revision:
        return Response(status_code=204)
    return sse.EventStream(
        following.follow(job, seen, actor.expires_at),
        media_type="text/event-stream",
        ping=0,
        send_timeout=SEND_TIMEOUT_SECONDS,
        shutdown_event=following.shutdown,
        shutdown_grace_period=sse.FAREWELL_SECONDS,
    )
