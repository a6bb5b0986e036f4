"""Where an incident probably began. Pure.

A service's score is the sum of five parts, each shown as a reason with what it adds:

- `onset`, at most 0.35: 1 for the first, half for who began 90 s later, and so on: 0.35 · 2^(−delay / 90 s);
- `dependents`, at most 0.30: the share of the incident's other services that call it, directly or through others;
- `strength`, at most 0.15: how far its worst anomaly departed, log2(peak score) / 3: 8 times the threshold is all;
- `deployment`, at most 0.15: a version of it was deployed before the onset, the shorter before the more;
- `logs`, at most 0.05: its logs say unusual things about errors.

All else equal, an earlier onset never ranks lower. Equal scores stand in the order of onset and of name.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from plumbline_common.schemas import IncidentOrigin, OriginReason

ONSET, DEPENDENTS, STRENGTH, DEPLOYMENT, LOGS = 0.35, 0.30, 0.15, 0.15, 0.05
HALVED_AFTER = timedelta(seconds=90)
ALL_OF_STRENGTH = 8.0
"""The peak score from which on a departure counts as a whole."""
DEPTH = 4
"""So many calls may lie between a service and one that depends on it."""


@dataclass(frozen=True)
class Deployed:
    """The latest deployment of a service before its onset."""

    version: str
    before: timedelta


@dataclass(frozen=True)
class Candidate:
    """A service. `anomaly_id`, `title` and `onset` are of its first anomaly, `peak_score` is that of its worst."""

    service: str | None
    anomaly_id: UUID
    title: str
    onset: datetime
    peak_score: float
    dependents: float = 0.0
    """The share of the incident's other services that depend on it."""
    deployed: Deployed | None = None
    logs: str | None = None
    """What its logs say about errors."""


def rank(candidates: Sequence[Candidate], deployment_window: timedelta) -> list[IncidentOrigin]:
    """The most probable origin first."""
    if not candidates:
        return []
    first = min(each.onset for each in candidates)
    scored = [(each, _reasons(each, first, deployment_window)) for each in candidates]
    ranked = [(round(min(math.fsum(reason.weight for reason in told), 1.0), 4), each, told) for each, told in scored]
    ranked.sort(key=lambda each: (-each[0], each[1].onset, each[1].service or "", each[1].anomaly_id))
    return [
        IncidentOrigin(
            service=each.service, anomaly_id=each.anomaly_id, title=each.title, score=score, reasons=list(told)
        )
        for score, each, told in ranked
    ]


def dependents(services: Collection[str], callees: Mapping[str, Collection[str]]) -> dict[str, float]:
    """Of each service, the share of the others that call it, directly or through at most `DEPTH` services.
    O(services × edges)."""
    counts = dict.fromkeys(services, 0)
    for service in services:
        for reached in _reached(service, callees):
            if reached in counts:
                counts[reached] += 1
    others = max(len(counts) - 1, 1)
    return {service: count / others for service, count in counts.items()}


def _reached(service: str, callees: Mapping[str, Collection[str]]) -> set[str]:
    reached, edge = {service}, {service}
    for _ in range(DEPTH + 1):
        edge = {callee for caller in edge for callee in callees.get(caller, ())} - reached
        reached |= edge
    return reached - {service}


def _reasons(candidate: Candidate, first: datetime, deployment_window: timedelta) -> list[OriginReason]:
    parts = (
        _onset(candidate.onset - first),
        _dependents(candidate.dependents),
        _strength(candidate.peak_score),
        _deployment(candidate.deployed, deployment_window),
        ("logs", f"its logs say: {candidate.logs}", LOGS) if candidate.logs else None,
    )
    found = [OriginReason(kind=part[0], text=part[1], weight=part[2]) for part in parts if part and part[2] > 0]
    return sorted(found, key=lambda each: -each.weight)


def _onset(delay: timedelta) -> tuple[str, str, float]:
    said = "nothing of the incident began earlier" if not delay else f"it began {_ago(delay)} after the first"
    return "onset", said, ONSET * 2.0 ** -(delay / HALVED_AFTER)


def _dependents(share: float) -> tuple[str, str, float]:
    said = f"{'all' if share == 1 else format(share, '.0%')} of the other services depend on it"
    return "dependents", said, DEPENDENTS * share


def _strength(peak_score: float) -> tuple[str, str, float]:
    part = math.log2(max(peak_score, 1.0)) / math.log2(ALL_OF_STRENGTH)
    return "strength", f"it departed {peak_score:.1f} times as far as the threshold", STRENGTH * min(part, 1.0)


def _deployment(deployed: Deployed | None, window: timedelta) -> tuple[str, str, float] | None:
    if deployed is None or not timedelta() <= deployed.before <= window:
        return None
    said = f"{deployed.version} was deployed {_ago(deployed.before)} before"
    return "deployment", said, DEPLOYMENT * (1 - 0.5 * (deployed.before / window))


def _ago(time: timedelta) -> str:
    seconds = time.total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
