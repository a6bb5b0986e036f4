"""The SQL of reviews and of the policies of teams."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_requirements.models import Review, ReviewPolicy


async def add(session: AsyncSession, review: Review) -> bool:
    """Write a review. False where this reviewer has decided on this revision before."""
    values = {name: getattr(review, name) for name in Review.__table__.columns.keys()}  # noqa: SIM118
    statement = insert(Review).values(**values).on_conflict_do_nothing().returning(Review.id)
    return (await session.execute(statement)).first() is not None


async def page(session: AsyncSession, id: UUID, skip: int, limit: int) -> tuple[Sequence[Review], int]:
    """The reviews of a requirement, the oldest first."""
    mine = Review.requirement_id == id
    total = await session.scalar(select(func.count()).select_from(Review).where(mine))
    rows = await session.scalars(select(Review).where(mine).order_by(Review.id).offset(skip).limit(limit))
    return rows.all(), total or 0


async def policies(session: AsyncSession, skip: int, limit: int) -> tuple[Sequence[ReviewPolicy], int]:
    """The policies of all teams that have one, by team."""
    total = await session.scalar(select(func.count()).select_from(ReviewPolicy))
    rows = await session.scalars(select(ReviewPolicy).order_by(ReviewPolicy.team).offset(skip).limit(limit))
    return rows.all(), total or 0


async def policy(session: AsyncSession, team: str, *, locked: bool = False) -> ReviewPolicy | None:
    """The policy of a team that has one."""
    return await session.get(ReviewPolicy, team, with_for_update=True if locked else None)


async def add_policy(session: AsyncSession, policy: ReviewPolicy) -> bool:
    """Write a team's first policy. False where another was faster."""
    try:
        async with session.begin_nested():
            session.add(policy)
    except IntegrityError:
        return False
    return True
