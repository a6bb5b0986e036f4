from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.incidents.ranking import Candidate, Deployed, dependents, rank

START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def candidate(service: str, seconds: float = 0, peak: float = 2.0, **members: object) -> Candidate:
    id = UUID(int=sum(service.encode()))
    onset = START + timedelta(seconds=seconds)
    return Candidate(service, id, f"Latency of {service} rose", onset, peak, **members)  # type: ignore[arg-type]


CANDIDATES = st.lists(
    st.builds(
        candidate,
        st.sampled_from("abcdefgh"),
        st.integers(0, 600),
        st.floats(1, 100),
        dependents=st.floats(0, 1),
        deployed=st.one_of(st.none(), st.builds(Deployed, st.just("1.4.2"), st.timedeltas(timedelta(), HOUR))),
        logs=st.sampled_from([None, "connection refused"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each.service,
)


def places(candidates: list[Candidate]) -> dict[str | None, int]:
    return {origin.service: place for place, origin in enumerate(rank(candidates, HOUR))}


@given(CANDIDATES, st.data())
def test_an_earlier_onset_never_ranks_lower(candidates: list[Candidate], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(candidates) - 1))
    chosen = candidates[place]
    earlier = list(candidates)
    earlier[place] = replace(chosen, onset=chosen.onset - timedelta(seconds=data.draw(st.integers(1, 300))))
    assert places(earlier)[chosen.service] <= places(candidates)[chosen.service]


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(candidates: list[Candidate], random: object) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert rank(shuffled, HOUR) == rank(candidates, HOUR)


@given(CANDIDATES)
def test_a_score_is_the_sum_of_its_reasons(candidates: list[Candidate]) -> None:
    for origin in rank(candidates, HOUR):
        assert origin.score == pytest.approx(sum(reason.weight for reason in origin.reasons), abs=1e-3)
        assert 0 <= origin.score <= 1


def test_who_everybody_depends_on_stands_above_who_noticed_it_first() -> None:
    shares = dependents({"web", "cart", "db"}, {"web": {"cart"}, "cart": {"db"}})
    assert shares == {"web": 0, "cart": 0.5, "db": 1}
    candidates = [
        candidate("web", 0, dependents=shares["web"]),
        candidate("cart", 20, dependents=shares["cart"]),
        candidate("db", 40, dependents=shares["db"]),
    ]
    origins = rank(candidates, HOUR)
    assert [each.service for each in origins] == ["db", "cart", "web"]
    assert [(reason.kind, reason.text) for reason in origins[0].reasons] == [
        ("dependents", "all of the other services depend on it"),
        ("onset", "it began 40 s after the first"),
        ("strength", "it departed 2.0 times as far as the threshold"),
    ]


def test_services_that_call_each_other_in_a_circle_depend_on_each_other() -> None:
    assert dependents({"a", "b"}, {"a": {"b"}, "b": {"a"}}) == {"a": 1, "b": 1}


def test_a_deployment_shortly_before_and_logs_of_errors_count() -> None:
    plain, deployed = candidate("a"), candidate("b", deployed=Deployed("1.4.2", timedelta(minutes=6)))
    assert places([plain, deployed]) == {"b": 0, "a": 1}
    assert "1.4.2 was deployed 6 min before" in [reason.text for reason in rank([deployed], HOUR)[0].reasons]
    assert places([plain, candidate("b", logs="connection refused")]) == {"b": 0, "a": 1}
    long_ago = candidate("b", deployed=Deployed("1.4.2", timedelta(hours=2)))
    assert places([plain, long_ago]) == {"a": 0, "b": 1}
