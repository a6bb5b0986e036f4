"""HTTP in, one service call."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from plumbline_common import idempotency, web
from plumbline_common.auth import UserInfo, require
from plumbline_common.preconditions import etag
from plumbline_common.schemas import Team
from plumbline_requirements.baselines import service
from plumbline_requirements.baselines.schemas import (
    BaselineContent,
    BaselineDifference,
    BaselineItemPage,
    BaselinePage,
    BaselineResponse,
    ItemContent,
)
from plumbline_requirements.requirements.schemas import Reason

router = APIRouter(prefix="/api/v1/baselines", tags=["baselines"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]
Admin = Annotated[UserInfo, Depends(require("admin"))]

BODY_LIMITS = {router.prefix: 8 * 1024 * 1024}
"""In bytes, by path: 100,000 revisions take 7.5 MiB."""
_SLICE = 1000
_ITEMS = TypeAdapter(list[ItemContent])


@router.get("")
async def page(
    actor: Viewer, session: web.ReadSession, team: Team | None = None, skip: web.Skip = 0, limit: web.Limit = 50
) -> BaselinePage:
    """The baselines of a team, or all; the newest first."""
    return await service.page(session, team, skip, limit)


@router.post("", status_code=201, response_model=BaselineResponse, responses={201: {"headers": web.ETAG}})
async def create(
    content: BaselineContent, actor: Editor, session: web.Session, request: Request, key: idempotency.Key = None
) -> Response:
    """Set down revisions under a name: those of `items`, or what is in force, else present, of what `select` matches.

    A baseline is never changed.
    """
    items = await _validated(content.items or [])
    claimed = await idempotency.claim(session, request, actor.subject, key)
    if claimed.answered:
        return claimed.answered
    created = await service.create(session, content, items, actor)
    headers = {"ETag": etag(service.REVISION), "Location": f"{router.prefix}/{created.id}"}
    return await claimed.keep(web.json_response(created.model_dump_json().encode(), 201, headers))


async def _validated(items: Sequence[Any]) -> list[ItemContent]:
    """In slices: all at once would hold up every other request for half a second."""
    found: list[ItemContent] = []
    for start in range(0, len(items), _SLICE):
        try:
            found += _ITEMS.validate_python(items[start : start + _SLICE])
        except ValidationError as error:
            raise RequestValidationError(
                [
                    each | {"loc": ("body", "items", start + int(each["loc"][0]), *each["loc"][1:])}
                    for each in error.errors(include_url=False)
                ]
            ) from None
        await asyncio.sleep(0)
    return found


@router.get("/{id}", responses={200: {"headers": web.ETAG}})
async def read(id: UUID, actor: Viewer, session: web.ReadSession, response: Response) -> BaselineResponse:
    """One baseline, without what it holds."""
    found = await service.read(session, id)
    response.headers["ETag"] = etag(service.REVISION)
    return found


@router.delete("/{id}", status_code=204)
async def delete(
    id: UUID,
    actor: Admin,
    session: web.Session,
    if_match: web.IfMatch = None,
    reason: Annotated[Reason, Query(description="Why; it stands in the audit log")] = "",
) -> None:
    """Delete a baseline; the revisions that it holds stay."""
    await service.delete(session, id, if_match, actor, reason)


@router.get("/{id}/items")
async def items(
    id: UUID, actor: Viewer, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50
) -> BaselineItemPage:
    """The revisions that a baseline holds; the newest requirement first."""
    return await service.items(session, id, skip, limit)


@router.get("/{id}/diff")
async def difference(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    to: Annotated[UUID, Query(description="The other baseline")],
    skip: web.Skip = 0,
    limit: web.Limit = 50,
) -> BaselineDifference:
    """The requirements that another baseline adds, lacks or holds at another revision, with the members that differ.

    `skip` and `limit` apply to each of the three lists.
    """
    return await service.difference(session, id, to, skip, limit)
