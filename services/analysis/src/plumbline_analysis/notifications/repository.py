"""The SQL of notifications: targets, alerts as each target knows them, groups, deliveries and silences."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import (
    NotificationAlert,
    NotificationDelivery,
    NotificationGroup,
    NotificationTarget,
    Silence,
    WatchedRequirement,
)
from plumbline_analysis.notifications.schemas import DeliveryState, SilenceState
from plumbline_common.errors import NotFound

# --- The log of events ------------------------------------------------------------------------------------


class Logged(NamedTuple):
    position: int
    subject: str
    data: str | None
    """Of the subjects that were asked for."""
    created_at: datetime


_BEGIN = text(
    "INSERT INTO notification_cursor (id, position)"
    " SELECT 1, coalesce(max(sequenced), 0) FROM outbox_producer ON CONFLICT DO NOTHING"
)
_CURSOR = text("SELECT position FROM notification_cursor WHERE id = 1 FOR UPDATE SKIP LOCKED")
_LOG = text(
    "SELECT position, subject, CASE WHEN subject = ANY(:subjects) THEN data END, created_at FROM outbox"
    " WHERE position > :after ORDER BY position LIMIT :limit"
)
_REACHED = text("UPDATE notification_cursor SET position = :position WHERE id = 1")


async def begin(session: AsyncSession) -> None:
    """Tell of what comes from now on, where nothing was ever told."""
    await session.execute(_BEGIN)


async def turn(session: AsyncSession) -> int | None:
    """How far the log was read, which nobody else reads until the transaction ends; None where somebody does."""
    return (await session.execute(_CURSOR)).scalar_one_or_none()


async def logged(session: AsyncSession, after: int, subjects: Collection[str], limit: int) -> list[Logged]:
    """Positions are gapless and become visible in their order: what is not read now comes later."""
    rows = await session.execute(_LOG, {"after": after, "subjects": list(subjects), "limit": limit})
    return [Logged(*row) for row in rows]


async def reach(session: AsyncSession, position: int) -> None:
    await session.execute(_REACHED, {"position": position})


async def requirements(session: AsyncSession, ids: Collection[UUID]) -> Sequence[WatchedRequirement]:
    return (await session.scalars(select(WatchedRequirement).where(WatchedRequirement.id.in_(ids)))).all()


# --- Targets --------------------------------------------------------------------------------------------


async def targets(session: AsyncSession) -> Sequence[NotificationTarget]:
    return (await session.scalars(select(NotificationTarget).order_by(NotificationTarget.name))).all()


async def targets_page(
    session: AsyncSession, name: str | None, skip: int, limit: int
) -> tuple[Sequence[NotificationTarget], int]:
    """By name, and how many there are in all."""
    wanted = [] if name is None else [NotificationTarget.name == name]
    total = await session.scalar(select(func.count()).select_from(NotificationTarget).where(*wanted))
    rows = await session.scalars(
        select(NotificationTarget).where(*wanted).order_by(NotificationTarget.name).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


async def target(session: AsyncSession, id: UUID, *, lock: bool = False) -> NotificationTarget:
    """Raises `NotFound`. A lock is held until the transaction ends."""
    found = await session.get(NotificationTarget, id, with_for_update=lock or None, populate_existing=lock)
    if found is None:
        raise NotFound(f"no notification target has the id {id}")
    return found


async def count_targets(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(NotificationTarget)) or 0


async def add_target(session: AsyncSession, **members: Any) -> NotificationTarget | None:
    """None where one has its name."""
    statement = insert(NotificationTarget).values(**members).on_conflict_do_nothing().returning(NotificationTarget)
    return (await session.scalars(statement)).one_or_none()


async def is_taken(session: AsyncSession, name: str, by_other_than: UUID) -> bool:
    return bool(
        await session.scalar(
            select(exists().where(NotificationTarget.name == name, NotificationTarget.id != by_other_than))
        )
    )


async def remove_target(session: AsyncSession, target: NotificationTarget) -> None:
    """With all that it was to be told."""
    await session.delete(target)
    await session.flush()


# --- Alerts and groups ----------------------------------------------------------------------------------


async def alerts(session: AsyncSession, fingerprints: Collection[str]) -> dict[tuple[UUID, str], NotificationAlert]:
    """By target and fingerprint."""
    rows = await session.scalars(
        select(NotificationAlert).where(NotificationAlert.fingerprint.in_(set(fingerprints)))
    )
    return {(row.target_id, row.fingerprint): row for row in rows}


async def alerts_page(
    session: AsyncSession, target_id: UUID, skip: int, limit: int
) -> tuple[Sequence[NotificationAlert], int]:
    """Those that the target knows, the latest changed first, and how many there are in all."""
    wanted = NotificationAlert.target_id == target_id
    total = await session.scalar(select(func.count()).select_from(NotificationAlert).where(wanted))
    order = (NotificationAlert.changed_at.desc(), NotificationAlert.fingerprint)
    rows = await session.scalars(select(NotificationAlert).where(wanted).order_by(*order).offset(skip).limit(limit))
    return rows.all(), total or 0


async def groups(
    session: AsyncSession, keys: Collection[tuple[UUID, str]]
) -> dict[tuple[UUID, str], NotificationGroup]:
    """By target and key."""
    rows = await session.scalars(
        select(NotificationGroup)
        .where(tuple_(NotificationGroup.target_id, NotificationGroup.key).in_(list(keys)))
        .with_for_update()
    )
    return {(row.target_id, row.key): row for row in rows}


async def abandoned(session: AsyncSession) -> Sequence[NotificationAlert]:
    """Those that go on and are of requirements that production is not held against any more: no event ends them."""
    rows = await session.scalars(
        select(NotificationAlert).where(
            NotificationAlert.firing,
            NotificationAlert.requirement_id.is_not(None),
            ~exists().where(
                WatchedRequirement.id == NotificationAlert.requirement_id,
                WatchedRequirement.in_force,
                ~WatchedRequirement.deleted,
            ),
        )
    )
    return rows.all()


async def due(
    session: AsyncSession, now: datetime, limit: int
) -> Sequence[tuple[NotificationGroup, NotificationTarget]]:
    """The groups to look at now, the longest due first. While a message of a group waits to be delivered, its news
    gathers: a receiver that comes back hears what is then, not each thing that was."""
    waiting = exists().where(
        NotificationDelivery.target_id == NotificationGroup.target_id,
        NotificationDelivery.group_key == NotificationGroup.key,
        NotificationDelivery.state == DeliveryState.PENDING,
    )
    rows = await session.execute(
        select(NotificationGroup, NotificationTarget)
        .join(NotificationTarget, NotificationTarget.id == NotificationGroup.target_id)
        .where(NotificationGroup.flush_at <= now, NotificationTarget.enabled, ~waiting)
        .order_by(NotificationGroup.flush_at)
        .limit(limit)
        .with_for_update(of=NotificationGroup)
    )
    return [(group, target) for group, target in rows]


async def members(
    session: AsyncSession, groups: Iterable[NotificationGroup]
) -> Mapping[tuple[UUID, str], list[NotificationAlert]]:
    """The alerts of each group, by target and key, the first changed first."""
    found: dict[tuple[UUID, str], list[NotificationAlert]] = {(each.target_id, each.key): [] for each in groups}
    rows = await session.scalars(
        select(NotificationAlert)
        .where(tuple_(NotificationAlert.target_id, NotificationAlert.group_key).in_(list(found)))
        .order_by(NotificationAlert.changed_at, NotificationAlert.fingerprint)
    )
    for row in rows:
        found[row.target_id, row.group_key].append(row)
    return found


async def look_again(session: AsyncSession, now: datetime) -> None:
    """At the groups that hold something silenced: a silence has changed."""
    silenced = exists().where(
        NotificationAlert.target_id == NotificationGroup.target_id,
        NotificationAlert.group_key == NotificationGroup.key,
        NotificationAlert.silenced,
    )
    await session.execute(update(NotificationGroup).where(silenced).values(flush_at=now))


# --- Deliveries -----------------------------------------------------------------------------------------


class Claimed(NamedTuple):
    """A delivery that this process may try until its lease ends. `attempts` counts this one."""

    id: UUID
    target_id: UUID
    body: str
    attempts: int
    expires_at: datetime


_CLAIM = text(
    "WITH free AS (SELECT d.id, row_number() OVER (PARTITION BY d.target_id ORDER BY d.id) AS place, d.target_id"
    "  FROM notification_deliveries d JOIN notification_targets t ON t.id = d.target_id AND t.enabled"
    "  WHERE d.state = 'pending' AND d.next_try <= :now AND (d.leased_until IS NULL OR d.leased_until < :now)),"
    " busy AS (SELECT target_id, count(*) AS number FROM notification_deliveries"
    "  WHERE state = 'pending' AND leased_until >= :now GROUP BY target_id)"
    " UPDATE notification_deliveries d SET leased_until = :until, attempts = attempts + 1"
    " WHERE d.id IN (SELECT free.id FROM free LEFT JOIN busy USING (target_id)"
    "   WHERE place <= :each - coalesce(number, 0) ORDER BY place, free.id LIMIT :most)"
    "  AND d.state = 'pending' AND (d.leased_until IS NULL OR d.leased_until < :now)"
    " RETURNING d.id, d.target_id, d.body, d.attempts, d.expires_at"
)


async def claim(session: AsyncSession, now: datetime, lease: timedelta, each: int, most: int) -> list[Claimed]:
    """Take what is due: `each` at a time of a target over all processes, and `most` in all. Two that ask at once
    never get the same one: an update looks again after it has waited for another's."""
    rows = await session.execute(_CLAIM, {"now": now, "until": now + lease, "each": each, "most": most})
    return [Claimed(*row) for row in rows]


