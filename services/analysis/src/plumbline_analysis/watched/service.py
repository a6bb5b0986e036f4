"""What the requirements service has told, kept for the evaluation."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.watched import repository
from plumbline_common.schemas import BudgetAdjustmentSnapshot, RequirementSnapshot


async def keep(
    session: AsyncSession, requirement: RequirementSnapshot, in_force: RequirementSnapshot | None = None
) -> None:
    """Events may come twice and in any order: the newest state wins. While a change of a requirement is drafted,
    what is in force stays watched."""
    await repository.keep(session, in_force or requirement, requirement)


async def forget(session: AsyncSession, id: UUID, revision: int) -> None:
    """An event from before the end that comes after it changes nothing."""
    await repository.forget(session, id, revision)


async def adjust(session: AsyncSession, adjustment: BudgetAdjustmentSnapshot) -> None:
    """Also of requirements that are not known yet."""
    await repository.keep_adjustment(session, adjustment)
