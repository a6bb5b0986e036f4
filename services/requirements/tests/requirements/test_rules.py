import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_common.auth import UserInfo
from plumbline_common.errors import Forbidden
from plumbline_common.schemas import RequirementStatus as Status
from plumbline_requirements.requirements import rules

ALICE = UserInfo("alice", frozenset({"editor"}), frozenset({"payments"}))
RITA = UserInfo("rita", frozenset({"reviewer"}), frozenset())
ADMIN = UserInfo("root", frozenset({"admin"}), frozenset())

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_only_the_legal_transitions_pass(now: Status, to: Status) -> None:
    if to in rules.LEGAL[now]:
        rules.check_transition(now, to, "alice", RITA)
    else:
        with pytest.raises(rules.IllegalTransition) as refusal:
            rules.check_transition(now, to, "alice", RITA)
        assert refusal.value.extra["legal"] == [state.value for state in rules.LEGAL[now]]


def test_the_author_cannot_decide_on_the_own_revision() -> None:
    author = UserInfo("alice", frozenset({"editor", "reviewer"}), frozenset())
    with pytest.raises(rules.OwnRevision):
        rules.check_transition(Status.IN_REVIEW, Status.APPROVED, ["bob", "alice"], author)


def test_an_editor_does_not_approve() -> None:
    with pytest.raises(Forbidden, match="reviewer"):
        rules.check_transition(Status.IN_REVIEW, Status.APPROVED, ["bob"], ALICE)


def test_a_team_changes_its_own_requirements_only() -> None:
    rules.check_changeable("payments", ALICE)
    rules.check_changeable(None, ALICE)
    rules.check_changeable("search", ADMIN)
    with pytest.raises(rules.NotYourTeam):
        rules.check_changeable("search", ALICE)


def test_a_reviewer_decides_but_does_not_write() -> None:
    for to in (Status.APPROVED, Status.REJECTED, Status.DRAFT):
        rules.check_mover(Status.IN_REVIEW, to, "payments", RITA)
    for now, to in ((Status.APPROVED, Status.ACTIVE), (Status.ACTIVE, Status.DEPRECATED)):
        with pytest.raises(Forbidden):
            rules.check_mover(now, to, "payments", RITA)
    with pytest.raises(Forbidden):
        rules.check_editable(Status.DRAFT, None, RITA)


@given(st.lists(st.sampled_from(Status), max_size=8))
def test_one_revision_is_in_force_from_active_to_retired(path: list[Status]) -> None:
    in_force: int | None = None
    for revision, status in enumerate(path, 1):
        in_force = rules.in_force_after(revision, status, in_force)
        since_retired = path[:revision][::-1]
        ended = since_retired.index(Status.RETIRED) if Status.RETIRED in since_retired else len(since_retired)
        newest = [revision - back for back, each in enumerate(since_retired[:ended]) if each.in_force]
        assert in_force == (newest[0] if newest else None)


def test_the_examples_of_rfc_7396_hold() -> None:
    for target, patch, result in [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        (["a"], {"b": 1}, {"b": 1}),
        ({"a": 1}, ["c"], ["c"]),
    ]:
        assert rules.merged(target, patch) == result


@given(json_values, json_values)
def test_a_patch_applied_twice_is_as_if_applied_once(target: object, patch: object) -> None:
    once = rules.merged(target, patch)
    assert rules.merged(once, patch) == once


CONTENT = {
    "title": "t",
    "statement": "s",
    "type": "other",
    "priority": "must",
    "service": None,
    "slos": [],
    "verification_method": "",
}


def test_the_fingerprint_sees_demands_and_not_bookkeeping() -> None:
    same = rules.fingerprint(CONTENT | {"labels": {"a": "b"}, "status": "active"})
    assert same == rules.fingerprint(CONTENT)
    assert rules.fingerprint(CONTENT | {"title": "u"}) != same
