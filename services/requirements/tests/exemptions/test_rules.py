from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_common.errors import Invalid
from plumbline_requirements.consents.rules import Status
from plumbline_requirements.exemptions import rules

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEPT = [Status.REQUESTED, Status.APPROVED, Status.REJECTED, Status.REVOKED]
offsets = st.timedeltas(timedelta(days=-800), timedelta(days=800))


@given(offsets, offsets)
def test_a_period_is_taken_where_it_ends_after_it_starts_soon_enough_and_not_past(
    start: timedelta, end: timedelta
) -> None:
    fine = timedelta(0) < end - start <= timedelta(days=366) and end > timedelta(0)
    if fine:
        rules.check_period(NOON + start, NOON + end, NOON)
    else:
        with pytest.raises(Invalid) as refusal:
            rules.check_period(NOON + start, NOON + end, NOON)
        assert refusal.value.pointer == "/expires_at"


def test_a_whole_leap_year_is_taken_and_not_a_microsecond_more() -> None:
    rules.check_period(NOON, NOON + timedelta(days=366), NOON)
    with pytest.raises(Invalid, match="at most 366 days"):
        rules.check_period(NOON, NOON + timedelta(days=366, microseconds=1), NOON)


@given(st.sampled_from(KEPT), offsets, st.timedeltas(timedelta(microseconds=1), timedelta(days=366)))
def test_what_is_active_is_approved_and_nothing_is_active_once_expired(
    kept: Status, start: timedelta, length: timedelta
) -> None:
    starts_at = NOON + start
    expires_at = starts_at + length
    status = rules.status_at(kept, expires_at, NOON)
    active = rules.active_at(kept, starts_at, expires_at, NOON)
    assert active == (status is Status.APPROVED and starts_at <= NOON)
    assert status in (kept, Status.EXPIRED)
    assert (status is Status.EXPIRED) == (kept in (Status.REQUESTED, Status.APPROVED) and expires_at <= NOON)
