"""Keep what people did with hits, and say what it comes to."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_search.feedback import repository
from plumbline_search.feedback.schemas import (
    FeedbackContent,
    FeedbackPage,
    FeedbackResponse,
    Judgement,
    JudgementPage,
)
from plumbline_search.models import Feedback


async def give(session: AsyncSession, content: FeedbackContent, actor: UserInfo) -> FeedbackResponse:
    given = Feedback(
        id=db.new_id(),
        at=datetime.now(UTC),
        actor=actor.subject,
        **content.model_dump(exclude={"kind", "action"}),
        kind=content.kind.value,
        action=content.action.value,
    )
    session.add(given)
    return FeedbackResponse.model_validate(given)


async def page(session: AsyncSession, skip: int, limit: int) -> FeedbackPage:
    """The latest first."""
    rows, total = await repository.page(session, skip, limit)
    return FeedbackPage(items=[FeedbackResponse.model_validate(row) for row in rows], total=total)


async def judgements(session: AsyncSession, skip: int, limit: int) -> JudgementPage:
    """In the order of queries."""
    rows, total = await repository.judgements(session, skip, limit)
    return JudgementPage(items=[Judgement.model_validate(row) for row in rows], total=total)
