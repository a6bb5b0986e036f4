"""HTTP in, one service call."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime

from plumbline_analysis.pictures import Theme
from plumbline_analysis.plots import service
from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import Name

router = APIRouter(prefix="/api/v1", tags=["plots"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Look = Annotated[Theme, Query(description="`auto` follows the viewer's preference")]

MEDIA = "image/svg+xml"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": {MEDIA: {"schema": {"type": "string"}}}}
}
_HEADERS = {
    # A picture that is opened by itself is a document: it may style itself and nothing else.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "private, max-age=10",
}


@router.get("/anomalies/{id}/plot.svg", response_class=Response, responses=_RESPONSES)
async def of_anomaly(
    id: UUID, actor: Viewer, session: web.ReadSession, request: Request, theme: Look = "auto"
) -> Response:
    """An anomaly with what came before and after it: value, expected band, objective."""
    return _reply(await service.of_anomaly(session, id, theme, request.app.state.settings))


@router.get("/signals/{id}/plot.svg", response_class=Response, responses=_RESPONSES)
async def of_signal(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    request: Request,
    start: Annotated[AwareDatetime | None, Query(alias="from", description="An hour before `to` if left out")] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to", description="Now if left out")] = None,
    theme: Look = "auto",
) -> Response:
    """A signal's values; an indicator's with expected band, anomalies and objective."""
    return _reply(await service.of_signal(session, id, start, end, theme, request.app.state.settings))


@router.get("/services/plot.svg", response_class=Response, responses=_RESPONSES)
async def of_service(
    name: Annotated[Name, Query(alias="service", description="`service.name`")],
    actor: Viewer,
    session: web.ReadSession,
    request: Request,
    start: Annotated[AwareDatetime | None, Query(alias="from", description="An hour before `to` if left out")] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to", description="Now if left out")] = None,
    theme: Look = "auto",
) -> Response:
    """How unusual the signals of a service are, taken together, and which of them make it so."""
    return _reply(await service.of_service(session, name, start, end, theme, request.app.state.settings))


def _reply(picture: str) -> Response:
    return Response(picture, media_type=MEDIA, headers=_HEADERS)