async def end_try(session: AsyncSession, claimed: Claimed, **values: Any) -> bool:
    """Write down what came of it; False where it was taken over or ended meanwhile."""
    changed = await session.execute(
        update(NotificationDelivery)
        .where(
            NotificationDelivery.id == claimed.id,
            NotificationDelivery.attempts == claimed.attempts,
            NotificationDelivery.state == DeliveryState.PENDING,
        )
        .values(leased_until=None, **values)
        .returning(NotificationDelivery.id)
    )
    return changed.first() is not None


async def oldest_pending(session: AsyncSession) -> datetime | None:
    return await session.scalar(
        select(func.min(NotificationDelivery.created_at)).where(NotificationDelivery.state == DeliveryState.PENDING)
    )


async def deliveries_page(
    session: AsyncSession, target_id: UUID, state: DeliveryState | None, skip: int, limit: int
) -> tuple[Sequence[NotificationDelivery], int]:
    """The latest first, and how many there are in all."""
    wanted: list[ColumnElement[bool]] = [NotificationDelivery.target_id == target_id]
    if state is not None:
        wanted.append(NotificationDelivery.state == state)
    total = await session.scalar(select(func.count()).select_from(NotificationDelivery).where(*wanted))
    rows = await session.scalars(
        select(NotificationDelivery).where(*wanted).order_by(NotificationDelivery.id.desc()).offset(skip).limit(limit)
    )
    return rows.all(), total or 0


