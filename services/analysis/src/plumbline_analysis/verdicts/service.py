"""Verdicts: concluded by the evaluation, read by people."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.models import Anomaly, WatchedRequirement
from plumbline_analysis.verdicts import repository, rules
from plumbline_analysis.verdicts.schemas import VerdictPage, VerdictResponse
from plumbline_common.events import VerdictChanged
from plumbline_common.schemas import ObjectiveEvidence, Verdict, VerdictState


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
                }
            )
            for current, key, title in found
        ],
        total=total,
    )


async def conclude(
    session: AsyncSession,
    requirement: WatchedRequirement,
    objectives: Sequence[ObjectiveEvidence],
    anomalies: Sequence[Anomaly],
    window_start: datetime,
    window_end: datetime,
) -> VerdictChanged | None:
    """Keep the verdict of this evaluation. A change of state or revision is recorded, and is an event to stage."""
    before = await repository.current(session, requirement.id)
    state = rules.state(objectives, len(anomalies))
    changed = before is None or (before.state, before.revision) != (state, requirement.revision)
    verdict = Verdict(
        requirement_id=requirement.id,
        revision=requirement.revision,
        state=state,
        previous=_previous(before.state, before.verdict["previous"], changed) if before else None,
        window_start=window_start,
        window_end=window_end,
        objectives=list(objectives),
        anomalies=[anomaly.id for anomaly in anomalies],
        reason=rules.reason(objectives, [anomaly.title for anomaly in anomalies], state),
    )
    changed_at = window_end if before is None or changed else before.changed_at
    await repository.save(session, verdict, changed_at, window_end)
    if not changed:
        return None
    await repository.record(session, verdict, window_end)
    return VerdictChanged(verdict=verdict, changed_at=window_end)


def _previous(state: str, previous: str | None, changed: bool) -> VerdictState | None:
    """Between two changes, `previous` stays the state that the last change left behind."""
    if changed:
        return VerdictState(state)
    return VerdictState(previous) if previous else None
