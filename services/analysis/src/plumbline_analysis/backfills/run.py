"""One step of a backfill: some slices of one signal measured, judged and held against what is known. Pure, CPU-bound.

What is kept of it: scores where there were none, and alarms that opened where no detector had judged, as far as they
meet no anomaly that is known. What was said when the points came is what people acted on, and stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from plumbline_analysis.anomalies.service import Subject
from plumbline_analysis.backfills.progress import InHand, Place
from plumbline_analysis.backfills.schemas import MOST_ANOMALIES, BackfilledSignal, BackfillResult
from plumbline_analysis.detection.alarm import Alarm, Change
from plumbline_analysis.detection.streams import Judgement
from plumbline_analysis.jobs.kind import Report, Step
from plumbline_analysis.moments import moment
from plumbline_analysis.objectives import judge, measure
from plumbline_analysis.objectives.judge import Judged, Watch
from plumbline_analysis.series.slices import Int64

Stretch = tuple[int, int]
"""From the onset to the end of an anomaly, both inside; microseconds."""


@dataclass(frozen=True)
class Slices:
    """The next slices of a signal, and what is known of them: the ends of those with a score, shape (n,); stretches
    of anomalies; since when the detector alarms."""

    number: int
    subject: Subject
    request: measure.Request
    bar: float
    scored: Int64
    known: Sequence[Stretch]
    watching_since: int


@dataclass(frozen=True)
class Inputs:
    """`next` is None where there is nothing to judge of the signal, and `skipped` says why."""

    place: Place
    signals: int
    signal_id: UUID
    next: Slices | None
    skipped: str | None = None


@dataclass(frozen=True)
class Found:
    """What is to be stored: judgements of slices, alarms that are over; `reached`, the stretch that was judged, after
    the last slices of a signal."""

    signal_id: UUID
    number: int
    subject: Subject
    said: Sequence[tuple[int, float, Judgement]]
    alarms: Sequence[Alarm]
    reached: Stretch | None


def run(inputs: Inputs, report: Report) -> Step[Found | None]:
    """O(points + slices)."""
    place, in_hand = inputs.place, inputs.place.in_hand
    if inputs.next is None or in_hand is None:
        return _step(inputs, place.after(_told(inputs, in_hand)), None)
    grid = inputs.next.request.watched
    watch = Watch(in_hand.state, in_hand.alarm, inputs.next.bar, in_hand.start, grid.end)
    (judged,) = judge.judge([inputs.next.request], [watch])
    is_last = grid.end >= in_hand.end
    said, slices = _said(inputs.next, judged, in_hand)
    alarms, is_news = _alarms(inputs.next, judged, in_hand, is_last=is_last)
    kept = alarms[: MOST_ANOMALIES - in_hand.anomalies]
    after = replace(
        in_hand,
        reached=grid.end,
        state=judged.watch.state,
        alarm=judged.watch.alarm,
        is_news=is_news,
        slices=in_hand.slices + slices,
        scored=in_hand.scored + sum(judgement.score == judgement.score for _, _, judgement in said),
        anomalies=in_hand.anomalies + len(kept),
        left_out=in_hand.left_out + len(alarms) - len(kept),
    )
    found = Found(
        inputs.signal_id,
        inputs.next.number,
        inputs.next.subject,
        said,
        kept,
        (in_hand.start, in_hand.end) if is_last else None,
    )
    return _step(inputs, place.after(_told(inputs, after)) if is_last else replace(place, in_hand=after), found)


def _said(slices: Slices, judged: Judged, in_hand: InHand) -> tuple[list[tuple[int, float, Judgement]], int]:
    """The judgements of slices without a score, and how many slices have a value."""
    ends, values = slices.request.watched.ends, judged.measured.watched
    valued = np.isfinite(values) & (ends > in_hand.start)
    fresh = np.flatnonzero(valued & ~np.isin(ends, slices.scored))
    said = [(int(ends[place]), float(values[place]), judged.judgements[place]) for place in fresh.tolist()]
    return said, int(valued.sum())


def _alarms(slices: Slices, judged: Judged, in_hand: InHand, *, is_last: bool) -> tuple[list[Alarm], bool]:
    """The alarms that ended and are news, and whether one that goes on is."""
    scored, is_news = set(slices.scored.tolist()), in_hand.is_news
    ended: list[Alarm] = []
    for change, alarm in judged.changes:
        if change is Change.OPENED:
            is_news = alarm.last <= slices.watching_since or alarm.last not in scored
        elif change is Change.CLOSED and is_news:
            ended.append(alarm)
    if is_last and judged.watch.alarm.open and is_news:
        ended.append(judged.watch.alarm)
    return [each for each in ended if not meets(each, slices.known)], is_news


def meets(alarm: Alarm, known: Sequence[Stretch]) -> bool:
    return any(onset <= alarm.last and alarm.onset <= end for onset, end in known)


def _told(inputs: Inputs, in_hand: InHand | None) -> BackfilledSignal:
    if in_hand is None:
        return BackfilledSignal(signal_id=inputs.signal_id, skipped=inputs.skipped)
    return BackfilledSignal(
        signal_id=inputs.signal_id,
        skipped=inputs.skipped,
        start=moment(in_hand.start),
        end=moment(in_hand.reached),
        slices=in_hand.slices,
        scored=in_hand.scored,
        anomalies=in_hand.anomalies,
        left_out=in_hand.left_out,
    )


def _step(inputs: Inputs, place: Place, found: Found | None) -> Step[Found | None]:
    if len(place.done) == inputs.signals:
        result = BackfillResult(
            scored=sum(each.scored for each in place.done),
            anomalies=sum(each.anomalies for each in place.done),
            signals=list(place.done),
        )
        return Step(found, result=result.model_dump(mode="json"))
    part, in_hand = 0.0, place.in_hand
    if in_hand is not None:
        part = max(0.0, (in_hand.reached - in_hand.start) / (in_hand.end - in_hand.start))
    message = f"judges signal {len(place.done) + 1} of {inputs.signals}"
    return Step(found, (len(place.done) + part) / inputs.signals, message, place.to_bytes())
