import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_search.postings import scoring
from plumbline_search.postings.scoring import K1, B, Fresh, Matches, Postings, Run

texts = st.lists(st.lists(st.integers(1, 12), max_size=30), min_size=1, max_size=30)
queries = st.dictionaries(st.integers(1, 14), st.sampled_from([1.0, 2.0]), max_size=6)


def bm25(texts: list[list[int]], query: dict[int, float]) -> dict[int, float]:
    """The formula, as it stands in the books."""
    average = max(1.0, sum(map(len, texts)) / len(texts))
    found = {}
    for version, text in enumerate(texts, 1):
        score = 0.0
        for term, weight in query.items():
            often, frequency = text.count(term), sum(term in other for other in texts)
            idf = math.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
            score += weight * idf * often / (often + K1 * (1 - B + B * len(text) / average)) if often else 0.0
        if score:
            found[version] = score
    return found


def fresh(version: int, text: list[int]) -> Fresh:
    counts = Counter(text)
    return Fresh(version, len(text), np.array(list(counts), np.int64), np.array(list(counts.values()), np.uint16))


def unpacked(run: Run, packed: dict[int, bytes]) -> list[Postings]:
    return [scoring.unpack(run.id, term, postings) for term, postings in packed.items()]


def only(postings: list[Postings], query: dict[int, float]) -> list[Postings]:
    """As the index hands over: those of the query's terms."""
    return [each for each in postings if each.term in query]


@given(texts, queries, st.integers(0, 30), st.integers(0, 30))
def test_however_documents_lie_in_runs_their_scores_are_those_of_the_formula(
    texts: list[list[int]], query: dict[int, float], first: int, second: int
) -> None:
    documents = [fresh(version, text) for version, text in enumerate(texts, 1)]
    cut, again = sorted((min(first, len(documents)), min(second, len(documents))))
    runs, postings = [], []
    for id, part in ((1, documents[:cut]), (2, documents[cut:again])):
        if part:
            run, packed = scoring.run_of(id, part)
            runs.append(run)
            postings += unpacked(run, packed)
    matches = scoring.score(query, runs, only(postings, query), documents[again:])
    assert matches.by_version() == pytest.approx(bm25(texts, query), rel=1e-4)


@given(texts, queries, st.sets(st.integers(1, 30)))
def test_merged_runs_score_as_their_living_documents_do(
    texts: list[list[int]], query: dict[int, float], gone: set[int]
) -> None:
    documents = [fresh(version, text) for version, text in enumerate(texts, 1)]
    alive = [each for each in documents if each.version not in gone]
    runs, postings = [], []
    for id in (1, 2):
        if part := documents[id - 1 :: 2]:
            run, packed = scoring.run_of(id, part)
            runs.append(run)
            postings += unpacked(run, packed)
    merged = scoring.merge(9, runs, np.array([each.version for each in alive], np.int32))
    together = []
    for term in {each.term for each in postings}:
        packed_term = merged.merged([each for each in postings if each.term == term])
        if packed_term:
            together.append(scoring.unpack(9, term, packed_term))
    matches = scoring.score(query, [merged.run], only(together, query), [])
    expected = scoring.score(query, [], [], alive)
    assert matches.by_version() == pytest.approx(expected.by_version(), rel=1e-4)


@given(
    st.lists(st.tuples(st.integers(1, 99), st.sampled_from([0.5, 1.0, 2.0])), unique_by=lambda each: each[0]),
    st.integers(1, 20),
)
def test_the_best_stand_in_order_and_of_equals_the_newest_first(found: list[tuple[int, float]], most: int) -> None:
    run = Run(1, np.array([version for version, _ in found], np.int32), np.ones(len(found), np.int32))
    best = Matches([(run, np.array([score for _, score in found], np.float32))]).best(most)
    expected = sorted(found, key=lambda each: (-each[1], -each[0]))[:most]
    assert list(zip(best.versions.tolist(), best.scores.tolist(), strict=True)) == expected


def test_of_many_documents_the_best_are_those_of_all() -> None:
    """However scores lie: all alike, few that have any, and the best in one run."""
    made = np.random.default_rng(3)
    size = scoring._SAMPLED
    runs = [Run(id, np.arange(id * size, (id + 1) * size, dtype=np.int32), np.ones(size, np.int32)) for id in (1, 2)]
    alike = np.full(size, 0.5, np.float32)
    spread = made.random(size).astype(np.float32)
    few = np.where(made.random(size) < 0.0005, spread, np.float32(0))
    ascending = np.sort(spread)
    for first, second in (
        (alike, alike),
        (spread, alike),
        (few, few),
        (few, np.zeros(size, np.float32)),
        (ascending, few),
    ):
        matches = Matches([(runs[0], first), (runs[1], second)])
        versions, scores = matches.versions, matches.scores
        assert len(versions) == np.count_nonzero(first) + np.count_nonzero(second)
        for most in (1, 125, 3_000):
            best = matches.best(most)
            order = np.lexsort((-versions, -scores))[:most]
            assert best.versions.tolist() == versions[order].tolist()
            assert best.scores.tolist() == scores[order].tolist()


@given(texts, queries, st.sets(st.integers(1, 40)))
def test_those_of_some_versions_are_found_without_the_rest(
    texts: list[list[int]], query: dict[int, float], some: set[int]
) -> None:
    documents = [fresh(version, text) for version, text in enumerate(texts, 1)]
    run, packed = scoring.run_of(1, documents[::2])
    matches = scoring.score(query, [run], only(unpacked(run, packed), query), documents[1::2])
    wanted = np.array(sorted(some), np.int32)
    expected = {version: score for version, score in matches.by_version().items() if version in some}
    assert matches.only(wanted).by_version() == expected == matches.of(wanted)
    assert matches.without(wanted).only(wanted).by_version() == {}


def test_counts_beyond_16_bits_and_empty_postings_travel() -> None:
    places, counts = np.array([0, 70_000], np.int32), np.array([1, 65_535], np.uint16)
    back = scoring.unpack(1, 2, scoring.pack(places, counts))
    assert (back.documents.tolist(), back.counts.tolist()) == ([0, 70_000], [1, 65_535])
    assert len(scoring.unpack(1, 2, b"").documents) == 0


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    documents = [fresh(version, [1, 2] if version == 1 else [1, 3]) for version in range(1, 6)]
    scores = scoring.score({1: 1.0, 2: 1.0}, [], [], documents).by_version()
    assert max(scores, key=scores.__getitem__) == 1


def test_nothing_is_found_in_nothing() -> None:
    assert scoring.score({1: 1.0}, [], [], []).by_version() == {}
    assert scoring.score({}, [], [], [fresh(1, [1])]).by_version() == {}
