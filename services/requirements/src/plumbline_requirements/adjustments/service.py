"""What can be done with adjustments: decide, write, tell."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, offload, outbox
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Forbidden, Invalid
from plumbline_common.events import BudgetAdjusted
from plumbline_common.schemas import AdjustmentCategory, BudgetAdjustmentSnapshot, Period, seconds
from plumbline_requirements.adjustments import repository, rules
from plumbline_requirements.adjustments.schemas import (
    AdjustmentContent,
    AdjustmentDetail,
    AdjustmentPage,
    AdjustmentResponse,
)
from plumbline_requirements.consents import service as consents
from plumbline_requirements.consents.rules import Status
from plumbline_requirements.consents.schemas import DecisionContent, RevocationContent
from plumbline_requirements.models import BudgetAdjustment
from plumbline_requirements.requirements import rules as requirements

_CONTENT = tuple(AdjustmentContent.model_fields)


async def page(
    session: AsyncSession,
    requirement_id: UUID | None,
    service: str | None,
    category: AdjustmentCategory | None,
    status: Status | None,
    skip: int,
    limit: int,
) -> AdjustmentPage:
    now = datetime.now(UTC)
    rows, total = await repository.page(session, requirement_id, service, category, status, now, skip, limit)
    items = [_shown(row, now) for row in rows]
    return AdjustmentPage(
        items=[AdjustmentResponse(**each.model_dump(exclude={"windows"})) for each in items], total=total
    )


async def read(session: AsyncSession, id: UUID) -> AdjustmentDetail:
    return _shown(await repository.find(session, id), datetime.now(UTC))


async def request(session: AsyncSession, content: AdjustmentContent, actor: UserInfo) -> AdjustmentDetail:
    """Ask for an adjustment. Raises `Invalid` and `NotYourTeam`."""
    now = datetime.now(UTC)
    rules.check_begin(content.starts_at, now)
    # A rule that names no second day is found out by looking at all months until the year 9999.
    windows = await offload.in_thread(
        rules.windows,
        content.starts_at,
        timedelta(seconds=seconds(content.duration)),
        content.recurrence,
        ZoneInfo(content.time_zone),
    )
    await _check_scope(session, content, actor)
    adjustment = BudgetAdjustment(
        id=db.new_id(),
        **content.model_dump(exclude={"category"}),
        category=content.category.value,
        windows=[each.model_dump(mode="json") for each in windows],
        ends_at=windows[-1].end,
        **consents.asked(actor, now),
    )
    return await _saved(session, adjustment, actor, now, content.reason)


async def decide(
    session: AsyncSession, id: UUID, content: DecisionContent, if_match: str | None, actor: UserInfo
) -> AdjustmentDetail:
    """Approve or reject what another asked for. Raises `IllegalTransition` and `OwnRequest`."""
    now = datetime.now(UTC)
    adjustment = await repository.find(session, id, locked=True)
    consents.decide(adjustment, _status(adjustment, now), content, if_match, actor, now)
    if adjustment.status == Status.APPROVED:
        await _tell(session, adjustment, now)
    return await _saved(session, adjustment, actor, now, content.comment)


async def revoke(
    session: AsyncSession, id: UUID, content: RevocationContent, if_match: str | None, actor: UserInfo
) -> AdjustmentDetail:
    """End an approved adjustment before its time. Raises `IllegalTransition` and `NotYourTeam`."""
    now = datetime.now(UTC)
    adjustment = await repository.find(session, id, locked=True)
    if not actor.may("reviewer"):
        # Before its state: that is nothing to others.
        known = await _check_team(session, adjustment.requirement_ids, adjustment.service, adjustment.team, actor)
        if adjustment.service is None and not known:
            raise Forbidden("the requirements are deleted: a reviewer revokes their adjustments")
    consents.revoke(adjustment, _status(adjustment, now), content, if_match, actor, now)
    adjustment.windows = [each.model_dump(mode="json") for each in rules.until(_windows(adjustment), now)]
    await _tell(session, adjustment, now)
    return await _saved(session, adjustment, actor, now, content.reason)


async def _check_scope(session: AsyncSession, content: AdjustmentContent, actor: UserInfo) -> None:
    known = await _check_team(session, content.requirement_ids, content.service, content.team, actor)
    for place, id in enumerate(content.requirement_ids):
        if id not in known:
            raise Invalid(f"no requirement has the id {id}", pointer=f"/requirement_ids/{place}")


async def _check_team(
    session: AsyncSession, ids: list[UUID], service: str | None, team: str | None, actor: UserInfo
) -> set[UUID]:
    """Raise unless all that is meant is the actor's team's. Returns which requirements there are."""
    if service is not None:
        if team is None and not actor.may("admin"):
            raise Forbidden("an admin adjusts a whole service: name your team", pointer="/team")
        requirements.check_changeable(team, actor)
        return set()
    owners = await repository.owners(session, ids)
    for owner in owners.values():
        requirements.check_changeable(owner, actor)
    return set(owners)


async def _saved(
    session: AsyncSession, adjustment: BudgetAdjustment, actor: UserInfo, now: datetime, reason: str
) -> AdjustmentDetail:
    await repository.save(session, adjustment)
    written = _shown(adjustment, now)
    await consents.audited(
        session, "adjustment", adjustment.id, adjustment, written, set(_CONTENT), actor, now, reason
    )
    return written


async def _tell(session: AsyncSession, adjustment: BudgetAdjustment, now: datetime) -> None:
    snapshot = BudgetAdjustmentSnapshot(
        id=adjustment.id,
        revision=adjustment.revision,
        requirement_ids=adjustment.requirement_ids,
        service=adjustment.service,
        team=adjustment.team,
        category=AdjustmentCategory(adjustment.category),
        reason=adjustment.reason,
        windows=_windows(adjustment),
    )
    await outbox.stage(session, BudgetAdjusted(adjustment=snapshot, at=now))


def _windows(adjustment: BudgetAdjustment) -> list[Period]:
    return [Period.model_validate(each) for each in adjustment.windows]


def _status(adjustment: BudgetAdjustment, now: datetime) -> Status:
    return rules.status_at(Status(adjustment.status), _windows(adjustment), now)


def _shown(adjustment: BudgetAdjustment, now: datetime) -> AdjustmentDetail:
    windows = _windows(adjustment)
    kept = Status(adjustment.status)
    return AdjustmentDetail(
        **{name: getattr(adjustment, name) for name in ("id", *_CONTENT, *consents.MEMBERS)},
        status=rules.status_at(kept, windows, now),
        active=rules.active_at(kept, windows, now),
        count=len(windows),
        next_start=min((each.start for each in windows if each.start > now), default=None),
        windows=windows,
    )
