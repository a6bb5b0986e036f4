"""Detectors read, measured on their history, and set anew."""

from collections.abc import Sequence
from dataclasses import replace
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
        evaluated_to=found.detector.evaluated_to,
        true_positives=counts.get(Label.TRUE_POSITIVE, 0),
        false_positives=counts.get(Label.FALSE_POSITIVE, 0),
    )


async def propose(
    session: AsyncSession, signal_id: UUID, bar: float | None, days: int, step_seconds: int
) -> DetectorProposal:
    """What `bar`, or the one that the labels ask for, changes on the last days. Raises `Outdated` and `Invalid`."""
    found = await repository.find(session, signal_id)
    config = _config(found)
    end = found.detector.evaluated_to
    start = min(max(end - timedelta(days=days), found.detector.watching_since), end)
    history = await repository.history(session, found.signal, start, end, step_seconds * SECOND)
    labelled = await repository.labelled(session, signal_id, start)
    wanted, change = await offload.in_thread(_measure, history, config, bar, labelled)
    return DetectorProposal(
        signal_id=signal_id,
        revision=found.revision,
        bar=wanted,
        effect=DetectorEffect(
            start=start,
            end=end,
            now=_alarms(config.bar, change.now, end - start),
            then=_alarms(wanted, change.then, end - start),
            kept=list(map(_labelled, change.kept)),
            lost=list(map(_labelled, change.lost)),
        ),
    )


def _config(found: Found) -> alarm.Config:
    """By what the detector alarms, as its SLO stands now."""
    for slo in found.requirement.slos:
        if slo["name"] == found.detector.slo:
            for part in measure.parts(Slo.model_validate(slo))[0]:
                if measure.indicator_identity(found.requirement.id, part) == found.identity:
                    return replace(measure.alarm_config(part), bar=found.bar)
    raise Outdated(f"the SLO {found.detector.slo} of {found.requirement.key} measures another indicator")


def _measure(
    history: History, config: alarm.Config, bar: float | None, labelled: Sequence[Labelled]
) -> tuple[float, rules.Change]:
    bar = rules.propose(history, config, labelled) if bar is None else bar
    return bar, rules.change(history, config, bar, labelled)


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
    applied = DetectorRevisionResponse(
        revision=newest + 1,
        bar=content.bar,
        reason=content.reason,
        effect=measured.effect,
        applied_at=datetime.now(UTC),
        applied_by=actor.subject,
    )
    members = applied.model_dump(exclude={"effect"})
    effect = applied.effect.model_dump(mode="json")
    await repository.save(session, DetectorRevision(signal=found.signal, effect=effect, **members))
    return applied


async def revisions(session: AsyncSession, signal_id: UUID, skip: int, limit: int) -> DetectorRevisionPage:
    found = await repository.find(session, signal_id)
    rows, total = await repository.revisions(session, found.signal, skip, limit)
    return DetectorRevisionPage(items=[DetectorRevisionResponse.model_validate(row) for row in rows], total=total)
