"""The SQL of the projection."""

from uuid import UUID

from sqlalchemy import func, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import WatchedRequirement
from plumbline_common.schemas import RequirementSnapshot


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
