"""What people do with notification targets, their deliveries, and silences."""

from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import NotificationAlert, NotificationDelivery, NotificationTarget, Silence
from plumbline_analysis.notifications import payloads, repository, rules
from plumbline_analysis.notifications.alerts import Alert, fingerprint
from plumbline_analysis.notifications.schemas import (
    AlertPage,
    AlertResponse,
    AlertState,
    DeliveryPage,
    DeliveryResponse,
    DeliveryState,
    DeliveryTest,
    Matchers,
    SilenceContent,
    SilencePage,
    SilenceResponse,
    SilenceState,
    TargetContent,
    TargetPage,
    TargetResponse,
)
from plumbline_analysis.notifications.sending import Sender, tried
from plumbline_common import db
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Invalid
from plumbline_common.outgoing import Targets
from plumbline_common.preconditions import check_match
from plumbline_common.schemas import Severity

MOST_TARGETS = 200


async def page(session: AsyncSession, name: str | None, skip: int, limit: int) -> TargetPage:
    rows, total = await repository.targets_page(session, name, skip, limit)
    return TargetPage(items=[_shown(row) for row in rows], total=total)


async def one(session: AsyncSession, id: UUID) -> TargetResponse:
    return _shown(await repository.target(session, id))


async def create(session: AsyncSession, content: TargetContent, actor: UserInfo, allowed: Targets) -> TargetResponse:
    """Raises `TargetExists`, `TooManyTargets` and `AddressNotAllowed`."""
    _check_address(content, allowed)
    if await repository.count_targets(session) >= MOST_TARGETS:
        raise rules.TooManyTargets(f"there may be {MOST_TARGETS}")
    now = datetime.now(UTC)
    made = await repository.add_target(
        session,
        id=db.new_id(),
        name=content.name,
        enabled=content.enabled,
        content=content.model_dump(mode="json"),
        revision=1,
        created_at=now,
        created_by=actor.subject,
        updated_at=now,
        updated_by=actor.subject,
    )
    if made is None:
        raise rules.TargetExists(f"change {content.name}, or take another name", pointer="/name")
    return _shown(made)


async def replace(
    session: AsyncSession,
    id: UUID,
    content: TargetContent,
    if_match: str | None,
    actor: UserInfo,
    allowed: Targets,
) -> TargetResponse:
    """What it was told goes on to count. Raises as `create` does, `Stale` and `PreconditionMissing`."""
    target = await repository.target(session, id, lock=True)
    check_match(target.revision, if_match)
    _check_address(content, allowed)
    if await repository.is_taken(session, content.name, id):
        raise rules.TargetExists("take another name", pointer="/name")
    target.name, target.enabled, target.content = content.name, content.enabled, content.model_dump(mode="json")
    target.disabled_reason = None
    target.revision += 1
    target.updated_at, target.updated_by = datetime.now(UTC), actor.subject
    return _shown(target)


async def delete(session: AsyncSession, id: UUID, if_match: str | None) -> None:
    """Raises `Stale` and `PreconditionMissing`."""
    target = await repository.target(session, id, lock=True)
    check_match(target.revision, if_match)
    await repository.remove_target(session, target)


async def test(target: TargetResponse, sender: Sender, external_url: str) -> DeliveryTest:
    """Send one message now, past the queue, and tell what the receiver makes of it."""
    now = datetime.now(UTC)
    id = db.new_id()
    content = TargetContent.model_validate(target.model_dump(include=set(TargetContent.model_fields)))
    group = {"alertname": "PlumblineTest"}
    body = payloads.body(content.format, id, content.name, group, [_trial(target, now)], external_url, now)
    outcome, seconds = await tried(sender, content, id, body, now)
    return DeliveryTest(
        delivered=outcome.error is None, status=outcome.status, error=outcome.error, seconds=round(seconds, 3)
    )


def _trial(target: TargetResponse, now: datetime) -> Alert:
    return Alert(
        fingerprint=fingerprint("test", str(target.id)),
        event="incident.opened",
        firing=True,
        severity=Severity.INFO,
        labels={"alertname": "PlumblineTest", "severity": Severity.INFO},
        annotations={"summary": "A test: notifications reach you", "description": "Nothing has happened."},
        starts_at=now,
        ends_at=None,
        path=f"/api/v1/notification-targets/{target.id}",
        services=[],
        teams=[],
        requirement_ids=[],
        named=[],
        data={},
    )


