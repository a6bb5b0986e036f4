"""Verdicts: concluded by the evaluation, read by people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Anomaly, WatchedRequirement
from plumbline_analysis.verdicts import repository, rules
from plumbline_analysis.verdicts.schemas import VerdictPage, VerdictResponse
from plumbline_common.events import VerdictChanged
from plumbline_common.schemas import AnomalyState, ObjectiveEvidence, Verdict, VerdictState


async def page(
    session: AsyncSession, requirement_id: UUID | None, state: VerdictState | None, skip: int, limit: int
) -> VerdictPage:
    found, total = await repository.page(session, requirement_id, state, skip, limit)
    return VerdictPage(
        items=[
            VerdictResponse.model_validate(
                current.verdict
                | {
                    "requirement_key": key,
                    "requirement_title": title,
                    "changed_at": current.changed_at,
                    "evaluated_at": current.evaluated_at,
                    "stale": current.revision != in_force,
                }
            )
            for current, key, title, in_force in found
        ],
        total=total,
    )


@dataclass(frozen=True)
class Conclusion:
    """What an evaluation found of one requirement, and over which window."""

    requirement: WatchedRequirement
    objectives: Sequence[ObjectiveEvidence]
    anomalies: Sequence[Anomaly]
    """Those that go on. One that people call a false positive is not held against the requirement."""
    window_start: datetime
    window_end: datetime


async def conclude(session: AsyncSession, conclusions: Sequence[Conclusion]) -> list[VerdictChanged]:
    """Keep the verdicts of an evaluation. A change of state, of revision or of what the budget policy asks for is
    recorded, and is an event to stage."""
    standing = await repository.current(session, [each.requirement.id for each in conclusions])
    saved, changes = [], []
    for each in conclusions:
        before = standing.get(each.requirement.id)
        anomalies = [anomaly for anomaly in each.anomalies if anomaly.state != AnomalyState.FALSE_POSITIVE]
        state = rules.state(each.objectives, len(anomalies))
        found = [objective.model_dump(mode="json") for objective in each.objectives]
        changed = (
            before is None
            or (before.state, before.revision) != (state, each.requirement.revision)
            or rules.policies(before.verdict["objectives"]) != rules.policies(found)
        )
        verdict = Verdict(
            requirement_id=each.requirement.id,
            revision=each.requirement.revision,
            state=state,
            previous=_previous(before.state, before.verdict["previous"], changed) if before else None,
            window_start=each.window_start,
            window_end=each.window_end,
            objectives=list(each.objectives),
            anomalies=[anomaly.id for anomaly in anomalies],
            reason=rules.reason(each.objectives, [anomaly.title for anomaly in anomalies], state),
        )
        changed_at = each.window_end if before is None or changed else before.changed_at
        saved.append((verdict, changed_at, each.window_end))
        if changed:
            await repository.record(session, verdict, each.window_end)
            changes.append(VerdictChanged(verdict=verdict, changed_at=each.window_end))
    await repository.save(session, saved)
    return changes


def _previous(state: str, previous: str | None, changed: bool) -> VerdictState | None:
    """Between two changes, `previous` stays the state that the last change left behind."""
    if changed:
        return VerdictState(state)
    return VerdictState(previous) if previous else None
