from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.objectives import windows
from plumbline_common.schemas import TimeWindow


def calendar(duration: str, start: str = "2022-01-31 00:00:00", zone: str = "America/New_York") -> TimeWindow:
    return TimeWindow.model_validate(
        {"duration": duration, "isRolling": False, "calendar": {"startTime": start, "timeZone": zone}}
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


MOMENTS = st.integers(1_420_000_000, 2_050_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
WINDOWS = st.builds(
    calendar,
    st.sampled_from(["1h", "7h", "1d", "3d", "1w", "2w", "1M", "5M", "1Q", "1Y"]),
    st.sampled_from(["2022-01-31 00:00:00", "2024-02-29 12:30:00", "2022-03-13 02:30:00"]),
    st.sampled_from(["America/New_York", "Europe/Berlin", "UTC", "Australia/Lord_Howe"]),
)


@given(WINDOWS, MOMENTS)
def test_every_moment_lies_in_one_window_and_windows_follow_each_other(window: TimeWindow, moment: datetime) -> None:
    begin, end = windows.bounds(window, moment)
    assert begin < moment <= end
    assert windows.bounds(window, end) == (begin, end)
    assert windows.bounds(window, end + timedelta(microseconds=1))[0] == end
    assert end - begin <= windows.longest(window) + timedelta(hours=1)


def test_a_rolling_window_ends_now() -> None:
    now = at("2026-03-08 12:00:00")
    assert windows.bounds(TimeWindow(duration="30d"), now) == (now - timedelta(days=30), now)


@pytest.mark.parametrize(
    ("window", "moment", "begin", "end"),
    [
        (calendar("1M"), "2026-03-15 00:00:00", "2026-02-28 05:00:00", "2026-03-31 04:00:00"),
        (calendar("1d", "2022-01-01 00:00:00"), "2026-03-08 12:00:00", "2026-03-08 05:00:00", "2026-03-09 04:00:00"),
        (
            calendar("1Q", "2026-01-01 00:00:00", "UTC"),
            "2025-12-31 23:00:00",
            "2025-10-01 00:00:00",
            "2026-01-01 00:00:00",
        ),
        (
            calendar("1Y", "2020-01-01 00:00:00", "UTC"),
            "2026-01-01 00:00:00",
            "2025-01-01 00:00:00",
            "2026-01-01 00:00:00",
        ),
    ],
)
def test_calendar_windows_are_those_of_the_zone(window: TimeWindow, moment: str, begin: str, end: str) -> None:
    assert windows.bounds(window, at(moment)) == (at(begin), at(end))
