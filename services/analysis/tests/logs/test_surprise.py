import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.logs.surprise import band, divergence, log10_silence, log10_tail, predictive


def exact(count: int, mean: float, size: float) -> float:
    """log10 of the tail, term by term."""

    def p(k: int) -> float:
        log = math.lgamma(k + size) - math.lgamma(k + 1) - math.lgamma(size)
        return math.exp(log + size * math.log(size / (mean + size)) + k * math.log(mean / (mean + size)))

    terms = range(count, count + 20_000) if count > mean else range(count + 1)
    return math.log10(math.fsum(map(p, terms)) or 1e-320)


@given(st.integers(0, 400), st.floats(0.01, 200), st.floats(0.1, 1e4))
def test_the_bound_is_never_below_the_exact_tail(count: int, mean: float, size: float) -> None:
    right = exact(count, mean, size)
    assert log10_tail(count, mean, size) >= right - 1e-6 or right < -290


@pytest.mark.parametrize(
    ("count", "mean", "size"), [(30, 5.0, 40.0), (120, 60.0, 1e6), (20, 60.0, 1e6), (9, 0.2, 3.0)]
)
def test_far_out_the_bound_is_close(count: int, mean: float, size: float) -> None:
    assert log10_tail(count, mean, size) == pytest.approx(exact(count, mean, size), abs=0.35)


def test_without_dispersion_it_is_poissons_distribution() -> None:
    mean, size = predictive(60_000.0, 60.0 * 60_000 + 60_000, 1000.0)
    assert mean == pytest.approx(60, abs=0.01)
    poisson = math.log10(math.fsum(math.exp(-60 + k * math.log(60) - math.lgamma(k + 1)) for k in range(120, 300)))
    assert log10_tail(120, mean, size) == pytest.approx(poisson, abs=0.3)


def test_a_short_history_is_doubted() -> None:
    mean, size = predictive(6.0, 18.0, 2.0)
    longer, more = predictive(600.0, 2400.0, 200.0)
    assert log10_tail(20, mean, size) > log10_tail(20, longer, more)


@given(st.floats(0.0, 1e12), st.floats(0.0, 1e12), st.floats(0.0, 1e6), st.floats(0.0, 1e18))
def test_any_counts_have_a_finite_surprise(total: float, count: float, exposure: float, squares: float) -> None:
    mean, size = predictive(total, squares, exposure)
    found = log10_tail(count, mean, size)
    assert found <= 0
    assert math.isfinite(found)
    assert -math.inf < log10_silence(mean, size) <= 0


@given(st.floats(0.01, 1e5), st.floats(0.5, 1e5))
def test_the_band_is_what_is_not_as_unusual(mean: float, size: float) -> None:
    lower, upper = band(mean, size, -6)
    assert lower <= mean <= upper + 1
    assert log10_tail(upper + 1, mean, size) <= -6
    assert upper <= mean or log10_tail(upper, mean, size) > -6
    assert lower == 0 or log10_tail(lower - 1, mean, size) <= -6


AMOUNTS = st.dictionaries(st.integers(0, 9), st.floats(0.01, 1e6), min_size=1)


@given(AMOUNTS, AMOUNTS)
def test_divergence_is_symmetric_and_between_0_and_1(one: dict[int, float], other: dict[int, float]) -> None:
    found, parts = divergence(one, other)
    assert -1e-9 <= found <= 1 + 1e-9
    assert found == pytest.approx(divergence(other, one)[0], abs=1e-9)
    assert found == pytest.approx(divergence({key: 7 * value for key, value in one.items()}, other)[0], abs=1e-9)
    assert set(parts) == {*one, *other}


def test_the_same_mix_does_not_diverge_and_two_without_a_common_template_do_by_a_bit() -> None:
    assert divergence({1: 2, 2: 4}, {1: 30, 2: 60})[0] == pytest.approx(0)
    assert divergence({1: 5}, {2: 7})[0] == pytest.approx(1)
