"""Kernels against plain numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plumbline_search.passages import scoring
from plumbline_search.passages.scoring import Codes, Floats

DIMENSIONS = 128


def vectors(seed: int, number: int) -> Floats:
    """Of length 1, around a common centre, as those of a model are."""
    made = np.random.default_rng(seed)
    found = made.normal(size=(number, DIMENSIONS)) + 0.5 * made.normal(size=DIMENSIONS)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_a_turn_keeps_inner_products(seed: int) -> None:
    given_vectors = vectors(seed, 6)
    turned = given_vectors @ scoring.basis(DIMENSIONS)
    assert np.allclose(turned @ turned.T, given_vectors @ given_vectors.T, atol=1e-5)


@given(seeds, st.integers(1, 40))
def test_bytes_give_the_cosine_to_three_digits(seed: int, number: int) -> None:
    turned = vectors(seed, number + 1) @ scoring.basis(DIMENSIONS)
    small, scales = scoring.bytes_of(turned[1:])
    exact = turned[1:] @ turned[0]
    rows = np.arange(number)[::-1].copy()
    assert np.allclose(scoring.compared(small, scales, rows, turned[0]), exact[::-1], atol=3e-3)
    assert np.allclose(scoring.compared(small, scales, np.arange(number), turned[0]), exact, atol=3e-3)


@given(seeds)
def test_estimates_are_the_formula_s(seed: int) -> None:
    turned = vectors(seed, 30) @ scoring.basis(DIMENSIONS)
    small, scales = scoring.bytes_of(turned)
    centre = turned.mean(axis=0)
    codes = Codes.empty(32, DIMENSIONS)
    codes.put(0, small[:10], scales[:10], centre)
    codes.put(10, small[10:], scales[10:], centre)
    asked = scoring.query(turned[3], centre)
    rows = np.random.default_rng(seed).permutation(30)
    found = np.empty(30, np.float32)
    found[rows] = scoring.estimated(codes, rows, asked)
    kept = small * scales[:, np.newaxis]
    rest, asked_rest = kept - centre, turned[3] - centre
    signs, asked_signs = np.where(rest > 0, 1, -1), np.where(asked_rest > 0, 1, -1)
    worth = (rest**2).sum(axis=1) / np.abs(rest).sum(axis=1)
    expected = worth * np.abs(asked_rest).mean() * (signs @ asked_signs) + kept @ centre
    assert np.allclose(found, expected, atol=1e-4)
    least = float(np.sort(found)[12])
    chosen = scoring.promising(codes, asked, least, np.empty(30, np.int64))
    assert chosen.tolist() == np.flatnonzero(found >= least).tolist()


def test_the_nearest_have_the_best_estimates() -> None:
    """Of 20,000 vectors that lie in heaps, as texts do, the ten nearest are among the best 400 estimates."""
    made = np.random.default_rng(1)
    middles = vectors(2, 200)
    heaped = middles[made.integers(0, 200, 20_000)] + 0.05 * made.normal(size=(20_000, DIMENSIONS))
    turned = np.asarray(heaped / np.linalg.norm(heaped, axis=1, keepdims=True), np.float32)
    turned = turned @ scoring.basis(DIMENSIONS)
    small, scales = scoring.bytes_of(turned)
    codes = Codes.empty(len(turned), DIMENSIONS)
    centre = turned.mean(axis=0)
    codes.put(0, small, scales, centre)
    every = np.arange(len(turned))
    kept = []
    for asked in turned[:50]:
        found = scoring.estimated(codes, every, scoring.query(asked, centre))
        nearest = np.argsort(-(turned @ asked))[:10]
        kept.append(len(np.intersect1d(nearest, np.argsort(-found)[:400])) / 10)
    assert np.mean(kept) > 0.97
