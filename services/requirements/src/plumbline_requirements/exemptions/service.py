"""What can be done with exemptions: decide, write, stage."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Forbidden
from plumbline_requirements.consents import service as consents
from plumbline_requirements.consents.rules import Status
from plumbline_requirements.consents.schemas import DecisionContent, RevocationContent
from plumbline_requirements.exemptions import repository, rules
from plumbline_requirements.exemptions.schemas import (
    ExemptionContent,
    ExemptionPage,
    ExemptionResponse,
    StatusFilter,
)
from plumbline_requirements.models import Exemption
from plumbline_requirements.requirements import rules as requirements
from plumbline_requirements.requirements.repository import missing as requirement_missing

_STORED = set(ExemptionResponse.model_fields) - {"status", "active"}


async def page(
    session: AsyncSession, requirement_id: UUID | None, status: StatusFilter | None, skip: int, limit: int
) -> ExemptionPage:
    now = datetime.now(UTC)
    rows, total = await repository.page(session, requirement_id, status, now, skip, limit)
    return ExemptionPage(items=[_shown(row, now) for row in rows], total=total)


async def read(session: AsyncSession, id: UUID) -> ExemptionResponse:
    return _shown(await repository.find(session, id), datetime.now(UTC))


async def request(session: AsyncSession, content: ExemptionContent, actor: UserInfo) -> ExemptionResponse:
    """Ask for an exemption. Raises `Invalid`, `NotFound` and `NotYourTeam`."""
    now = datetime.now(UTC)
    rules.check_period(content.starts_at, content.expires_at, now)
    owners = await repository.owners(session, content.requirement_id)
    if not owners:
        raise requirement_missing(content.requirement_id)
    requirements.check_changeable(owners[0], actor)
    exemption = Exemption(
        id=db.new_id(),
        requirement_id=content.requirement_id,
        reason=content.reason,
        starts_at=content.starts_at,
        expires_at=content.expires_at,
        **consents.asked(actor, now),
    )
    return await _saved(session, exemption, actor, now, content.reason)


async def decide(
    session: AsyncSession, id: UUID, content: DecisionContent, if_match: str | None, actor: UserInfo
) -> ExemptionResponse:
    """Approve or reject what another asked for. Raises `IllegalTransition` and `OwnRequest`."""
    now = datetime.now(UTC)
    exemption = await repository.find(session, id, locked=True)
    consents.decide(exemption, _status(exemption, now), content, if_match, actor, now)
    return await _saved(session, exemption, actor, now, content.comment)


async def revoke(
    session: AsyncSession, id: UUID, content: RevocationContent, if_match: str | None, actor: UserInfo
) -> ExemptionResponse:
    """End an approved exemption before its time. Raises `IllegalTransition` and `NotYourTeam`."""
    now = datetime.now(UTC)
    if not actor.may("reviewer"):
        # Before its state: that is nothing to others.
        owners = await repository.owners(session, (await repository.find(session, id)).requirement_id)
        if not owners:
            raise Forbidden("the requirement is deleted: a reviewer revokes its exemptions")
        requirements.check_changeable(owners[0], actor)
    exemption = await repository.find(session, id, locked=True)
    consents.revoke(exemption, _status(exemption, now), content, if_match, actor, now)
    return await _saved(session, exemption, actor, now, content.reason)


def _status(exemption: Exemption, now: datetime) -> Status:
    return rules.status_at(Status(exemption.status), exemption.expires_at, now)


async def _saved(
    session: AsyncSession, exemption: Exemption, actor: UserInfo, now: datetime, reason: str
) -> ExemptionResponse:
    await repository.save(session, exemption)
    written = _shown(exemption, now)
    members = set(ExemptionContent.model_fields)
    await consents.audited(session, "exemption", exemption.id, exemption, written, members, actor, now, reason)
    return written


def _shown(exemption: Exemption, now: datetime) -> ExemptionResponse:
    kept = Status(exemption.status)
    return ExemptionResponse(
        **{name: getattr(exemption, name) for name in _STORED},
        status=rules.status_at(kept, exemption.expires_at, now),
        active=rules.active_at(kept, exemption.starts_at, exemption.expires_at, now),
    )
