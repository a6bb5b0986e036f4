import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from plumbline_requirements.stream.rules import Entry, Filter, Kept, chunks
from plumbline_requirements.stream.service import PAGE, Tail

ONE, OTHER = UUID(int=1), UUID(int=2)


def entry(position: int = 1, verb: str = "updated", **data: Any) -> Entry:
    made = data or {"requirement": {"id": str(ONE), "service": "checkout", "owner_team": None}}
    subject = f"requirements.requirement.{verb}.v1"
    return Entry(position, UUID(int=position), subject, str(ONE), json.dumps(made), datetime(2026, 11, 1, tzinfo=UTC))


def test_an_event_is_four_lines() -> None:
    id, event, data, *rest = entry(7, actor="a\nb\r\u2028c").frame.decode().split("\n")
    assert (id, event, rest) == ("id: 7", "event: requirements.requirement.updated", ["", ""])
    document = json.loads(data.removeprefix("data: "))
    assert document["data"] == {"actor": "a\nb\r\u2028c"}
    assert document["time"] == "2026-11-01T00:00:00Z"


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Filter(), True),
        (Filter(service="checkout"), True),
        (Filter(service="search"), False),
        (Filter(owner_team="payments"), False),
        (Filter(requirement_id=ONE), True),
        (Filter(requirement_id=OTHER), False),
        (Filter(frozenset({"requirements.requirement.updated"})), True),
        (Filter(frozenset({"requirements.requirement.deleted"}), service="checkout"), False),
    ],
)
def test_each_filter_must_let_an_event_through(wanted: Filter, passes: bool) -> None:
    assert wanted.passes(entry()) is passes


def test_what_tells_no_service_may_be_of_any() -> None:
    deleted = entry(verb="deleted", requirement_id=str(ONE), revision=3)
    assert Filter(service="search", owner_team="payments", requirement_id=ONE).passes(deleted)
    assert not Filter(requirement_id=OTHER).passes(deleted)


def test_chunks_hold_what_is_wanted_in_order() -> None:
    found = b"".join(chunks([entry(position) for position in range(1, 1001)], Filter(service="checkout")))
    assert found == b"".join(entry(position).frame for position in range(1, 1001))
    assert list(chunks([entry()], Filter(service="search"))) == []


@pytest.mark.parametrize(
    ("oldest", "newest", "position", "follows"),
    [(1, 0, 0, True), (1, 0, 1, False), (5, 9, 3, False), (5, 9, 4, True), (5, 9, 9, True), (5, 9, 10, False)],
)
def test_a_stream_resumes_where_nothing_is_missing(oldest: int, newest: int, position: int, follows: bool) -> None:
    assert Kept(oldest, newest).follows(position) is follows


def test_the_tail_is_bounded_and_knows_what_it_forgot() -> None:
    tail = Tail(3)
    assert tail.after(0) is None
    tail.begin(4)
    assert tail.after(3) is None
    assert tail.after(4) == tail.after(9) == []
    tail.append([entry(position) for position in range(5, 11)])
    assert tail.after(6) is None
    for position in (7, 8, 9, 10, 11):
        found = tail.after(position)
        assert found is not None
        assert [each.position for each in found] == list(range(position + 1, 11))


def test_a_gap_begins_the_tail_anew() -> None:
    tail = Tail(2 * PAGE)
    tail.begin(0)
    tail.append([entry(1)])
    tail.append([entry(5)])
    assert tail.after(1) is None
    assert [each.position for each in tail.after(4) or ()] == [5]