async def alerts(session: AsyncSession, target_id: UUID, skip: int, limit: int) -> AlertPage:
    """Raises `NotFound` where there is no such target."""
    await repository.target(session, target_id)
    rows, total = await repository.alerts_page(session, target_id, skip, limit)
    return AlertPage(items=[_alert(row) for row in rows], total=total)


def _alert(row: NotificationAlert) -> AlertResponse:
    alert = Alert.model_validate(row.alert)
    state = AlertState.FIRING if row.firing else AlertState.RESOLVED
    return AlertResponse(
        fingerprint=row.fingerprint,
        group_key=row.group_key,
        state=AlertState.SILENCED if row.silenced else state,
        severity=alert.severity,
        summary=alert.annotations["summary"],
        labels=alert.labels,
        starts_at=alert.starts_at,
        ends_at=alert.ends_at,
        told=row.version == row.told_version,
    )


# --- Deliveries -----------------------------------------------------------------------------------------


async def deliveries(
    session: AsyncSession, target_id: UUID, state: DeliveryState | None, skip: int, limit: int
) -> DeliveryPage:
    """Raises `NotFound` where there is no such target."""
    await repository.target(session, target_id)
    rows, total = await repository.deliveries_page(session, target_id, state, skip, limit)
    return DeliveryPage(items=[DeliveryResponse.model_validate(row) for row in rows], total=total)


async def retry(session: AsyncSession, target_id: UUID, id: UUID) -> DeliveryResponse:
    """Try it now, and for another day where that fails. Raises `AlreadyDelivered`."""
    delivery: NotificationDelivery = await repository.delivery(session, target_id, id)
    if delivery.state == DeliveryState.DELIVERED:
        raise rules.AlreadyDelivered("only what is pending or dead can be tried again")
    now = datetime.now(UTC)
    delivery.state, delivery.ended_at = DeliveryState.PENDING, None
    delivery.next_try, delivery.expires_at = now, now + rules.KEEP_TRYING
    return DeliveryResponse.model_validate(delivery)


# --- Silences -------------------------------------------------------------------------------------------


async def silences(session: AsyncSession, state: SilenceState | None, skip: int, limit: int) -> SilencePage:
    now = datetime.now(UTC)
    rows, total = await repository.silences_page(session, state, now, skip, limit)
    return SilencePage(items=[_silence(row, now) for row in rows], total=total)


async def silence(session: AsyncSession, content: SilenceContent, actor: UserInfo) -> SilenceResponse:
    """Raises `Invalid` for one that is over already."""
    now = datetime.now(UTC)
    if content.ends_at <= now:
        raise Invalid("must lie ahead", pointer="/ends_at")
    made = Silence(
        id=db.new_id(),
        matchers=content.matchers.model_dump(mode="json"),
        starts_at=content.starts_at or now,
        ends_at=content.ends_at,
        comment=content.comment,
        created_at=now,
        created_by=actor.subject,
    )
    session.add(made)
    return _silence(made, now)


async def end_silence(session: AsyncSession, id: UUID) -> None:
    """At once; what it held back and goes on is told. One that is over stays so."""
    found = await repository.silence(session, id)
    now = datetime.now(UTC)
    if found.ends_at > now:
        found.starts_at, found.ends_at = min(found.starts_at, now), now
        await repository.look_again(session, now)


def _silence(row: Silence, now: datetime) -> SilenceResponse:
    if row.ends_at <= now:
        state = SilenceState.EXPIRED
    else:
        state = SilenceState.ACTIVE if row.starts_at <= now else SilenceState.PENDING
    return SilenceResponse(
        id=row.id,
        state=state,
        matchers=Matchers.model_validate(row.matchers),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        comment=row.comment,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _check_address(content: TargetContent, allowed: Targets) -> None:
    if (fault := allowed.fault(urlsplit(content.url).hostname or "")) is not None:
        raise rules.AddressNotAllowed(fault, pointer="/url")


def _shown(row: NotificationTarget) -> TargetResponse:
    return TargetResponse(
        **row.content | {"enabled": row.enabled},
        id=row.id,
        disabled_reason=row.disabled_reason,
        revision=row.revision,
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
    )
