"""When an adjustment holds, decided without I/O. Recurrence is RFC 5545's RRULE, in the wall-clock time of a zone."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

from plumbline_common.errors import Invalid
from plumbline_common.schemas import Period
from plumbline_requirements.consents.rules import Status

LONGEST = timedelta(days=366)
"""From the first start to the last, and how far in the past the first may be."""
LONGEST_WINDOW = timedelta(days=31)
SHORTEST_WINDOW = timedelta(seconds=1)
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY = "|".join(_DAYS)


def _list(each: str) -> str:
    return rf"({each})(,({each}))*"


_PARTS: Mapping[str, str] = {
    "FREQ": "DAILY|WEEKLY|MONTHLY|YEARLY",
    "INTERVAL": r"[1-9]\d{0,2}",
    "COUNT": r"[1-9]\d{0,2}",
    "UNTIL": r"\d{8}T\d{6}Z",
    "BYMONTH": _list(r"[1-9]|1[0-2]"),
    "BYMONTHDAY": _list(r"-?([1-9]|[12]\d|3[01])"),
    "BYDAY": _list(rf"([+-]?[1-5])?({_DAY})"),
    "BYSETPOS": _list(r"-?[1-9]\d{0,1}"),
    "WKST": _DAY,
}
_SPARSE = ("MONTHLY", "YEARLY")


def windows(starts_at: datetime, length: timedelta, recurrence: str, zone: ZoneInfo) -> list[Period]:
    """The times that are meant, in order, those that touch as one. Raises `Invalid` with the member at fault."""
    if not SHORTEST_WINDOW <= length <= LONGEST_WINDOW:
        raise Invalid(f"a window lasts at most {LONGEST_WINDOW.days} days", pointer="/duration")
    starts = _starts(starts_at.astimezone(zone), recurrence) if recurrence else [starts_at]
    return list(_merged([(start, start + length) for start in starts]))


def _merged(spans: Sequence[tuple[datetime, datetime]]) -> Iterator[Period]:
    begin, end = spans[0]
    for start, until in spans[1:]:
        if start > end:
            yield Period(start=begin, end=end)
            begin = start
        end = max(end, until)
    yield Period(start=begin, end=end)


def _starts(first: datetime, recurrence: str) -> list[datetime]:
    parts = _parts(recurrence)
    latest = first + LONGEST
    count = int(parts.pop("COUNT", 0))
    _check_names(first, parts)
    try:
        until = datetime.strptime(parts.pop("UNTIL"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) if not count else latest
    except ValueError:
        raise _wrong("UNTIL is a time that does not exist") from None
    if until > latest:
        raise _wrong(f"the last window must start within {LONGEST.days} days of the first; ask anew after that")
    # Without an end of its own the library would look for the next one until the year 9999.
    bounded = ";".join([*(f"{name}={value}" for name, value in parts.items()), f"UNTIL={_basic(latest)}"])
    try:
        found = [each.astimezone(UTC) for each in itertools.islice(rrulestr(bounded, dtstart=first), count or None)]
    except (ValueError, IndexError, OverflowError) as error:
        raise _wrong(str(error) or "is no RRULE") from None
    starts = [each for each in found if each <= until]
    if not starts or starts[0] != first.astimezone(UTC):
        raise Invalid("must be one of the times that the recurrence names: the first", pointer="/starts_at")
    if len(found) < count:
        raise _wrong(f"COUNT reaches beyond {LONGEST.days} days after the first window; ask anew after that")
    return starts


def _basic(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _parts(recurrence: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in recurrence.strip().upper().removeprefix("RRULE:").split(";"):
        name, _, value = part.partition("=")
        if name not in _PARTS:
            known = ", ".join(_PARTS)
            raise _wrong(f"{name[:20]} is none of {known}; the time of day is that of starts_at")
        if name in parts:
            raise _wrong(f"{name} comes twice")
        if not re.fullmatch(_PARTS[name], value):
            raise _wrong(f"{name} can't be {value[:40]!r}")
        parts[name] = value
    if "FREQ" not in parts:
        raise _wrong("FREQ is missing")
    if ("COUNT" in parts) == ("UNTIL" in parts):
        raise _wrong("needs an end: COUNT, or UNTIL such as 20271231T000000Z, not both")
    ordinal = bool(re.search(r"\d", parts.get("BYDAY", "")))
    if parts["FREQ"] not in _SPARSE and (ordinal or "BYSETPOS" in parts):
        raise _wrong("takes BYSETPOS, and numbers in BYDAY, with FREQ=MONTHLY or YEARLY")
    if ordinal and "BYMONTHDAY" in parts:
        raise _wrong("takes BYMONTHDAY or numbers in BYDAY, not both")
    return parts


def _check_names(first: datetime, parts: Mapping[str, str]) -> None:
    """Raise unless the first day is among those that the rule names: then there is one at all."""
    in_month = ((first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)).day
    named = {
        "BYMONTH": {str(first.month)},
        "BYMONTHDAY": {str(first.day), str(first.day - in_month - 1)},
        "BYDAY": {_DAYS[first.weekday()]},
    }
    for name, values in named.items():
        given = parts.get(name)
        if given is not None and not values & {re.sub(r"^[+-]?\d(?=[A-Z])", "", each) for each in given.split(",")}:
            raise Invalid(f"is none of the days that {name}={given} names", pointer="/starts_at")


def _wrong(reason: str) -> Invalid:
    return Invalid(f"the recurrence {reason}" if reason[0].islower() else reason, pointer="/recurrence")


def check_begin(starts_at: datetime, now: datetime) -> None:
    """Raise where it begins too long ago."""
    if starts_at < now - LONGEST:
        raise Invalid(f"must not be more than {LONGEST.days} days ago", pointer="/starts_at")


def status_at(kept: Status, periods: Sequence[Period], now: datetime) -> Status:
    """The state at `now` of an adjustment that people left in `kept`."""
    return Status.EXPIRED if kept is Status.APPROVED and periods[-1].end <= now else kept


def active_at(kept: Status, periods: Sequence[Period], now: datetime) -> bool:
    """Whether it holds at `now`."""
    return kept is Status.APPROVED and any(each.start <= now < each.end for each in periods)


def until(periods: Sequence[Period], at: datetime) -> list[Period]:
    """What of them is before `at`."""
    return [Period(start=each.start, end=min(each.end, at)) for each in periods if each.start < at]
