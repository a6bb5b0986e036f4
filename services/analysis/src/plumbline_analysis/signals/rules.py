"""Which slices a question about a series means. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, lcm

from plumbline_analysis.series.derived import SignalInfo
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.sources.batch import Kind
from plumbline_common.errors import Invalid
from plumbline_common.schemas import Aggregation

MAX_SLICES = 5_000
DEFAULT_SLICES = 300
MOST_DOWNSAMPLED = 300_000
"""So many slices, a month of ten seconds, may be downsampled to a picture's points."""
_DOWNSAMPLED_FROM = 50_000
_DEFAULT_RANGE = timedelta(hours=1)
_LONGEST_RANGE = timedelta(days=400)
_SECOND = 1_000_000


@dataclass(frozen=True)
class Question:
    """What is asked of a series. What is left out is chosen: the last hour, and a step that gives about `slices`.

    Of more slices than `max_points`, those are answered that draw the same line.
    """

    start: datetime | None = None
    end: datetime | None = None
    step_seconds: int | None = None
    aggregation: Aggregation | None = None
    max_points: int | None = None
    slices: int = DEFAULT_SLICES


def asked_range(start: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Where the question names no start, an hour; where it names no end, until now. Raises `Invalid`."""
    until = end or now
    if not all(1971 <= moment.year <= 2200 for moment in (until, start or until)):
        raise Invalid("`from` and `to` must lie between the years 1971 and 2200")
    after = start or until - _DEFAULT_RANGE
    if not timedelta() < until - after <= _LONGEST_RANGE:
        raise Invalid(f"`from` must be before `to`, by at most {_LONGEST_RANGE.days} days")
    return after, until


def grid(
    after: int,
    until: int,
    step_seconds: int | None,
    native_seconds: int,
    *,
    wanted: int = DEFAULT_SLICES,
    most: int = MAX_SLICES,
    least_seconds: int = 1,
) -> Grid:
    """Slices aligned to whole steps since the epoch that cover (after, until]; microseconds.

    Without a step, a multiple of the evaluation interval and of `least_seconds` that gives about `wanted` slices:
    whole minutes or hours where that comes near. Raises `Invalid` where the step gives more than `most`.
    """
    if step_seconds is None:
        step_seconds = _step(until - after, wanted, native_seconds, least_seconds)
    step = step_seconds * _SECOND
    start = after // step * step
    count = -(-(until - start) // step)
    if count > most:
        raise Invalid(f"that gives {count} points, more than {most}: ask for a longer step or a shorter range")
    return Grid(start, step, count)


def _step(span: int, slices: int, native_seconds: int, least_seconds: int) -> int:
    step = native_seconds
    for unit in (1, 60, 3600):
        if step > unit / 2 or least_seconds >= unit:
            whole = lcm(native_seconds, unit)
            step = whole * ceil(span / (_SECOND * slices * whole))
    return step


def most_slices(signal: SignalInfo, question: Question) -> int:
    """How many slices a question may have: more where only few of them are answered."""
    return MOST_DOWNSAMPLED if question.max_points is not None and _is_light(signal) else MAX_SLICES


def wanted_slices(signal: SignalInfo, question: Question) -> int:
    """About how many slices a question without a step gets; those that are downsampled from more of them."""
    if question.max_points is None:
        return question.slices
    if _is_light(signal):
        return _DOWNSAMPLED_FROM
    return question.max_points if signal.is_histogram else MAX_SLICES


def _is_light(signal: SignalInfo) -> bool:
    """A slice of a histogram costs as much as some hundred of numbers, and an indicator's has a band."""
    return not signal.is_histogram and signal.kind is not Kind.INDICATOR


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
