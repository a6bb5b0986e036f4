import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Forbidden
from plumbline_requirements.consents import rules
from plumbline_requirements.consents.rules import Status


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_only_the_legal_transitions_pass(now: Status, to: Status) -> None:
    if to in rules.LEGAL[now]:
        rules.check_transition(now, to)
    else:
        with pytest.raises(rules.IllegalTransition) as refusal:
            rules.check_transition(now, to)
        assert refusal.value.extra["legal"] == [state.value for state in rules.LEGAL[now]]


def test_who_asks_does_not_decide_nor_who_is_no_reviewer() -> None:
    both = UserInfo("alice", frozenset({"editor", "reviewer"}), frozenset())
    rules.check_decider("bob", both)
    with pytest.raises(rules.OwnRequest):
        rules.check_decider("alice", both)
    with pytest.raises(Forbidden):
        rules.check_decider("bob", UserInfo("carol", frozenset({"editor"}), frozenset()))
