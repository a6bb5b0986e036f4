"""Which rollups there are, and which of them a question is answered from. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from plumbline_analysis.models import HOUR_TABLES, MINUTE_TABLES
from plumbline_analysis.moments import micros, moment
from plumbline_analysis.points import late
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_common.errors import Invalid

SECOND = 1_000_000


@dataclass(frozen=True)
class Level:
    """Rollups of one step, in microseconds, and where they are kept."""

    step: int
    numbers: str
    histograms: str
    detections: str


MINUTE = Level(60 * SECOND, *MINUTE_TABLES)
HOUR = Level(late.HOUR, *HOUR_TABLES)
LEVELS = (MINUTE, HOUR)


@dataclass(frozen=True)
class Kept:
    """From when on there are points, minutes and hours."""

    points: datetime
    minutes: datetime
    hours: datetime


def past(settings: Settings) -> timedelta:
    """Points come from as far back as the limit, judgements from as far back as new objectives look."""
    return timedelta(seconds=max(settings.past_limit_hours * 3600, settings.backfill_seconds))


def kept(settings: Settings, now: datetime) -> Kept:
    """What is rolled up is kept at least as long as what it comes from."""
    points = max(timedelta(days=settings.retention_days), past(settings) + timedelta(days=1))
    minutes = max(timedelta(days=settings.minute_retention_days), points)
    hours = max(timedelta(days=settings.hour_retention_days), minutes)
    return Kept(now - points, now - minutes, now - hours)


def level(grid: Grid, there: Kept) -> Level | None:
    """The coarsest rollup of which the slices are made; None where only points will do.

    Raises `Invalid` where the range begins before that, and what is kept of that time doesn't fit the slices.
    """
    if grid.step % HOUR.step == 0:
        return HOUR
    fits = MINUTE if grid.step % MINUTE.step == 0 else None
    since = there.minutes if fits else there.points
    if moment(grid.start) < since:
        least = "an hour" if moment(grid.start) < there.minutes else "a minute"
        raise Invalid(
            f"slices of {grid.step / SECOND:g} s are kept since {since:%Y-%m-%d %H:%M} UTC: before that,"
            f" ask for a step of whole multiples of {least}"
        )
    return fits


def coarsest_needed(after: int, there: Kept) -> int:
    """The step, in seconds, that what is kept since `after` (microseconds) can be asked for; 1 for points."""
    if after < micros(there.minutes):
        return HOUR.step // SECOND
    return MINUTE.step // SECOND if after < micros(there.points) else 1
