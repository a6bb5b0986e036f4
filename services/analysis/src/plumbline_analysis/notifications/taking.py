"""From events to messages: alerts as each target knows them, and the groups that are told when they are due."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import (
    NotificationAlert,
    NotificationDelivery,
    NotificationGroup,
    NotificationTarget,
    WatchedRequirement,
)
from plumbline_analysis.notifications import alerts, payloads, repository, rules
from plumbline_analysis.notifications.alerts import Alert, Requirement
from plumbline_analysis.notifications.rules import Pace, Plan
from plumbline_analysis.notifications.schemas import DeliveryState, Matchers, TargetContent
from plumbline_analysis.threads import sized
from plumbline_common import db, events
from plumbline_common.events import Event

TOLD = {kind.subject for kind in alerts.TOLD}
_AT_ONCE = 50
"""So many groups are looked at in one transaction."""
_WORK = 50
"""An alert costs as much as so many points."""


def read(logged: Iterable[repository.Logged]) -> list[tuple[Event, datetime]]:
    """Those that are told of, with the times that they were staged."""
    kinds = events.registry()
    return [
        (kinds[each.subject].model_validate_json(each.data), each.created_at)
        for each in logged
        if each.data is not None
    ]


async def take(session: AsyncSession, told: Sequence[tuple[Event, datetime]], now: datetime) -> None:
    """Bring the alerts of every target up to what the events tell, and plan when their groups are looked at."""
    targets = [(each.id, content_of(each)) for each in await repository.targets(session)]
    if not targets or not told:
        return
    ids = {id for event, _ in told for id in alerts.requirement_ids(event)}
    requirements = {row.id: _requirement(row) for row in await repository.requirements(session, ids)}
    found = [alerts.of(event, at, requirements) for event, at in told]
    known = await repository.alerts(session, [each.fingerprint for each in found])
    changed: list[NotificationAlert] = []
    for alert in found:
        for id, target in targets:
            row = known.get((id, alert.fingerprint))
            if row is not None and (row.firing or alert.firing):
                _follow(row, alert, target, now)
            elif row is None and rules.begins(alert, target):
                row = known[id, alert.fingerprint] = _begun(id, alert, target, now)
                session.add(row)
            else:
                continue
            changed.append(row)
    await _plan(session, changed, dict(targets), now)


async def withdraw(session: AsyncSession, now: datetime) -> None:
    """End the alerts of requirements that are not in force any more."""
    abandoned = await repository.abandoned(session)
    if not abandoned:
        return
    targets = {each.id: content_of(each) for each in await repository.targets(session)}
    for row in abandoned:
        row.alert = row.alert | {"firing": False, "ends_at": now.isoformat()}
        row.firing, row.changed_at = False, now
        if targets[row.target_id].send_resolved:
            row.version += 1
        else:
            row.told_firing = False
    await _plan(session, abandoned, targets, now)


def _begun(target_id: UUID, alert: Alert, target: TargetContent, now: datetime) -> NotificationAlert:
    return NotificationAlert(
        target_id=target_id,
        fingerprint=alert.fingerprint,
        group_key=rules.group_key(rules.group_labels(alert.labels, target.group_by)),
        requirement_id=None if alert.event.startswith("incident") else alert.requirement_ids[0],
        alert=alert.model_dump(mode="json"),
        firing=True,
        version=1,
        told_version=0,
        told_firing=False,
        silenced=False,
        changed_at=now,
    )


def _follow(row: NotificationAlert, alert: Alert, target: TargetContent, now: datetime) -> None:
    before = Alert.model_validate(row.alert)
    kept: dict[str, Any] = {}
    if before.firing:
        kept["starts_at"] = before.starts_at
    if not alert.firing:
        # It ends as what it was: receivers know it by its labels.
        kept |= {"labels": before.labels, "severity": before.severity}
    after = alert.model_copy(update=kept)
    row.alert = after.model_dump(mode="json")
    row.firing, row.changed_at = after.firing, now
    if rules.is_news(after, target):
        row.version += 1
    elif not after.firing:
        row.told_firing = False
    row.group_key = rules.group_key(rules.group_labels(after.labels, target.group_by))


async def _plan(
    session: AsyncSession, changed: Sequence[NotificationAlert], targets: Mapping[UUID, TargetContent], now: datetime
) -> None:
    """When the groups of what changed are looked at."""
    groups = await repository.groups(session, {(row.target_id, row.group_key) for row in changed})
    for row in changed:
        place = (row.target_id, row.group_key)
        target = targets[row.target_id]
        if place not in groups:
            labels = rules.group_labels(row.alert["labels"], target.group_by)
            groups[place] = NotificationGroup(target_id=row.target_id, key=row.group_key, labels=labels)
            session.add(groups[place])
        group = groups[place]
        group.flush_at = _pace(target).due(group.flush_at, group.told_at, now)


async def tell(session: AsyncSession, now: datetime, external_url: str) -> int:
    """Write the messages that are due, at most for `_AT_ONCE` groups. How many groups were looked at."""
    due = await repository.due(session, now, _AT_ONCE)
    if not due:
        return 0
    holding = await repository.silences(session, now)
    silences = [(Matchers.model_validate(each.matchers), each.ends_at) for each in holding]
    members = await repository.members(session, [group for group, _ in due])
    for group, target in due:
        rows = members[group.target_id, group.key]
        found = await sized(_WORK * len(rows), _decide, group, rows, content_of(target), silences, now, external_url)
        if found.message is not None:
            session.add(found.message)
            group.told_at = now
        await _settle(session, group, rows, found)
    return len(due)


@dataclass(frozen=True)
class _Decision:
    plan: Plan
    silent: Mapping[int, datetime]
    message: NotificationDelivery | None


def _decide(
    group: NotificationGroup,
    rows: Sequence[NotificationAlert],
    target: TargetContent,
    silences: Sequence[tuple[Matchers, datetime]],
    now: datetime,
    external_url: str,
) -> _Decision:
    told = [Alert.model_validate(row.alert) for row in rows]
    silent = {
        place: until
        for place, alert in enumerate(told)
        if (until := rules.silenced_until(alert, silences)) is not None
    }
    plan = rules.plan(rows, silent, group.told_at, _pace(target), now)
    chosen = [told[place] for place in plan.tell]
    return _Decision(plan, silent, _message(group, target, chosen, external_url, now) if chosen else None)


async def _settle(
    session: AsyncSession,
    group: NotificationGroup,
    rows: Sequence[NotificationAlert],
    found: _Decision,
) -> None:
    plan = found.plan
    for place in plan.tell:
        rows[place].told_version, rows[place].told_firing = rows[place].version, rows[place].firing
    for place, row in enumerate(rows):
        row.silenced = place in found.silent
    for place in plan.over:
        await session.delete(rows[place])
    if len(plan.over) == len(rows):
        await session.delete(group)
    else:
        group.flush_at = plan.next_look


def _message(
    group: NotificationGroup, target: TargetContent, told: Sequence[Alert], external_url: str, now: datetime
) -> NotificationDelivery:
    id = db.new_id()
    return NotificationDelivery(
        id=id,
        target_id=group.target_id,
        group_key=group.key,
        state=DeliveryState.PENDING,
        body=payloads.body(target.format, id, target.name, group.labels, told, external_url, now),
        alerts=len(told),
        attempts=0,
        next_try=now,
        expires_at=now + rules.KEEP_TRYING,
        created_at=now,
    )


def content_of(target: NotificationTarget) -> TargetContent:
    return TargetContent.model_validate(target.content)


def _pace(target: TargetContent) -> Pace:
    seconds = (target.group_wait_seconds, target.group_interval_seconds, target.repeat_interval_seconds)
    return Pace(*(timedelta(seconds=each) for each in seconds))


def _requirement(row: WatchedRequirement) -> Requirement:
    targets = {slo["name"]: frozenset(_named(slo.get("alertPolicies") or ())) for slo in row.slos}
    return Requirement(row.key, row.title, row.service, row.owner_team, targets)


def _named(policies: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The targets of the policies that an SLO holds itself; of one that it only refers to, nothing is known here."""
    for policy in policies:
        for target in (policy.get("spec") or {}).get("notificationTargets") or ():
            yield target.get("targetRef") or target["metadata"]["name"]
