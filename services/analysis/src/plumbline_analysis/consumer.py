"""Event in, one service call."""

from typing import Any

from plumbline_analysis.watched import service
from plumbline_common import bus, db, inbox
from plumbline_common.events import (
    BudgetAdjusted,
    Received,
    RequirementCreated,
    RequirementDeleted,
    RequirementTransitioned,
    RequirementUpdated,
)

CONSUMER = "analysis"
CONSUMES = (RequirementCreated, RequirementUpdated, RequirementTransitioned, RequirementDeleted, BudgetAdjusted)


def subscription(sessions: db.Sessions) -> bus.Subscription:
    """Keep the projection of requirements, and of the adjustments of their budgets."""

    async def keep(received: Received[Any]) -> None:
        async with sessions.begin() as session:
            if await inbox.first_time(session, received, CONSUMER):
                await service.keep(session, received.data.requirement, received.data.in_force)

    async def forget(received: Received[RequirementDeleted]) -> None:
        async with sessions.begin() as session:
            if await inbox.first_time(session, received, CONSUMER):
                await service.forget(session, received.data.requirement_id, received.data.revision)

    async def adjust(received: Received[BudgetAdjusted]) -> None:
        async with sessions.begin() as session:
            if await inbox.first_time(session, received, CONSUMER):
                await service.adjust(session, received.data.adjustment)

    return bus.Subscription(
        CONSUMER,
        {
            RequirementCreated: keep,
            RequirementUpdated: keep,
            RequirementTransitioned: keep,
            RequirementDeleted: forget,
            BudgetAdjusted: adjust,
        },
    )
