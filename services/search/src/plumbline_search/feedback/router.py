"""HTTP in, one service call."""

from typing import Annotated

from fastapi import APIRouter, Depends

from plumbline_common import web
from plumbline_common.auth import UserInfo, require
from plumbline_search.feedback import service
from plumbline_search.feedback.schemas import FeedbackContent, FeedbackPage, FeedbackResponse, JudgementPage

router = APIRouter(prefix="/api/v1/search/feedback", tags=["feedback"])

Viewer = Annotated[UserInfo, Depends(require("viewer"))]
Editor = Annotated[UserInfo, Depends(require("editor"))]


@router.post("", status_code=201)
async def give(content: FeedbackContent, actor: Viewer, session: web.Session) -> FeedbackResponse:
    """Say what was done with a hit, so that the ranking can be judged by it."""
    return await service.give(session, content, actor)


@router.get("")
async def page(_: Editor, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50) -> FeedbackPage:
    """What was given, the latest first."""
    return await service.page(session, skip, limit)


@router.get("/judgements")
async def judgements(_: Editor, session: web.ReadSession, skip: web.Skip = 0, limit: web.Limit = 50) -> JudgementPage:
    """What all feedback comes to: a grade for each query and hit."""
    return await service.judgements(session, skip, limit)
