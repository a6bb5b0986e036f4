"""Which times an RRULE means, against days that are looked at one by one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plumbline_common.errors import Invalid
from plumbline_common.schemas import Period
from plumbline_requirements.adjustments import rules
from plumbline_requirements.consents.rules import Status

UTC_ZONE, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 2, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


def starts(
    recurrence: str, first: datetime = MONDAY, zone: ZoneInfo = UTC_ZONE, length: timedelta = HOUR
) -> list[str]:
    return [f"{each.start:%m-%d %H:%M}" for each in rules.windows(first, length, recurrence, zone)]


def test_without_a_rule_it_is_once() -> None:
    assert rules.windows(MONDAY, HOUR, "", UTC_ZONE) == [Period(start=MONDAY, end=MONDAY + HOUR)]


@pytest.mark.parametrize(
    ("recurrence", "expected"),
    [
        ("FREQ=WEEKLY;COUNT=3", ["03-02 02:00", "03-09 02:00", "03-16 02:00"]),
        ("rrule:freq=weekly;byday=mo,we;count=3", ["03-02 02:00", "03-04 02:00", "03-09 02:00"]),
        ("FREQ=DAILY;INTERVAL=10;UNTIL=20260322T020000Z", ["03-02 02:00", "03-12 02:00", "03-22 02:00"]),
        ("FREQ=MONTHLY;BYDAY=1MO;COUNT=3", ["03-02 02:00", "04-06 02:00", "05-04 02:00"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1;COUNT=2", ["03-02 02:00", "04-01 02:00"]),
        ("FREQ=YEARLY;BYMONTH=3,9;BYMONTHDAY=2;UNTIL=20261231T000000Z", ["03-02 02:00", "09-02 02:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-30;COUNT=2", ["03-02 02:00", "04-01 02:00"]),
    ],
)
def test_the_rule_names_the_starts(recurrence: str, expected: list[str]) -> None:
    assert starts(recurrence) == expected


def test_a_rule_goes_by_the_clock_on_the_wall() -> None:
    two_in_berlin = datetime(2026, 3, 22, 1, tzinfo=UTC)
    found = starts("FREQ=WEEKLY;BYDAY=SU;COUNT=3", two_in_berlin, BERLIN)
    assert found == ["03-22 01:00", "03-29 01:00", "04-05 00:00"], (
        "02:00 does not exist on the 29th, and is 03:00 then"
    )


def test_windows_that_touch_are_one() -> None:
    found = rules.windows(MONDAY, timedelta(days=1), "FREQ=DAILY;COUNT=3", UTC_ZONE)
    assert found == [Period(start=MONDAY, end=MONDAY + timedelta(days=3))]


@given(
    st.integers(0, 6),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(1, 5),
    st.integers(1, 40),
    st.sampled_from([UTC_ZONE, BERLIN]),
)
def test_weekly_rules_are_the_days_that_a_calendar_shows(
    weekday: int, days: set[int], interval: int, count: int, zone: ZoneInfo
) -> None:
    first = datetime(2026, 3, 2 + weekday, 12, tzinfo=zone)
    assume(weekday in days)
    expected, day = [], first
    while len(expected) < count:
        week = (day.date() - first.date() + timedelta(days=weekday)).days // 7
        if day.weekday() in days and week % interval == 0:
            expected.append(day.astimezone(UTC))
        day += timedelta(days=1)
    rule = f"FREQ=WEEKLY;INTERVAL={interval};BYDAY={','.join(NAMES[each] for each in sorted(days))};COUNT={count}"
    if expected[-1] - first > rules.LONGEST:
        with pytest.raises(Invalid, match="366 days"):
            rules.windows(first, HOUR, rule, zone)
    else:
        assert [each.start for each in rules.windows(first, HOUR, rule, zone)] == expected


@pytest.mark.parametrize(
    ("recurrence", "reason"),
    [
        ("FREQ=WEEKLY", "needs an end"),
        ("FREQ=WEEKLY;COUNT=2;UNTIL=20260401T000000Z", "not both"),
        ("COUNT=2", "FREQ is missing"),
        ("FREQ=HOURLY;COUNT=2", "FREQ can't be"),
        ("FREQ=WEEKLY;COUNT=2;BYHOUR=3", "BYHOUR is none of"),
        ("FREQ=WEEKLY;COUNT=0", "COUNT can't be"),
        ("FREQ=WEEKLY;INTERVAL=0;COUNT=2", "INTERVAL can't be"),
        ("FREQ=WEEKLY;COUNT=2;COUNT=3", "COUNT comes twice"),
        ("FREQ=WEEKLY;BYDAY=XX;COUNT=2", "BYDAY can't be"),
        ("FREQ=WEEKLY;BYDAY=1MO;COUNT=2", "MONTHLY or YEARLY"),
        ("FREQ=DAILY;BYSETPOS=2;COUNT=2", "MONTHLY or YEARLY"),
        ("FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=2;COUNT=2", "not both"),
        ("FREQ=MONTHLY;BYMONTHDAY=32;COUNT=2", "BYMONTHDAY can't be"),
        ("FREQ=WEEKLY;UNTIL=20260231T000000Z", "does not exist"),
        ("FREQ=WEEKLY;UNTIL=20280101T000000Z", "within 366 days"),
        ("FREQ=YEARLY;COUNT=3", "beyond 366 days"),
        ("FREQ=WEEKLY;COUNT=999", "beyond 366 days"),
        ("FREQ=WEEKLY;COUNT=2\nFREQ=DAILY", "COUNT can't be"),
        (";;;", "is none of"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_reason(recurrence: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason) as refusal:
        rules.windows(MONDAY, HOUR, recurrence, UTC_ZONE)
    assert refusal.value.pointer == "/recurrence"


@pytest.mark.parametrize(
    "recurrence",
    [
        "FREQ=WEEKLY;BYDAY=TU;COUNT=2",
        "FREQ=MONTHLY;BYMONTHDAY=3;COUNT=2",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=1",
        "FREQ=MONTHLY;BYDAY=2MO;COUNT=2",
        "FREQ=MONTHLY;BYMONTHDAY=2;BYSETPOS=5;COUNT=2",
        "FREQ=DAILY;UNTIL=20260301T000000Z",
    ],
)
def test_the_first_start_is_one_of_those_that_the_rule_names(recurrence: str) -> None:
    with pytest.raises(Invalid) as refusal:
        rules.windows(MONDAY, HOUR, recurrence, UTC_ZONE)
    assert refusal.value.pointer == "/starts_at"


@pytest.mark.parametrize("length", [timedelta(0), timedelta(days=31, seconds=1)])
def test_a_window_has_a_length_within_reason(length: timedelta) -> None:
    with pytest.raises(Invalid) as refusal:
        rules.windows(MONDAY, length, "", UTC_ZONE)
    assert refusal.value.pointer == "/duration"


@given(st.text(max_size=60) | st.from_regex(r"FREQ=[A-Z]{5,7}(;[A-Z]{4,8}=[-+A-Z0-9,]{0,6}){0,3}", fullmatch=True))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    assume(text)
    try:
        found = rules.windows(MONDAY, HOUR, text, UTC_ZONE)
    except Invalid:
        return
    assert found[0].start == MONDAY


def test_a_clock_tells_the_rest() -> None:
    periods = rules.windows(MONDAY, HOUR, "FREQ=WEEKLY;COUNT=2", UTC_ZONE)
    week = timedelta(days=7)
    told: list[tuple[Callable[..., object], datetime, object]] = [
        (rules.active_at, MONDAY, True),
        (rules.active_at, MONDAY + HOUR, False),
        (rules.active_at, MONDAY + week, True),
        (rules.status_at, MONDAY + HOUR, Status.APPROVED),
        (rules.status_at, MONDAY + week + HOUR, Status.EXPIRED),
    ]
    for ask, now, expected in told:
        assert ask(Status.APPROVED, periods, now) == expected
    assert rules.active_at(Status.REQUESTED, periods, MONDAY) is False
    assert rules.status_at(Status.REQUESTED, periods, MONDAY + 2 * week) is Status.REQUESTED
    assert rules.until(periods, MONDAY) == []
    half = MONDAY + HOUR / 2
    assert rules.until(periods, half) == [Period(start=MONDAY, end=half)]
    assert rules.until(periods, MONDAY + week) == periods[:1]
