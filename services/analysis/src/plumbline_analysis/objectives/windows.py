"""Which stretch of time an SLO's window is: rolling up to now, or the calendar's. Pure."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from plumbline_common.schemas import Calendar, TimeWindow, seconds

_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_DAYS = {"d": 1, "w": 7}
_LONGEST = {"M": 31 / 30, "Q": 92 / 90, "Y": 366 / 365}


def bounds(window: TimeWindow, at: datetime) -> tuple[datetime, datetime]:
    """Where the window that `at` lies in begins and ends; a rolling one ends there.

    A calendar's windows follow each other from its start time on, and before it too. They are (begin, end].
    """
    if window.calendar is None:
        return at - timedelta(seconds=seconds(window.duration)), at
    number = _estimated(window, window.calendar, at)
    while _begin(window, window.calendar, number) >= at:
        number -= 1
    while (end := _begin(window, window.calendar, number + 1)) < at:
        number += 1
    return _begin(window, window.calendar, number), end


def longest(window: TimeWindow) -> timedelta:
    """No window is longer, but for an hour that a clock goes back."""
    return timedelta(seconds=seconds(window.duration) * _LONGEST.get(window.duration[-1], 1))


def _estimated(window: TimeWindow, calendar: Calendar, at: datetime) -> int:
    return int((at - _begin(window, calendar, 0)).total_seconds() // seconds(window.duration))


def _begin(window: TimeWindow, calendar: Calendar, number: int) -> datetime:
    """Where window `number` begins; 0 begins at the start time. Days and months are the zone's, hours are hours."""
    count, unit = number * int(window.duration[:-1]), window.duration[-1]
    local, zone = datetime.fromisoformat(calendar.start_time), ZoneInfo(calendar.time_zone)
    if unit in _MONTHS:
        return (local + relativedelta(months=count * _MONTHS[unit])).replace(tzinfo=zone).astimezone(UTC)
    if unit in _DAYS:
        return (local + timedelta(days=count * _DAYS[unit])).replace(tzinfo=zone).astimezone(UTC)
    return local.replace(tzinfo=zone).astimezone(UTC) + number * timedelta(seconds=seconds(window.duration))
