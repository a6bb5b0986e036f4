"""Detectors read, measured on their history, and set anew."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.detection import alarm
from plumbline_analysis.detection.replay import History
from plumbline_analysis.detectors import repository, rules
from plumbline_analysis.detectors.repository import Found
from plumbline_analysis.detectors.rules import Labelled
from plumbline_analysis.detectors.schemas import (
    DetectorEffect,
    DetectorProposal,
    DetectorResponse,
    DetectorRevisionContent,
    DetectorRevisionPage,
    DetectorRevisionResponse,
    LabelledAnomaly,
    RaisedAlarms,
)
from plumbline_analysis.models import DetectorRevision
from plumbline_analysis.moments import moment
from plumbline_analysis.objectives import measure
from plumbline_analysis.objectives.measure import Part
from plumbline_analysis.objectives.rules import SECOND
from plumbline_common import offload
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict
from plumbline_common.preconditions import check_match, etag
from plumbline_common.schemas import Label, Slo

_WEEK = timedelta(days=7)


class Outdated(Conflict):
    slug = "detector-outdated"
    title = "The requirement watches something else by now"


class Retuned(Conflict):
    slug = "detector-retuned"
    title = "Somebody else has set the bar meanwhile"


async def one(session: AsyncSession, signal_id: UUID) -> DetectorResponse:
    found = await repository.find(session, signal_id)
    counts = await repository.label_counts(session, signal_id)
    return DetectorResponse(
        signal_id=signal_id,
        requirement_id=found.requirement.id,
        slo=found.detector.slo,
        revision=found.revision,
        bar=found.bar,
        watching_since=found.detector.watching_since,
        backfilled_from=found.detector.backfilled_from,
        evaluated_to=found.detector.evaluated_to,
        true_positives=counts.get(Label.TRUE_POSITIVE, 0),
        false_positives=counts.get(Label.FALSE_POSITIVE, 0),
    )


async def propose(
    session: AsyncSession, signal_id: UUID, bar: float | None, days: int, step_seconds: int
) -> DetectorProposal:
    """What `bar`, or the one that the labels ask for, changes on the last days. Raises `Outdated` and `Invalid`."""
    judged = await judged_history(session, signal_id, days, step_seconds, repository.MAX_POINTS)
    return await offload.in_thread(proposal, judged, bar)


@dataclass(frozen=True)
class JudgedHistory:
    """What a detector said from `start` to `end` and what people say of it; `config` and `revision` hold now."""

    signal_id: UUID
    revision: int
    config: alarm.Config
    start: datetime
    end: datetime
    history: History
    labelled: Sequence[Labelled]


async def judged_history(
    session: AsyncSession, signal_id: UUID, days: int, step_seconds: int, most: int
) -> JudgedHistory:
    """Of the last days, as far as the detector watched them or a backfill judged them. Raises `Outdated`, and
    `Invalid` where these are more than `most` points."""
    found = await repository.find(session, signal_id)
    config = replace(measure.alarm_config(part_of(found)), bar=found.bar)
    end = found.detector.evaluated_to
    judged_from = found.detector.backfilled_from or found.detector.watching_since
    start = min(max(end - timedelta(days=days), judged_from), end)
    history = await repository.history(session, found.signal, start, end, step_seconds * SECOND, most)
    labelled = await repository.labelled(session, signal_id, start)
    return JudgedHistory(signal_id, found.revision, config, start, end, history, labelled)


def proposal(judged: JudgedHistory, bar: float | None) -> DetectorProposal:
    """What `bar`, or the one that the labels ask for, changes. CPU-bound, pure."""
    config, span = judged.config, judged.end - judged.start
    wanted = rules.propose(judged.history, config, judged.labelled) if bar is None else bar
    change = rules.change(judged.history, config, wanted, judged.labelled)
    return DetectorProposal(
        signal_id=judged.signal_id,
        revision=judged.revision,
        bar=wanted,
        effect=DetectorEffect(
            start=judged.start,
            end=judged.end,
            now=_alarms(config.bar, change.now, span),
            then=_alarms(wanted, change.then, span),
            kept=list(map(_labelled, change.kept)),
            lost=list(map(_labelled, change.lost)),
        ),
    )


def part_of(found: Found) -> Part:
    """The part of the requirement's SLO that the detector watches, as it stands now. Raises `Outdated`."""
    for slo in found.requirement.slos:
        if slo["name"] == found.detector.slo:
            for part in measure.parts(Slo.model_validate(slo))[0]:
                if measure.indicator_identity(found.requirement.id, part) == found.identity:
                    return part
    raise Outdated(f"the SLO {found.detector.slo} of {found.requirement.key} measures another indicator")


def _alarms(bar: float, alarms: int, span: timedelta) -> RaisedAlarms:
    return RaisedAlarms(bar=bar, alarms=alarms, a_week=alarms / (span / _WEEK) if span else None)


def _labelled(each: Labelled) -> LabelledAnomaly:
    return LabelledAnomaly(anomaly_id=each.id, label=each.label, onset=moment(each.onset))


async def apply(
    session: AsyncSession,
    content: DetectorRevisionContent,
    measured: DetectorProposal,
    if_match: str | None,
    actor: UserInfo,
) -> DetectorRevisionResponse:
    """Set the bar, with the effect that was measured. Raises `Stale` and `PreconditionMissing`."""
    found = await repository.find(session, measured.signal_id)
    newest = await repository.lock(session, found.signal)
    check_match(newest, if_match)
    check_match(newest, etag(measured.revision))
    return await _set(session, found.signal, measured, content.reason, actor.subject)


async def retune(session: AsyncSession, measured: DetectorProposal, reason: str, by: str) -> None:
    """Set the bar that was proposed. Raises `Retuned` where somebody else has set it since."""
    found = await repository.find(session, measured.signal_id)
    newest = await repository.lock(session, found.signal)
    if newest != measured.revision:
        raise Retuned(f"its effect was measured against revision {measured.revision}, and it is at {newest} now")
    await _set(session, found.signal, measured, reason, by)


async def _set(
    session: AsyncSession, signal: int, measured: DetectorProposal, reason: str, by: str
) -> DetectorRevisionResponse:
    """The caller holds the signal."""
    applied = DetectorRevisionResponse(
        revision=measured.revision + 1,
        bar=measured.bar,
        reason=reason,
        effect=measured.effect,
        applied_at=datetime.now(UTC),
        applied_by=by,
    )
    members = applied.model_dump(exclude={"effect"})
    effect = applied.effect.model_dump(mode="json")
    await repository.save(session, DetectorRevision(signal=signal, effect=effect, **members))
    return applied


async def revisions(session: AsyncSession, signal_id: UUID, skip: int, limit: int) -> DetectorRevisionPage:
    found = await repository.find(session, signal_id)
    rows, total = await repository.revisions(session, found.signal, skip, limit)
    return DetectorRevisionPage(items=[DetectorRevisionResponse.model_validate(row) for row in rows], total=total)
