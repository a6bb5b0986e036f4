"""The writing part of an evaluation: units, standings, anomalies and verdicts of many requirements at once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import repository as anomaly_repository
from plumbline_analysis.anomalies import service as anomalies
from plumbline_analysis.anomalies.service import Surroundings
from plumbline_analysis.models import Anomaly, WatchedRequirement
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.objectives import counting, excused, repository, standings, watching, windows
from plumbline_analysis.objectives.counting import Counted
from plumbline_analysis.objectives.excused import Stretch
from plumbline_analysis.objectives.gather import Work
from plumbline_analysis.objectives.judge import Judged
from plumbline_analysis.objectives.rules import Standing
from plumbline_analysis.settings import Settings
from plumbline_analysis.verdicts import repository as verdict_repository
from plumbline_analysis.verdicts import service as verdicts
from plumbline_analysis.verdicts.service import Conclusion
from plumbline_analysis.watched import repository as watched
from plumbline_common import outbox
from plumbline_common.events import Event
from plumbline_common.schemas import ObjectiveEvidence, Slo

_MARGIN = timedelta(hours=1)


async def record(
    session: AsyncSession,
    works: Sequence[Work],
    judged: Sequence[Sequence[Judged]],
    around: Mapping[bytes, Surroundings],
    settings: Settings,
) -> dict[UUID, list[Event]]:
    """Store what was judged, in the caller's transaction. The events that tell what changed, by requirement, are
    still to be staged.

    While history of a requirement is still being taken in, only that is done: a verdict on half of it would be wrong.
    """
    events: dict[UUID, list[Event]] = defaultdict(list)
    counted = await counting.count(session, works, judged)
    found = await anomaly_repository.ongoing(session, [work.requirement.id for work in works])
    ongoing = {each.signal_id: each for each in found}
    for id, told in (await watching.record(session, works, judged, ongoing, around)).items():
        events[id] += told

    behind = {work.requirement.id for work in works if work.behind}
    ready = [each for each in counted if each.requirement.id not in behind]
    adjusted = await _adjusted(session, [work.requirement for work in works])
    assessed = list(zip(ready, await standings.assess(session, ready, settings, adjusted), strict=True))
    for each, (evidence, after) in assessed:
        events[each.requirement.id] += standings.news(each, evidence, after)
    untouched = [(each, each.standing) for each in counted if each.requirement.id in behind]
    await counting.save(session, [*((each, after) for each, (_, after) in assessed), *untouched])
    for change in await verdicts.conclude(session, _conclusions(works, behind, assessed, ongoing, adjusted)):
        events[change.verdict.requirement_id].append(change)
    return {id: told for id, told in events.items() if told}


async def _adjusted(session: AsyncSession, requirements: Sequence[WatchedRequirement]) -> dict[UUID, list[Stretch]]:
    found = await watched.adjusted(session, requirements)
    return {
        id: excused.merged((micros(start), micros(end)) for start, end in windows) for id, windows in found.items()
    }


def _conclusions(
    works: Sequence[Work],
    behind: set[UUID],
    assessed: Sequence[tuple[Counted, tuple[ObjectiveEvidence, Standing]]],
    ongoing: Mapping[UUID, Anomaly],
    adjusted: Mapping[UUID, Sequence[Stretch]],
) -> list[Conclusion]:
    evidence: dict[UUID, list[ObjectiveEvidence]] = defaultdict(list)
    for each, (found, _) in assessed:
        evidence[each.requirement.id].append(found)
    concluded = []
    for work in works:
        if work.requirement.id not in behind:
            end = moment(work.until)
            slos = [*(each.plan.part.slo for each in work.slos), *(each.slo for each in work.unmeasured)]
            unmeasured = [standings.unmeasured(each) for each in work.unmeasured]
            # What goes on while no budget burns, such as maintenance, is no risk.
            paused = any(start < work.until <= stop for start, stop in adjusted.get(work.requirement.id, ()))
            anomalies = [] if paused else list(ongoing.values())
            concluded.append(
                Conclusion(
                    work.requirement,
                    [*evidence[work.requirement.id], *unmeasured],
                    [each for each in anomalies if each.requirement_id == work.requirement.id],
                    min(windows.bounds(slo.time_window[0], end)[0] for slo in slos),
                    end,
                )
            )
    return concluded


async def stage(session: AsyncSession, events: Sequence[Event]) -> None:
    for event in events:
        await outbox.stage(session, event)


async def retire(session: AsyncSession, requirement_id: UUID, at: int) -> list[Event]:
    """Stop holding production against a requirement: its anomalies end, its current verdict goes."""
    ongoing = await anomaly_repository.ongoing(session, [requirement_id])
    events: list[Event] = [anomalies.end(anomaly, at) for anomaly in ongoing]
    await repository.forget(session, requirement_id)
    await verdict_repository.forget(session, requirement_id)
    return events


async def prune(session: AsyncSession, requirement: WatchedRequirement, now: datetime) -> None:
    """Drop the running totals of a requirement that no window reaches any more."""
    for slo in map(Slo.model_validate, requirement.slos):
        longest = windows.longest(slo.time_window[0])
        await repository.prune_slices(session, requirement.id, slo.name, now - longest - _MARGIN)
