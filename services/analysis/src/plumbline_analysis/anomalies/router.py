"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from plumbline_analysis.anomalies import service
from plumbline_analysis.anomalies.schemas import AnomalyPage, AnomalySort
from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import AnomalySnapshot, AnomalyState, Name

router = APIRouter(prefix="/api/v1/anomalies", tags=["anomalies"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    state: AnomalyState | None = None,
    service_name: Annotated[Name | None, Query(alias="service", description="`service.name`")] = None,
    requirement_id: UUID | None = None,
    sort: AnomalySort = AnomalySort.NEWEST,
) -> AnomalyPage:
    """Anomalies by their onset, the newest first unless asked otherwise."""
    return await service.page(session, state, service_name, requirement_id, sort, skip, limit)


@router.get("/{id}")
async def read(id: UUID, actor: Viewer, session: web.ReadSession) -> AnomalySnapshot:
    """One anomaly, with the band that its peak departed from."""
    return await service.one(session, id)
