"""Backfills asked for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.backfills import repository
from plumbline_analysis.backfills.kind import BACKFILL
from plumbline_analysis.backfills.schemas import (
    MOST_SIGNALS,
    BackfillContent,
    BackfillParameters,
    ServiceBackfillContent,
)
from plumbline_analysis.detectors import repository as detectors
from plumbline_analysis.jobs import service as jobs
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid, NotFound
from plumbline_common.schemas import JobSnapshot


async def of_signal(
    session: AsyncSession, signal_id: UUID, content: BackfillContent, actor: UserInfo, longest_days: int
) -> JobSnapshot:
    """Queue a backfill of one signal. Raises `NotFound` where no detector watches it, and `Invalid`."""
    found = await detectors.find(session, signal_id)
    return await _request(session, [signal_id], content, actor, longest_days, found.requirement.service, signal_id)


async def of_service(
    session: AsyncSession, content: ServiceBackfillContent, actor: UserInfo, longest_days: int
) -> JobSnapshot:
    """Queue a backfill of all that is watched of a service. Raises `NotFound` where nothing is, and `Invalid`."""
    found = await repository.watched(session, content.service, MOST_SIGNALS + 1)
    if not found:
        raise NotFound(f"no detector watches a signal of the service {content.service}")
    if len(found) > MOST_SIGNALS:
        raise Invalid(
            f"the service has more than {MOST_SIGNALS} signals: ask for them one by one", pointer="/service"
        )
    return await _request(session, [row.id for row in found], content, actor, longest_days, content.service)


async def _request(
    session: AsyncSession,
    signal_ids: Sequence[UUID],
    content: BackfillContent,
    actor: UserInfo,
    longest_days: int,
    service: str | None,
    signal_id: UUID | None = None,
) -> JobSnapshot:
    now = datetime.now(UTC)
    if not now - timedelta(days=longest_days) <= (content.start or now) <= now:
        raise Invalid(
            f"start must be one of the last {longest_days} days, of which points are kept", pointer="/start"
        )
    if content.end is not None and content.end <= (content.start or now - timedelta(days=longest_days)):
        raise Invalid("end must be after start, and points kept of that time", pointer="/end")
    parameters = BackfillParameters(
        signal_ids=list(signal_ids), start=content.start, end=content.end, asked_at=now
    ).model_dump(mode="json")
    return await jobs.request(
        session,
        BACKFILL.name,
        parameters,
        actor,
        content.deadline_seconds,
        service=service,
        signal_id=signal_id,
    )
