"""The SQL of the projection."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import BudgetAdjustment, WatchedRequirement
from plumbline_common import db
from plumbline_common.schemas import BudgetAdjustmentSnapshot, RequirementSnapshot


async def one(session: AsyncSession, id: UUID) -> WatchedRequirement | None:
    """What is known of a requirement; None where that is nothing."""
    return (await session.execute(select(WatchedRequirement).where(WatchedRequirement.id == id))).scalar_one_or_none()


async def keep(session: AsyncSession, requirement: RequirementSnapshot, head: RequirementSnapshot) -> None:
    """Keep this revision of a requirement, unless something newer than `head` or its end is known."""
    values = {
        "id": requirement.id,
        "revision": requirement.revision,
        "head_revision": head.revision,
        "updated_at": head.updated_at,
        "in_force": requirement.status.in_force,
        "key": requirement.key,
        "title": requirement.title,
        "owner_team": requirement.owner_team,
        "service": requirement.service,
        "slos": [slo.model_dump(mode="json") for slo in requirement.slos],
        "budget_policy": [rule.model_dump(mode="json") for rule in requirement.budget_policy],
    }
    statement = insert(WatchedRequirement).values(**values)
    newer = tuple_(statement.excluded.head_revision, statement.excluded.updated_at) >= tuple_(
        WatchedRequirement.head_revision, WatchedRequirement.updated_at
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={name: statement.excluded[name] for name in values if name != "id"},
            where=newer & ~WatchedRequirement.deleted,
        )
    )


async def forget(session: AsyncSession, id: UUID, revision: int) -> None:
    """Mark a requirement as gone, for ever: ids are not used again."""
    statement = insert(WatchedRequirement).values(
        id=id,
        revision=revision,
        head_revision=revision,
        updated_at=func.now(),
        deleted=True,
        in_force=False,
        key="",
        title="",
        slos=[],
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={
                "deleted": True,
                "in_force": False,
                "head_revision": func.greatest(WatchedRequirement.head_revision, statement.excluded.head_revision),
            },
        )
    )


async def keep_adjustment(session: AsyncSession, adjustment: BudgetAdjustmentSnapshot) -> None:
    """Keep an adjustment, unless something newer is known of it."""
    values = {
        "id": adjustment.id,
        "revision": adjustment.revision,
        "requirement_ids": adjustment.requirement_ids,
        "service": adjustment.service,
        "team": adjustment.team,
        "windows": [each.model_dump(mode="json") for each in adjustment.windows],
    }
    statement = insert(BudgetAdjustment).values(**values)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["id"],
            set_={name: statement.excluded[name] for name in values if name != "id"},
            where=statement.excluded.revision > BudgetAdjustment.revision,
        )
    )


async def adjusted(
    session: AsyncSession, requirements: Sequence[WatchedRequirement]
) -> dict[UUID, list[tuple[datetime, datetime]]]:
    """The windows of the adjustments that reach each requirement, in no order; those may overlap."""
    rows = await db.detached(
        session,
        BudgetAdjustment,
        "WHERE requirement_ids && $1::uuid[] OR service = ANY($2::text[])",
        [each.id for each in requirements],
        list({each.service for each in requirements if each.service is not None}),
    )
    found: dict[UUID, list[tuple[datetime, datetime]]] = defaultdict(list)
    for row in rows:
        windows = [
            (datetime.fromisoformat(each["start"]), datetime.fromisoformat(each["end"])) for each in row.windows
        ]
        for each in requirements:
            of_service = row.service is not None and row.service == each.service
            if each.id in row.requirement_ids or (of_service and row.team in (None, each.owner_team)):
                found[each.id] += windows
    return found
