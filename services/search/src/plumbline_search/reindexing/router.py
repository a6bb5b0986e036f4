"""HTTP in, one service call."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_search.reindexing import service
from plumbline_search.reindexing.schemas import CheckResponse, ReindexResponse

router = APIRouter(prefix="/api/v1/reindex", tags=["reindex"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Admin = Annotated[UserInfo, Depends(require("admin"))]


@router.get("")
async def status(_: Viewer, session: web.ReadSession) -> ReindexResponse:
    """The live index, and how far the one is that is built beside it."""
    return await service.status(session)


@router.post("", status_code=202)
async def begin(actor: Admin, session: web.Session, request: Request) -> ReindexResponse:
    """Build all documents anew beside the live index, by the model that is configured; then swap it in.

    Searches are answered by the live one meanwhile. What is written goes into both.
    """
    return await service.begin(session, request.app.state.models.configured, actor)


@router.delete("", status_code=204)
async def cancel(_: Admin, session: web.Session) -> None:
    """Give up what is built. The live index stays as it is."""
    await service.cancel(session)


@router.post("/check")
async def check(_: Admin, session: web.ReadSession, request: Request) -> CheckResponse:
    """Compare the live index with the documents and with what the producers sent, and repair what is missing."""
    found = await service.check(session, request.app.state.consumer)
    request.app.state.builder.wake()
    return found
