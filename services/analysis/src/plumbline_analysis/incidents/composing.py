"""What an incident says, composed of its anomalies, of what was deployed before them, and of the service graph."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.incidents import ranking, repository, rules
from plumbline_analysis.incidents.ranking import Candidate, Deployed
from plumbline_analysis.incidents.rules import Part
from plumbline_analysis.models import Deployment, Incident
from plumbline_analysis.threads import sized
from plumbline_common.schemas import Comment, IncidentAnomaly, IncidentSnapshot

MOST_ANOMALIES = 20
MOST_ORIGINS = 5
MOST_COMMENTS = 20
MOST_SERVICES = 500
"""So many services, and requirements, are named: an event has a largest size."""

Callees = Mapping[str, Collection[str]]
_TOLD = ("severity", "title", "services", "requirement_ids", "onset", "quiet_since", "anomaly_count")


async def compose(
    session: AsyncSession, incidents: Sequence[Incident], callees: Callees, within: timedelta
) -> dict[Incident, list[Part]]:
    """Let the incidents say what their anomalies tell now, and give these.

    A deployment counts that came `within` that time before an onset.
    """
    parts = await repository.parts(session, [each.id for each in incidents])
    told = {
        each: await sized(repository.WORK * len(parts[each.id]), rules.telling, parts[each.id]) for each in incidents
    }
    deployed = await _deployed(session, [part for some in told.values() for part in some], within)
    for incident, some in told.items():
        services = {each.service for each in some}
        work = repository.WORK * len(some) + len(services) * len(callees)
        for name, value in (await sized(work, _members, some, callees, deployed, within)).items():
            setattr(incident, name, value)
    return {each: parts[each.id] for each in incidents}


def facts(incident: Incident) -> tuple[Any, ...]:
    """What is news when it changes."""
    return tuple(getattr(incident, name) for name in _TOLD)


def snapshot(incident: Incident) -> IncidentSnapshot:
    return IncidentSnapshot.model_validate(incident)


def comment(incident: Incident, *more: Comment) -> None:
    """Keep the latest comments with the incident; its timeline has them all."""
    kept = [*map(Comment.model_validate, incident.comments), *more]
    kept.sort(key=lambda each: each.at)
    incident.comments = [each.model_dump(mode="json") for each in kept[-MOST_COMMENTS:]]


async def _deployed(session: AsyncSession, parts: Sequence[Part], within: timedelta) -> dict[str, list[Deployment]]:
    """What was deployed around the onsets by service, the latest first."""
    found: dict[str, list[Deployment]] = defaultdict(list)
    services = {part.service for part in parts if part.service}
    if services:
        onsets = [part.onset for part in parts]
        for each in await repository.deployed(session, services, min(onsets) - within, max(onsets)):
            found[each.service].append(each)
    return found


def _members(
    parts: Sequence[Part], callees: Callees, deployed: Mapping[str, Sequence[Deployment]], within: timedelta
) -> dict[str, Any]:
    """The members of an incident that its anomalies tell, which are by age."""
    origins = ranking.rank(_candidates(parts, callees, deployed), within)
    return {
        "severity": rules.severity(parts),
        "title": rules.title(origins[0].title, origins[0].service, parts),
        "services": sorted({each.service for each in parts if each.service})[:MOST_SERVICES],
        "requirement_ids": sorted({each.requirement_id for each in parts if each.requirement_id})[:MOST_SERVICES],
        "onset": parts[0].onset,
        "quiet_since": rules.quiet_since(parts),
        "anomaly_count": len(parts),
        "anomalies": [
            IncidentAnomaly.model_validate(each).model_dump(mode="json") for each in parts[:MOST_ANOMALIES]
        ],
        "origins": [each.model_dump(mode="json") for each in origins[:MOST_ORIGINS]],
    }


def _candidates(
    parts: Sequence[Part], callees: Callees, deployed: Mapping[str, Sequence[Deployment]]
) -> list[Candidate]:
    """One for each service; an anomaly without a service stands for itself. `parts` are by age."""
    groups: dict[object, list[Part]] = defaultdict(list)
    for part in parts:
        groups[part.service or part.id].append(part)
    shares = ranking.dependents({part.service for part in parts if part.service}, callees)
    return [
        Candidate(
            service=(first := own[0]).service,
            anomaly_id=first.id,
            title=first.title,
            onset=first.onset,
            peak_score=max(each.peak_score for each in own),
            dependents=shares.get(first.service, 0.0) if first.service else 0.0,
            deployed=_last_before(deployed.get(first.service, ()) if first.service else (), first.onset),
            logs=rules.error_said(own),
        )
        for own in groups.values()
    ]


def _last_before(deployments: Iterable[Deployment], onset: datetime) -> Deployed | None:
    return next(
        (Deployed(each.version, onset - each.deployed_at) for each in deployments if each.deployed_at <= onset), None
    )


def _told(part: Part) -> dict[str, Any]:
    return IncidentAnomaly.model_validate(part).model_dump(mode="json")
