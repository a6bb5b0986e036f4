from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.graph.rules import Edge, neighbours_of
from plumbline_analysis.incidents.grouping import Known, Limits, Member, group

START = datetime(2026, 11, 1, tzinfo=UTC)
LIMITS = Limits(window=timedelta(minutes=5), again=timedelta(minutes=40))
GRAPH = neighbours_of([Edge("web", "cart"), Edge("cart", "db")])


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def member(
    number: int,
    service: str | None,
    onset: float,
    end: float | None = None,
    signal: int | None = None,
    requirement: int | None = None,
    of: int | None = None,
) -> Member:
    return Member(
        UUID(int=number),
        UUID(int=1000 + (number if signal is None else signal)),
        service,
        None if requirement is None else UUID(int=requirement),
        at(onset),
        None if end is None else at(end),
        None if of is None else UUID(int=of),
    )


def known(number: int, opened: float = 0, **members: object) -> Known:
    return Known(UUID(int=number), at(opened), **members)  # type: ignore[arg-type]


def joined(members: list[Member], *incidents: Known) -> list[tuple[list[int], list[int]]]:
    """The numbers of the incidents and of the new anomalies of each group."""
    groups = group(incidents, members, GRAPH, LIMITS)
    return [([each.id.int for each in one.incidents], [each.id.int for each in one.joining]) for one in groups]


def test_what_is_of_one_service_and_near_in_time_belongs_together() -> None:
    assert joined([member(1, "web", 0, 1), member(2, "web", 6)]) == [([], [1, 2])]
    assert joined([member(1, "web", 0, 1), member(2, "web", 6.1)]) == [([], [1]), ([], [2])]
    assert joined([member(1, "web", 0), member(2, "web", 100)]) == [([], [1, 2])]


def test_neighbours_and_one_requirement_relate_and_nothing_else_does() -> None:
    assert joined([member(1, "web", 0), member(2, "cart", 1)]) == [([], [1, 2])]
    assert joined([member(1, "web", 0), member(2, "db", 1)]) == [([], [1]), ([], [2])]
    assert joined([member(1, "web", 0), member(2, "db", 1), member(3, "cart", 2)]) == [([], [1, 2, 3])]
    assert joined([member(1, "a", 0, requirement=7), member(2, "b", 1, requirement=7)]) == [([], [1, 2])]
    assert joined([member(1, None, 0), member(2, None, 0)]) == [([], [1]), ([], [2])]


def test_the_same_signal_belongs_to_what_it_was_in_for_longer() -> None:
    assert joined([member(1, "web", 0, 1, signal=1), member(2, "web", 40, signal=1)]) == [([], [1, 2])]
    assert joined([member(1, "web", 0, 1, signal=1), member(2, "web", 42, signal=1)]) == [([], [1]), ([], [2])]


def test_an_anomaly_joins_an_incident_and_one_between_two_merges_the_younger_into_the_older() -> None:
    web, database = member(1, "web", 0, of=21), member(2, "db", 1, of=20)
    assert joined([web, database], known(20, 3), known(21, 2)) == []
    assert joined([web, database, member(3, "web", 2)], known(20, 3), known(21, 2)) == [([21], [3])]
    assert joined([web, database, member(3, "cart", 2)], known(20, 3), known(21, 2)) == [([21, 20], [3])]


def test_incidents_whose_services_turn_out_to_be_neighbours_are_merged_while_they_go_on() -> None:
    pair = [member(1, "web", 0, of=20), member(2, "cart", 1, of=21)]
    assert joined(pair, known(20), known(21, 1)) == [([20, 21], [])]
    assert joined(pair, known(20, is_open=False), known(21, 1)) == []


def test_what_a_person_set_apart_is_not_joined_again() -> None:
    pair = [member(1, "web", 0, of=20), member(2, "web", 1, of=21)]
    apart = known(21, 1, apart=frozenset({UUID(int=20)}))
    assert joined(pair, known(20), apart) == []
    assert joined([*pair, member(3, "web", 2)], known(20), apart) == [([20], [3])]


MEMBERS = st.lists(
    st.tuples(
        st.sampled_from(["web", "cart", "db", "mail", None]),
        st.integers(0, 60),
        st.one_of(st.none(), st.integers(0, 20)),
        st.one_of(st.none(), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=12,
)


def members_of(drawn: list[tuple[str | None, int, int | None, int | None]]) -> list[Member]:
    return [
        member(number, service, onset, None if lasts is None else onset + lasts, signal)
        for number, (service, onset, lasts, signal) in enumerate(drawn, 1)
    ]


def partition(members: list[Member], batches: list[list[int]]) -> set[frozenset[int]]:
    """Which anomalies are one incident after they arrived in these batches of places."""
    of: dict[int, int] = {}
    for number, batch in enumerate(batches):
        so_far = [members[place] for earlier in batches[: number + 1] for place in earlier]
        incidents = [known(id, id) for id in sorted(set(of.values()))]
        there = [
            Member(each.id, each.signal_id, each.service, each.requirement_id, each.onset, each.end, UUID(int=of[n]))
            if (n := each.id.int) in of
            else each
            for each in so_far
        ]
        assert batch
        for found in group(incidents, there, GRAPH, LIMITS):
            kept = found.incidents[0].id.int if found.incidents else 1000 + min(m.id.int for m in found.joining)
            gone = {each.id.int for each in found.incidents[1:]}
            of = {anomaly: kept if id in gone else id for anomaly, id in of.items()}
            of |= dict.fromkeys((each.id.int for each in found.joining), kept)
    groups: dict[int, set[int]] = {}
    for anomaly, id in of.items():
        groups.setdefault(id, set()).add(anomaly)
    return {frozenset(each) for each in groups.values()}


@given(MEMBERS, st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_order_of_arrival_does_not_matter(
    drawn: list[tuple[str | None, int, int | None, int | None]], random: object, size: int
) -> None:
    members = members_of(drawn)
    places = list(range(len(members)))
    at_once = partition(members, [places])
    random.shuffle(places)  # type: ignore[attr-defined]
    batches = [places[start : start + size] for start in range(0, len(places), size)]
    assert partition(members, batches) == at_once


def all_pairs(members: list[Member]) -> set[frozenset[int]]:
    """The components of all that are related and near, each compared with each."""

    def belong_together(one: Member, other: Member) -> bool:
        earlier, later = sorted((one, other), key=lambda each: each.age)
        limit = LIMITS.again if one.signal_id == other.signal_id else LIMITS.window
        services = {one.service, other.service}
        related = one.signal_id == other.signal_id or (
            None not in services and (len(services) == 1 or other.service in GRAPH.get(str(one.service), ()))
        )
        return related and (earlier.end is None or later.onset - earlier.end <= limit)

    components: list[set[Member]] = []
    for member in members:
        touched = [each for each in components if any(belong_together(member, other) for other in each)]
        components = [each for each in components if each not in touched] + [{member}.union(*touched)]
    return {frozenset(each.id.int for each in component) for component in components}


@given(MEMBERS)
def test_to_compare_with_the_latest_finds_what_comparing_all_does(
    drawn: list[tuple[str | None, int, int | None, int | None]],
) -> None:
    members = members_of(drawn)
    assert partition(members, [list(range(len(members)))]) == all_pairs(members)
