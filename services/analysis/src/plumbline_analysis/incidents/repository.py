"""The SQL of incidents."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.incidents.grouping import Member
from plumbline_analysis.incidents.rules import ONGOING, Part
from plumbline_analysis.incidents.schemas import IncidentSort, TimelineEntry
from plumbline_analysis.models import Anomaly, Deployment, Incident, IncidentEntry
from plumbline_analysis.threads import sized
from plumbline_common import db
from plumbline_common.errors import NotFound
from plumbline_common.schemas import AnomalyState, IncidentState, Severity

WORK = 5
"""An anomaly costs as much as so many points."""
_IN_TURN = text("SELECT pg_advisory_xact_lock(hashtext('incidents of ' || current_user))")


async def in_turn(session: AsyncSession) -> None:
    """Who changes incidents waits here for who does: a merge concerns several, whichever the other one holds."""
    await session.execute(_IN_TURN)


async def one(session: AsyncSession, id: UUID) -> Incident:
    """Raises `NotFound`."""
    if (found := await session.get(Incident, id)) is None:
        raise NotFound(f"no incident has the id {id}")
    return found


async def several(session: AsyncSession, ids: Collection[UUID]) -> dict[UUID, Incident]:
    rows = await session.scalars(select(Incident).where(Incident.id.in_(ids)))
    return {each.id: each for each in rows}


async def page(
    session: AsyncSession,
    state: IncidentState | None,
    service: str | None,
    requirement_id: UUID | None,
    anomaly_id: UUID | None,
    since: datetime | None,
    until: datetime | None,
    sort: IncidentSort,
    skip: int,
    limit: int,
) -> tuple[Sequence[Incident], int]:
    """One page of those that began in [since, until), by onset, and how many there are in all."""
    wanted: list[ColumnElement[bool]] = []
    if state is not None:
        wanted.append(Incident.state == state)
    if service is not None:
        wanted.append(Incident.services.contains([service]))
    if requirement_id is not None:
        wanted.append(Incident.requirement_ids.contains([requirement_id]))
    if anomaly_id is not None:
        wanted.append(Incident.id.in_(select(Anomaly.incident_id).where(Anomaly.id == anomaly_id)))
    if since is not None:
        wanted.append(Incident.onset >= since)
    if until is not None:
        wanted.append(Incident.onset < until)
    newest = sort is IncidentSort.NEWEST
    order = (Incident.onset.desc(), Incident.id.desc()) if newest else (Incident.onset, Incident.id)
    total = (await session.execute(select(func.count()).select_from(Incident).where(*wanted))).scalar_one()
    rows = await session.scalars(select(Incident).where(*wanted).order_by(*order).offset(skip).limit(limit))
    return rows.all(), total


async def calm(session: AsyncSession, before: datetime) -> Sequence[Incident]:
    """The ongoing incidents whose last anomaly was over then."""
    rows = await session.scalars(
        select(Incident)
        .where(Incident.state.in_(ONGOING), Incident.quiet_since <= before)
        .order_by(Incident.onset, Incident.id)
    )
    return rows.all()


# --- Their anomalies ------------------------------------------------------------------------------------


async def ungrouped(session: AsyncSession, most: int) -> Sequence[Anomaly]:
    """The anomalies that came or changed since they were grouped, the earliest onset first, locked. What a backfill
    found is history, and nobody's incident."""
    rows = await session.scalars(
        select(Anomaly)
        .where(Anomaly.grouped_revision.is_distinct_from(Anomaly.revision), Anomaly.backfill_job_id.is_(None))
        .order_by(Anomaly.onset, Anomaly.id)
        .limit(most)
        .with_for_update()
    )
    return rows.all()


_MEMBERS = (
    'SELECT a.id, signal_id, service, requirement_id, a.onset, least(a."end", resolved_at), incident_id'
    " FROM anomalies AS a JOIN incidents AS i ON i.id = incident_id"
    " WHERE a.state <> 'false_positive' AND coalesce(least(a.\"end\", resolved_at), 'infinity') >= $1"
    " ORDER BY a.onset DESC, a.id DESC LIMIT $2"
)


async def members(session: AsyncSession, since: datetime, most: int) -> list[Member]:
    """The anomalies of incidents that went on at `since` or later, at most the latest `most`.

    What a person resolved is over then, whatever its anomalies do.
    """
    rows = await db.fetch(session, _MEMBERS, since, most)
    return await sized(WORK * len(rows), lambda: [Member(*row) for row in rows])


_PARTS = (
    'SELECT incident_id, id, service, requirement_id, state, severity, onset, "end", peak_score, title,'
    " coalesce(explanation->>'sentence', title), coalesce(log->>'template', log->>'examples')"
    " FROM anomalies WHERE incident_id = ANY($1)"
)


async def parts(session: AsyncSession, incidents: Sequence[UUID]) -> dict[UUID, list[Part]]:
    """What the anomalies of each incident tell."""
    await session.flush()
    rows = await db.fetch(session, _PARTS, incidents)
    return await sized(WORK * len(rows), _parts, rows)


