"""Which slices a question about a series means. Pure."""

from datetime import datetime, timedelta
from math import ceil

from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.sources.batch import Kind
from plumbline_common.errors import Invalid
from plumbline_common.schemas import Aggregation

MAX_SLICES = 5_000
_DEFAULT_SLICES = 300
_DEFAULT_RANGE = timedelta(hours=1)
_LONGEST_RANGE = timedelta(days=400)
_SECOND = 1_000_000


def asked_range(start: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Where the question names no start, an hour; where it names no end, until now. Raises `Invalid`."""
    until = end or now
    if not all(1971 <= moment.year <= 2200 for moment in (until, start or until)):
        raise Invalid("`from` and `to` must lie between the years 1971 and 2200")
    after = start or until - _DEFAULT_RANGE
    if not timedelta() < until - after <= _LONGEST_RANGE:
        raise Invalid(f"`from` must be before `to`, by at most {_LONGEST_RANGE.days} days")
    return after, until


def grid(after: int, until: int, step_seconds: int | None, native_seconds: int) -> Grid:
    """Slices aligned to whole steps since the epoch that cover (after, until]; microseconds.

    Without a step, the smallest multiple of the evaluation interval that gives about 300. Raises `Invalid` where
    the step gives more than 5000.
    """
    if step_seconds is None:
        step_seconds = native_seconds * ceil((until - after) / (_SECOND * _DEFAULT_SLICES * native_seconds))
    step = step_seconds * _SECOND
    start = after // step * step
    count = -(-(until - start) // step)
    if count > MAX_SLICES:
        raise Invalid(f"that gives {count} points, more than {MAX_SLICES}: ask for a longer step or a shorter range")
    return Grid(start, step, count)


def aggregation(signal: SignalInfo, own: str | None, asked: Aggregation | None) -> str:
    """How a slice of this signal becomes a number. Raises `Invalid` for what the signal can't give."""
    if signal.kind is Kind.INDICATOR:
        if asked is not None and asked != own:
            raise Invalid(f"this signal is an indicator: it has only its own aggregation, {own!r}")
        return own or "mean"
    if asked is None:
        return "p95" if signal.is_histogram else "rate" if signal.is_counter else "mean"
    if asked.startswith("p") and not signal.is_histogram:
        raise Invalid(f"{asked} needs a histogram; this signal is a {signal.kind}")
    return asked
