from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexed import axis, near
from plumbline_search.searches import fusion

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
legs = st.lists(st.tuples(st.floats(0, 50), st.floats(-1, 1)), min_size=1, max_size=30).map(
    lambda rows: (np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))
)


def by_scores(*arguments: Any) -> fusion.Scores:
    words, meaning = fusion.by_scores(*arguments)
    return words + meaning


@given(legs, st.floats(0, 1))
def test_scores_stay_between_0_and_1(legs: tuple[fusion.Scores, fusion.Scores], weight: float) -> None:
    scores = by_scores(*legs, None, weight)
    assert np.all((scores >= 0) & (scores <= 1 + 1e-9))


@given(legs, st.floats(0, 1))
def test_what_is_better_in_both_legs_never_ranks_below(
    legs: tuple[fusion.Scores, fusion.Scores], weight: float
) -> None:
    lexical, vector = legs
    scores = by_scores(lexical, vector, None, weight)
    better = (lexical[:, None] >= lexical) & (vector[:, None] >= vector)
    assert np.all(scores[:, None][better.nonzero()[0], 0] >= scores[better.nonzero()[1]] - 1e-9)


def test_each_leg_is_scaled_and_weighs_what_it_is_told() -> None:
    lexical, vector = np.array([10.0, 5.0, 0.0]), np.array([0.0, 0.75, 1.0])
    assert by_scores(lexical, vector, None, 0.5) == pytest.approx([0.5, 0.625, 0.5])
    assert by_scores(lexical, vector, None, 1.0) == pytest.approx([1, 0.5, 0])
    assert by_scores(lexical, vector, None, 0.0) == pytest.approx([0, 0.75, 1])


def test_a_leg_whose_scores_are_all_equal_favours_none() -> None:
    assert by_scores(np.zeros(3), np.array([0.2, 0.9, 0.5]), None, 0.5).argsort().tolist() == [0, 2, 1]


def test_of_equals_the_one_that_is_like_the_best_comes_first() -> None:
    vectors = np.stack([axis(0), near(axis(0), 0.9), axis(5)])
    scores = by_scores(
        np.array([9.0, 1.0, 1.0]), np.array([0.9, 0.5, 0.5]), lambda best: vectors @ vectors[best], 0.5
    )
    assert scores.argsort().tolist() == [2, 1, 0]


def test_ranks_are_fused_by_their_reciprocals() -> None:
    lexical, vector = np.array([1.0, np.nan, 2.0]), np.array([7.0, 1.0, np.nan])
    scores = np.add(*fusion.by_ranks(lexical, vector, 0.5))
    assert scores == pytest.approx([(1 + 61 / 67) / 2, 0.5, 61 / 62 / 2])


def test_state_and_age_decide_between_equals_and_no_more() -> None:
    states = ["active", "retired", None, "false_positive"]
    ages = [NOW, NOW - timedelta(days=90), NOW + timedelta(days=1), NOW - timedelta(days=9000)]
    added = fusion.recency(ages, NOW) + fusion.standing(states)
    assert added == pytest.approx([0.04, -0.02, 0.02, -0.03])


def test_no_candidates_fuse_to_none() -> None:
    empty = np.empty(0)
    assert by_scores(empty, empty, lambda best: empty, 0.5).tolist() == []
