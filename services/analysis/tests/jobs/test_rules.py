from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.jobs import rules
from plumbline_analysis.jobs.rules import IllegalTransition, NotYourJob, Progress
from plumbline_common.schemas import JobState

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize("state", JobState)
def test_what_is_over_cannot_be_cancelled_nor_what_is_another_s(state: JobState) -> None:
    with pytest.raises(NotYourJob):
        rules.check_cancellable(state, may=False)
    if state in rules.OVER:
        with pytest.raises(IllegalTransition):
            rules.check_cancellable(state, may=True)
    else:
        rules.check_cancellable(state, may=True)


@given(attempts=st.integers(0, 9), most=st.integers(1, 9), left=st.integers(-5, 5))
def test_a_job_that_was_left_is_tried_again_while_there_are_attempts_and_time(
    attempts: int, most: int, left: int
) -> None:
    fate = rules.fate(attempts, NOW + timedelta(seconds=left), NOW, most, "it was killed")
    again = attempts < most and left > 0
    assert (fate.state is JobState.QUEUED) is again
    assert (fate.failure is None) is again
    if left <= 0:
        assert fate.state is JobState.TIMED_OUT
    elif not again:
        assert fate.failure is not None
        assert "it was killed" in fate.failure.detail


def test_progress_is_news_by_the_twentieth_and_when_it_is_at_something_else() -> None:
    told = Progress(0.5, "judges")
    assert not Progress(0.54, "judges").is_news(told)
    assert Progress(0.55, "judges").is_news(told)
    assert Progress(0.5, "tries").is_news(told)
