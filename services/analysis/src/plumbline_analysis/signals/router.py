"""HTTP in, one service call."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime

from plumbline_analysis.signals import rules, service
from plumbline_analysis.signals.rules import Question
from plumbline_analysis.signals.schemas import SeriesResponse, SignalPage, SignalResponse
from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_common.schemas import Aggregation, Name

router = APIRouter(prefix="/api/v1/signals", tags=["signals"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]


@router.get("")
async def page(
    actor: Viewer,
    session: web.ReadSession,
    skip: web.Skip = 0,
    limit: web.Limit = 50,
    metric: Annotated[Name | None, Query(description="OpenTelemetry's metric name")] = None,
    service_name: Annotated[Name | None, Query(alias="service", description="`service.name`")] = None,
) -> SignalPage:
    """The signals that are known, those seen first most recently at the top."""
    return await service.page(session, metric, service_name, skip, limit)


@router.get("/{id}")
async def read(id: UUID, actor: Viewer, session: web.ReadSession) -> SignalResponse:
    """One signal."""
    return await service.one(session, id)


@router.get("/{id}/series")
async def series(
    id: UUID,
    actor: Viewer,
    session: web.ReadSession,
    request: Request,
    start: Annotated[AwareDatetime | None, Query(alias="from", description="An hour before `to` if left out")] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to", description="Now if left out")] = None,
    step: Annotated[int | None, Query(ge=1, le=86_400 * 7, description="Seconds a slice")] = None,
    aggregation: Annotated[Aggregation | None, Query(description="How the points of a slice become one")] = None,
    max_points: Annotated[
        int | None,
        Query(ge=3, le=rules.MAX_SLICES, description="Of more slices, those that draw the same line (LTTB)"),
    ] = None,
) -> SeriesResponse:
    """The values of a signal in equal slices. An indicator's come with expected value, band and score.

    Slices of whole minutes or hours are made of rollups, so that long ranges are quick and outlive the points.
    """
    question = Question(start, end, step, aggregation, max_points)
    return await service.series(session, id, question, request.app.state.settings)
