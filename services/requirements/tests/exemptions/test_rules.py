from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Forbidden, Invalid
from plumbline_requirements.exemptions import rules
from plumbline_requirements.exemptions.rules import Status

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEPT = [Status.REQUESTED, Status.APPROVED, Status.REJECTED, Status.REVOKED]
offsets = st.timedeltas(timedelta(days=-800), timedelta(days=800))


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_only_the_legal_transitions_pass(now: Status, to: Status) -> None:
    if to in rules.LEGAL[now]:
        rules.check_transition(now, to)
    else:
        with pytest.raises(rules.IllegalTransition) as refusal:
            rules.check_transition(now, to)
        assert refusal.value.extra["legal"] == [state.value for state in rules.LEGAL[now]]


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


def test_who_asks_does_not_decide_nor_who_is_no_reviewer() -> None:
    both = UserInfo("alice", frozenset({"editor", "reviewer"}), frozenset())
    rules.check_decider("bob", both)
    with pytest.raises(rules.OwnRequest):
        rules.check_decider("alice", both)
    with pytest.raises(Forbidden):
        rules.check_decider("bob", UserInfo("carol", frozenset({"editor"}), frozenset()))