def _parts(rows: Iterable[Any]) -> dict[UUID, list[Part]]:
    found: dict[UUID, list[Part]] = defaultdict(list)
    for incident_id, id, service, requirement_id, state, severity, *others in rows:
        told = Part(id, service, requirement_id, AnomalyState(state), Severity(severity), *others)
        found[incident_id].append(told)
    return found


async def move(session: AsyncSession, anomalies: Collection[UUID], to: UUID) -> None:
    """Let the anomalies belong to another incident."""
    # In the order in which evaluations lock them, so that neither waits for the other in turn.
    ordered = select(Anomaly.id).where(Anomaly.id.in_(anomalies)).order_by(Anomaly.onset, Anomaly.id)
    await session.execute(ordered.with_for_update())
    await session.execute(update(Anomaly).where(Anomaly.id.in_(anomalies)).values(incident_id=to))


async def ids_of(session: AsyncSession, incident_id: UUID) -> set[UUID]:
    return set(await session.scalars(select(Anomaly.id).where(Anomaly.incident_id == incident_id)))


async def anomalies(session: AsyncSession, incident_id: UUID, skip: int, limit: int) -> tuple[Sequence[Anomaly], int]:
    """One page of an incident's anomalies, the first first, and how many there are."""
    of_it = Anomaly.incident_id == incident_id
    total = (await session.execute(select(func.count()).select_from(Anomaly).where(of_it))).scalar_one()
    order = (Anomaly.onset, Anomaly.id)
    rows = await session.scalars(select(Anomaly).where(of_it).order_by(*order).offset(skip).limit(limit))
    return rows.all(), total


async def deployed(
    session: AsyncSession, services: Collection[str], since: datetime, until: datetime
) -> Sequence[Deployment]:
    """What was deployed of the services in [since, until], the latest first."""
    rows = await session.scalars(
        select(Deployment)
        .where(Deployment.service.in_(services), Deployment.deployed_at.between(since, until))
        .order_by(Deployment.deployed_at.desc(), Deployment.id.desc())
        .limit(1000)
    )
    return rows.all()


# --- What happened to them ------------------------------------------------------------------------------


_TOLD = (
    "WITH RECURSIVE one AS (SELECT id FROM incidents WHERE id = :id"
    "  UNION SELECT incidents.id FROM incidents JOIN one ON incidents.merged_into = one.id),"
    " span AS (SELECT onset - CAST(:before AS interval) AS start, coalesce(resolved_at, now()) AS stop,"
    "   services, requirement_ids FROM incidents WHERE id = :id),"
    " told AS ("
    "  SELECT at, kind, text, actor, NULL AS service, other_id AS id, 2 AS place"
    "   FROM incident_entries WHERE incident_id IN (SELECT id FROM one)"
    "  UNION ALL SELECT onset, 'anomaly_began', title, NULL, service, id, 1"
    "   FROM anomalies WHERE incident_id = :id"
    "  UNION ALL SELECT \"end\", 'anomaly_ended', title, NULL, service, id, 1"
    '   FROM anomalies WHERE incident_id = :id AND "end" IS NOT NULL'
    "  UNION ALL SELECT deployed_at, 'deployment', service || ' ' || version || ' was deployed', recorded_by,"
    "   service, deployments.id, 0 FROM deployments, span"
    "   WHERE service = ANY(services) AND deployed_at BETWEEN start AND stop"
    "  UNION ALL SELECT changed_at, 'verdict_changed', state || ': ' || (verdict->>'reason'), NULL, NULL,"
    "   requirement_id, 1 FROM verdicts, span"
    "   WHERE requirement_id = ANY(requirement_ids) AND changed_at BETWEEN start AND stop)"
)
_TIMELINE = text(
    f"{_TOLD} SELECT at, kind, text, actor, service, id FROM told"  # noqa: S608 - own names
    " ORDER BY at, place, kind, id OFFSET :skip LIMIT :limit"
)
_TIMELINE_TOTAL = text(f"{_TOLD} SELECT count(*) FROM told")  # noqa: S608 - own names


async def timeline(
    session: AsyncSession, id: UUID, before: timedelta, skip: int, limit: int
) -> tuple[list[TimelineEntry], int]:
    """One page of what happened to it and around it, the earliest first, and how much there is.

    Deployments count from `before` its onset on, verdicts until it was resolved.
    """
    asked = {"id": id, "before": before}
    total = (await session.execute(_TIMELINE_TOTAL, asked)).scalar_one()
    rows = await session.execute(_TIMELINE, asked | {"skip": skip, "limit": limit})
    return [TimelineEntry.model_validate(row) for row in rows], total


def add_entry(
    session: AsyncSession,
    incident_id: UUID,
    at: datetime,
    kind: str,
    text: str,
    actor: str | None = None,
    other_id: UUID | None = None,
) -> None:
    """Write down what happened to an incident. `other_id` is the one that it was merged with or split from."""
    session.add(
        IncidentEntry(
            id=db.new_id(), incident_id=incident_id, at=at, kind=kind, text=text, actor=actor, other_id=other_id
        )
    )
