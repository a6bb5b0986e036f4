"""What can be done in a review: decide, write, stage."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import audit, db
from plumbline_common.auth import UserInfo
from plumbline_common.errors import NotFound
from plumbline_common.preconditions import check_match
from plumbline_common.schemas import RequirementStatus
from plumbline_requirements.models import Requirement, Review, ReviewPolicy
from plumbline_requirements.requirements import repository as requirements
from plumbline_requirements.requirements import rules as lifecycle
from plumbline_requirements.requirements import service as moves
from plumbline_requirements.reviews import repository, rules
from plumbline_requirements.reviews.schemas import (
    Decision,
    PolicyContent,
    PolicyPage,
    PolicyView,
    ReviewContent,
    ReviewPage,
    ReviewResult,
    ReviewView,
)


async def review(session: AsyncSession, id: UUID, content: ReviewContent, actor: UserInfo) -> ReviewResult:
    """Keep what a reviewer says; the approval that was missing approves, a rejection or a request moves at once."""
    requirement = await requirements.locked(session, id)
    now = datetime.now(UTC)
    given = Review(
        id=db.new_id(),
        requirement_id=id,
        revision=content.revision,
        reviewer=actor.subject,
        decision=content.decision.value,
        comment=content.comment,
        at=now,
    )
    if content.decision is Decision.COMMENT:
        rules.check_commenter(actor)
        await requirements.snapshot(session, id, content.revision)
    else:
        rules.check_reviewed(RequirementStatus(requirement.status), requirement.revision, content.revision)
        lifecycle.check_reviewer(requirement.authors, actor)
    if not await repository.add(session, given):
        raise rules.AlreadyDecided("one decision for each revision; say more in a comment")
    required = await requirements.required_approvals(session, requirement.owner_team)
    approved_by = await requirements.approved_by(session, id, content.revision)
    to = _outcome(content.decision, len(approved_by), required)
    await audit.stage(
        session,
        audit.row_of(
            f"reviewed:{content.decision.value}",
            "requirement",
            str(id),
            actor.subject,
            now,
            revision=content.revision,
            reason=content.comment,
        ),
    )
    if to is not None:
        await moves.decide(session, requirement, actor, content.comment, to)
    return ReviewResult(
        **ReviewView.model_validate(given).model_dump(),
        status=RequirementStatus(requirement.status),
        approvals=len(approved_by),
        required_approvals=required,
    )


def _outcome(decision: Decision, approvals: int, required: int) -> RequirementStatus | None:
    if decision is Decision.APPROVE:
        return RequirementStatus.APPROVED if approvals >= required else None
    moves_to = {
        Decision.REJECT: RequirementStatus.REJECTED,
        Decision.REQUEST_CHANGES: RequirementStatus.DRAFT,
    }
    return moves_to.get(decision)


async def page(session: AsyncSession, id: UUID, skip: int, limit: int) -> ReviewPage:
    """The reviews of a requirement, the oldest first; also of one that is deleted."""
    rows, total = await repository.page(session, id, skip, limit)
    if not total and await session.get(Requirement, id) is None:
        raise requirements.missing(id)
    return ReviewPage(items=[ReviewView.model_validate(row) for row in rows], total=total)


async def policies(session: AsyncSession, skip: int, limit: int) -> PolicyPage:
    rows, total = await repository.policies(session, skip, limit)
    return PolicyPage(items=[PolicyView.model_validate(row) for row in rows], total=total)


async def policy(session: AsyncSession, team: str) -> PolicyView:
    """Raises `NotFound` where the team has none: it then takes one approval."""
    found = await repository.policy(session, team)
    if found is None:
        raise NotFound(f"the team {team} has no policy: it takes one approval")
    return PolicyView.model_validate(found)


async def set_policy(
    session: AsyncSession, team: str, content: PolicyContent, if_match: str | None, actor: UserInfo
) -> PolicyView:
    """Write a team's policy. The first needs no If-Match."""
    now = datetime.now(UTC)
    kept = await repository.policy(session, team, locked=True)
    if kept is None:
        kept = ReviewPolicy(
            team=team,
            required_approvals=content.required_approvals,
            revision=1,
            updated_at=now,
            updated_by=actor.subject,
        )
        if not await repository.add_policy(session, kept):
            raise rules.AnotherRevision("another has written the first policy of this team just now")
    else:
        check_match(kept.revision, if_match)
        kept.required_approvals = content.required_approvals
        kept.revision += 1
        kept.updated_at, kept.updated_by = now, actor.subject
        await session.flush()
    view = PolicyView.model_validate(kept)
    entry = audit.row_of(
        "written", "policy", team, actor.subject, now, revision=kept.revision, document=view.model_dump_json()
    )
    await audit.stage(session, entry)
    return view
