from datetime import UTC, datetime, timedelta

import pytest

from plumbline_analysis.moments import micros
from plumbline_analysis.rollups import rules
from plumbline_analysis.rollups.rules import HOUR, MINUTE
from plumbline_analysis.series.slices import Grid
from plumbline_analysis.settings import Settings
from plumbline_common.errors import Invalid

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEPT = rules.Kept(NOW - timedelta(days=35), NOW - timedelta(days=90), NOW - timedelta(days=730))


def grid(seconds: int, days_ago: int) -> Grid:
    return Grid(micros(NOW - timedelta(days=days_ago)), seconds * 1_000_000, 1)


@pytest.mark.parametrize(
    ("seconds", "days_ago", "expected"),
    [(10, 1, None), (90, 34, None), (60, 1, MINUTE), (5400, 89, MINUTE), (3600, 1, HOUR), (7200, 400, HOUR)],
)
def test_slices_are_made_of_the_coarsest_rollup_that_they_hold_wholly(
    seconds: int, days_ago: int, expected: rules.Level | None
) -> None:
    assert rules.level(grid(seconds, days_ago), KEPT) is expected


@pytest.mark.parametrize(
    ("seconds", "days_ago", "said"),
    [(10, 36, "a minute"), (10, 91, "an hour"), (60, 91, "an hour"), (90, 36, "a minute")],
)
def test_slices_finer_than_what_is_kept_of_their_time_are_refused_with_what_to_ask_for(
    seconds: int, days_ago: int, said: str
) -> None:
    with pytest.raises(Invalid, match=f"whole multiples of {said}"):
        rules.level(grid(seconds, days_ago), KEPT)


@pytest.mark.parametrize(("days_ago", "expected"), [(1, 1), (36, 60), (91, 3600)])
def test_a_step_that_is_chosen_fits_what_is_kept(days_ago: int, expected: int) -> None:
    assert rules.coarsest_needed(micros(NOW - timedelta(days=days_ago)), KEPT) == expected


def test_what_is_summed_up_outlives_what_it_comes_from(settings: Settings) -> None:
    short = settings.model_copy(
        update={"retention_days": 50, "minute_retention_days": 1, "hour_retention_days": 1, "past_limit_hours": 1}
    )
    kept = rules.kept(short, NOW)
    assert kept.hours == kept.minutes == kept.points == NOW - timedelta(days=50)
    longer = rules.kept(short.model_copy(update={"retention_days": 1, "past_limit_hours": 100}), NOW)
    assert longer.points == NOW - timedelta(hours=124)
