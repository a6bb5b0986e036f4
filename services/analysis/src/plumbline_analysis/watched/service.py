"""What the requirements service has told, kept for the evaluation."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.watched import repository
from plumbline_common.schemas import RequirementSnapshot


async def keep(session: AsyncSession, requirement: RequirementSnapshot) -> None:
    """Events may come twice and in any order: the newest state wins."""
    await repository.keep(session, requirement)


async def forget(session: AsyncSession, id: UUID, revision: int) -> None:
    """An event from before the end that comes after it changes nothing."""
    await repository.forget(session, id, revision)
