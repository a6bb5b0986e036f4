"""What is drawn of a signal, of an anomaly, and of a service as a whole."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_analysis.anomalies import repository as anomalies
from plumbline_analysis.anomalies import rules as wording
from plumbline_analysis.deployments import repository as deployments
from plumbline_analysis.groups import service as groups
from plumbline_analysis.groups.schemas import GroupAlarm
from plumbline_analysis.models import Anomaly, Signal
from plumbline_analysis.objectives import measure
from plumbline_analysis.pictures import Mark, Picture, Point, Span, Theme, draw
from plumbline_analysis.settings import Settings
from plumbline_analysis.signals import repository as signals
from plumbline_analysis.signals import service as series
from plumbline_analysis.signals.rules import Question
from plumbline_analysis.watched import repository as watched
from plumbline_common import offload
from plumbline_common.schemas import Slo

LEAST_AROUND = timedelta(minutes=20)
"""An anomaly is shown with as much before it as it lasts, and at least so much."""
LONGEST = timedelta(days=30)
SLICES = 720
"""About one for each pixel in width."""
MARKS = 20
"""Deployments that are shown, the latest."""


async def of_anomaly(session: AsyncSession, id: UUID, theme: Theme, settings: Settings) -> str:
    """An anomaly with what came before and after it. Raises `NotFound`."""
    anomaly = await anomalies.one(session, id)
    last = anomaly.end or datetime.now(UTC)
    lasted = last - anomaly.onset
    around = min(max(lasted, LEAST_AROUND), LONGEST)
    start = anomaly.onset - around
    end = max(min(last + around / 4, datetime.now(UTC)), start + LEAST_AROUND)
    signal = await signals.one(session, anomaly.signal_id)
    said = f"{anomaly.severity}, {anomaly.state.replace('_', ' ')}; {_lasted(lasted)}; {_stretch(start, end)}"
    return await _drawn(session, signal, start, end, settings, theme, anomaly.title, said)


async def of_signal(
    session: AsyncSession, id: UUID, start: datetime | None, end: datetime | None, theme: Theme, settings: Settings
) -> str:
    """A signal over a range. Raises `NotFound`, and `Invalid` for a range that can't be meant."""
    signal = await signals.one(session, id)
    start, end = series.asked_range(start, end)
    return await _drawn(session, signal, start, end, settings, theme)


async def of_service(
    session: AsyncSession, name: str, start: datetime | None, end: datetime | None, theme: Theme, settings: Settings
) -> str:
    """How unusual the signals of a service are together. Raises `Invalid` for a range that can't be meant."""
    found = await groups.scores(session, name, start, end, None, settings.evaluation_interval_seconds)
    deployed, _ = await deployments.page(session, name, found.start, found.end, 0, MARKS)
    worst = max(found.alarms, key=lambda each: each.score, default=None)
    picture = Picture(
        title=f"{len(found.series)} series of {name}, judged together",
        subtitle=_led(worst) if worst else f"nothing unusual; {_stretch(found.start, found.end)}",
        start=found.start,
        end=found.end,
        points=[Point(each.time, each.score) for each in found.points],
        said=lambda value: f"{value:.2g}",
        anomalies=[Span(each.onset, each.end, each.peak_at, each.score) for each in found.alarms],
        marks=[Mark(each.deployed_at, each.version) for each in deployed],
        limit=1.0,
        limit_name="unusual",
    )
    return await offload.in_thread(draw, picture, theme)


def _led(alarm: GroupAlarm) -> str:
    parts = ", ".join(
        f"{wording.measured(each.metric, each.aggregation)} {each.share:.0%}" for each in alarm.parts[:3]
    )
    return f"at {alarm.peak_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC made so by {parts}"


async def _drawn(
    session: AsyncSession,
    signal: Signal,
    start: datetime,
    end: datetime,
    settings: Settings,
    theme: Theme,
    title: str | None = None,
    subtitle: str | None = None,
) -> str:
    found = await series.series_of(session, signal, Question(start, end, slices=SLICES), settings)
    unit = wording.unit_of(found.aggregation, found.unit)
    of_service = f" of {signal.service}" if signal.service else ""
    deployed, _ = await deployments.page(session, signal.service, start, end, 0, MARKS) if signal.service else ([], 0)
    picture = Picture(
        title=title or f"{wording.measured(found.metric, found.aggregation)}{of_service}",
        subtitle=subtitle or _stretch(start, end),
        start=start,
        end=end,
        points=[Point(each.time, each.value, each.expected, each.lower, each.upper) for each in found.points],
        said=lambda value: wording.quantity(value, unit),
        anomalies=[_span(each) for each in await anomalies.of_signal(session, signal.id, start, end)],
        marks=[Mark(each.deployed_at, f"{each.service} {each.version}") for each in deployed],
        limit=await _limit(session, signal),
    )
    return await offload.in_thread(draw, picture, theme)


def _span(anomaly: Anomaly) -> Span:
    return Span(anomaly.onset, anomaly.end, anomaly.peak_at, anomaly.value)


async def _limit(session: AsyncSession, signal: Signal) -> float | None:
    """The threshold that the objective of an indicator sets; None where there is none, or no longer."""
    if signal.requirement_id is None or (requirement := await watched.one(session, signal.requirement_id)) is None:
        return None
    try:
        slos = [slo for each in requirement.slos if (slo := Slo.model_validate(each)).name == signal.slo]
    except ValidationError:
        return None
    parts = [part for slo in slos for part in measure.parts(slo)[0]]
    limits = [measure.alarm_config(part).limit for part in parts if measure.subject(part).metric == signal.metric]
    return limits[0] if limits else None


def _lasted(lasted: timedelta) -> str:
    return f"lasted {timedelta(seconds=round(lasted.total_seconds()))}"


def _stretch(start: datetime, end: datetime) -> str:
    first, last = start.astimezone(UTC), end.astimezone(UTC)
    form = "%H:%M" if first.date() == last.date() else "%Y-%m-%d %H:%M"
    return f"{first:%Y-%m-%d %H:%M} to {last.strftime(form)} UTC"