async def delivery(session: AsyncSession, target_id: UUID, id: UUID) -> NotificationDelivery:
    """Held until the transaction ends. Raises `NotFound`."""
    found = await session.get(NotificationDelivery, id, with_for_update=True, populate_existing=True)
    if found is None or found.target_id != target_id:
        raise NotFound(f"the notification target {target_id} has no delivery of the id {id}")
    return found


# --- Silences -------------------------------------------------------------------------------------------


def _in_state(state: SilenceState, now: datetime) -> ColumnElement[bool]:
    match state:
        case SilenceState.PENDING:
            return and_(Silence.starts_at > now, Silence.ends_at > now)
        case SilenceState.ACTIVE:
            return and_(Silence.starts_at <= now, Silence.ends_at > now)
        case SilenceState.EXPIRED:
            return Silence.ends_at <= now


async def silences(session: AsyncSession, now: datetime) -> Sequence[Silence]:
    """Those that hold now."""
    return (await session.scalars(select(Silence).where(_in_state(SilenceState.ACTIVE, now)))).all()


async def silences_page(
    session: AsyncSession, state: SilenceState | None, now: datetime, skip: int, limit: int
) -> tuple[Sequence[Silence], int]:
    """The latest first, and how many there are in all."""
    wanted = [] if state is None else [_in_state(state, now)]
    total = await session.scalar(select(func.count()).select_from(Silence).where(*wanted))
    rows = await session.scalars(select(Silence).where(*wanted).order_by(Silence.id.desc()).offset(skip).limit(limit))
    return rows.all(), total or 0


async def silence(session: AsyncSession, id: UUID) -> Silence:
    """Held until the transaction ends. Raises `NotFound`."""
    found = await session.get(Silence, id, with_for_update=True, populate_existing=True)
    if found is None:
        raise NotFound(f"no silence has the id {id}")
    return found


async def forget(session: AsyncSession, before: datetime) -> None:
    """Deliveries and silences that ended before then."""
    await session.execute(delete(NotificationDelivery).where(NotificationDelivery.ended_at < before))
    await session.execute(delete(Silence).where(Silence.ends_at < before))
