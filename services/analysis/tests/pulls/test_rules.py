from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.pulls import rules
from plumbline_analysis.pulls.rules import Mark, Range

STEP = 15


def test_the_newest_point_is_on_the_grid_and_old_enough() -> None:
    assert rules.head(1_000_007.9, 10, STEP) == 999_990
    assert rules.head(1_000_000.0, 10, STEP) == 999_990
    assert rules.head(999_999.9, 10, STEP) == 999_975


def test_a_query_begins_with_its_backfill_and_with_the_newest_point_at_least() -> None:
    assert rules.begin(900, STEP, 100) == Mark(795, 795, ())
    assert rules.begin(900, STEP, 0) == Mark(885, 885, ())


def test_after_an_outage_the_newest_comes_first_and_the_rest_is_missing() -> None:
    mark = Mark(0, 300, ())
    news = rules.fresh(mark, 900, 150)
    assert news == Range(750, 900)
    after = rules.taken(mark, news)
    assert after == Mark(0, 900, (Range(300, 750),))
    assert after.missing == 450
    assert rules.fresh(after, 900, 150) is None


def test_the_oldest_gap_of_all_queries_comes_first_and_in_parts() -> None:
    marks = [Mark(0, 900, (Range(300, 600),)), Mark(0, 900, (Range(150, 600), Range(700, 800))), Mark(0, 900, ())]
    assert rules.oldest_gap(marks, [150, 150, 150]) == (1, Range(150, 300))
    assert rules.oldest_gap([marks[2]], [150]) is None


def test_a_clock_that_stepped_back_does_not_stop_the_pulling() -> None:
    ahead = Mark(0, 4500, (Range(150, 300), Range(3000, 4500)))
    now = rules.within(ahead, 0, 900)
    assert now == Mark(0, 900, (Range(150, 300),))
    assert rules.fresh(now, 915, 150) == Range(900, 915)


def test_what_can_not_be_kept_is_not_missing() -> None:
    assert rules.within(Mark(0, 900, (Range(15, 300),)), 150, 900).gaps == (Range(150, 300),)
    assert rules.within(Mark(0, 900, (Range(15, 300),)), 450, 900).gaps == ()


@given(
    heads=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    news=st.integers(1, 7),
    past=st.integers(1, 9),
    backfill=st.integers(0, 40),
)
def test_whatever_is_out_for_however_long_each_point_is_pulled_once(
    heads: list[int], news: int, past: int, backfill: int
) -> None:
    """In steps of one second: `heads` are the pauses between turns."""
    now = 100
    mark = rules.begin(now, 1, backfill)
    begins, pulled = mark.begins, []
    for pause in heads:
        if (new := rules.fresh(mark, now, news)) is not None:
            pulled += range(new.after + 1, new.until + 1)
            mark = rules.taken(mark, new)
        if (gap := rules.oldest_gap([mark], [past])) is not None:
            pulled += range(gap[1].after + 1, gap[1].until + 1)
            mark = rules.taken(mark, gap[1])
        assert mark.missing + len(pulled) == mark.reached - begins
        now += pause
    while (gap := rules.oldest_gap([mark], [past])) is not None:
        pulled += range(gap[1].after + 1, gap[1].until + 1)
        mark = rules.taken(mark, gap[1])
    assert sorted(pulled) == list(range(begins + 1, mark.reached + 1))


def test_attempts_wait_longer_each_time_and_never_at_one_moment() -> None:
    assert [rules.backoff(attempt, 0.5) for attempt in (1, 2, 3, 30)] == [0.5, 1.0, 2.0, 5.0]
    assert rules.backoff(1, 0.0) == 0.0


def test_a_source_that_fails_again_and_again_is_left_in_peace_for_longer() -> None:
    assert [rules.rest(failures, 60, 0.5) for failures in (1, 3, 4, 5, 99)] == [60, 60, 120, 240, 600]
    assert rules.rest(99, 3600, 0.5) == 3600
    assert rules.rest(1, 60, 0.0) == 54
