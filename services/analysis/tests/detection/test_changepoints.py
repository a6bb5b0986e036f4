from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_analysis.detection import changepoints, grid
from plumbline_analysis.detection.changepoints import Changepoint, Kind

MINUTE = 60_000_000
START = 1_700_000_000_000_000
Float64 = npt.NDArray[np.float64]


def noise(count: int, seed: int = 5, memory: float = 0.0) -> Float64:
    """Of deviation 1, autoregressive with coefficient `memory`."""
    values = np.random.default_rng(seed).normal(size=count) * np.sqrt(1 - memory**2)
    for index in range(1, count if memory else 0):
        values[index] += memory * values[index - 1]
    return values


def found(values: Float64) -> tuple[Changepoint, ...]:
    cells = grid.grid(START + MINUTE * np.arange(len(values)), values)
    return changepoints.found(cells, cells.values)


def found_at(changes: tuple[Changepoint, ...], kind: Kind) -> list[int]:
    return [(change.at - START) // MINUTE for change in changes if change.kind is kind]


def error(values: Float64) -> float:
    return float(np.sum((values - values.mean()) ** 2))


def slow_cost(values: Float64, price: float, shortest: int) -> float:
    """The least squared error and prices of any cutting, by trying every last piece of every beginning."""
    best = [-price] + [np.inf] * len(values)
    for end in range(shortest, len(values) + 1):
        begins = [begin for begin in range(end - shortest + 1) if best[begin] < np.inf]
        best[end] = min(best[begin] + error(values[begin:end]) + price for begin in begins)
    return best[-1]


@given(seed=st.integers(0, 10_000), count=st.integers(2, 120), shortest=st.integers(1, 20), price=st.floats(0.1, 50))
@settings(max_examples=20)
def test_no_cutting_costs_less_than_the_one_that_is_found(seed: int, count: int, shortest: int, price: float) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=count) + 2 * np.repeat(random.normal(size=count // 20 + 1), 20)[:count]
    sums = np.concatenate([[0.0], np.cumsum(values)])
    last = changepoints.pelt(sums, np.arange(count + 1.0), price, shortest)
    if count < shortest:
        assert last[-1] == -1
        return
    pieces = [values[begin:end] for begin, end in pairwise(changepoints.places(last))]
    assert min(map(len, pieces)) >= shortest
    cost = sum(map(error, pieces)) + price * (len(pieces) - 1)
    assert cost == pytest.approx(slow_cost(values, price, shortest))


@given(
    seed=st.integers(0, 10_000),
    where=st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True),
    size=st.floats(1.5, 50),
    unit=st.floats(1e-6, 1e6),
)
@settings(max_examples=25)
def test_planted_changes_of_level_are_found_where_they_are(
    seed: int, where: list[int], size: float, unit: float
) -> None:
    values, planted = noise(2000, seed), sorted(200 * each for each in where)
    for number, place in enumerate(planted):
        values[place:] += size * (-1) ** number
    changes = found(unit * values)
    got = found_at(changes, Kind.LEVEL)
    assert len(got) == len(planted)
    assert max(abs(one - other) for one, other in zip(got, planted, strict=True)) <= 20
    first = next(change for change in changes if change.kind is Kind.LEVEL)
    assert first.after - first.before == pytest.approx(size * unit, abs=0.6 * unit)
    assert first.strength >= 1


def test_planted_changes_of_variation_are_found_and_no_levels_with_them() -> None:
    for seed in range(5):
        values = noise(3000, seed)
        values[1000:2000] *= 3
        changes = found(values)
        got = found_at(changes, Kind.VARIATION)
        assert len(got) == 2
        assert np.abs(np.array(got) - [1000, 2000]).max() <= 3 * changepoints.BLOCK
        assert changes[0].after / changes[0].before == pytest.approx(3, rel=0.2)
        assert found_at(changes, Kind.LEVEL) == []


@pytest.mark.parametrize("memory", [-0.5, 0.0, 0.5, 0.9])
def test_noise_has_few_changes_autocorrelated_or_not(memory: float) -> None:
    assert sum(len(found(noise(4000, seed, memory))) for seed in range(20)) <= 1


def test_heavy_tails_counts_and_spikes_are_no_changes() -> None:
    random = np.random.default_rng(1)
    spiky = noise(4000)
    spiky[::500] = 1e9
    for values in (
        random.standard_t(2, 4000),
        random.exponential(size=4000),
        random.poisson(0.02, 4000) * 1.0,
        spiky,
    ):
        assert found(values) == ()


def test_a_slope_is_no_flight_of_steps() -> None:
    values = noise(6000)
    assert found(values + np.arange(6000) / 100) == ()
    ramp = found_at(found(values + np.clip((np.arange(6000) - 3000) / 20, 0, 10)), Kind.LEVEL)
    assert 1 <= len(ramp) <= 2
    assert all(3000 - 20 <= place <= 3200 + 20 for place in ramp)


def test_what_is_over_within_half_a_season_is_an_event() -> None:
    values = noise(4000)
    values[2000:2060] += 10
    cells = grid.grid(START + MINUTE * np.arange(4000), values)
    assert found_at(changepoints.found(cells, values, None), Kind.LEVEL) == [2000, 2060]
    assert changepoints.found(cells, values, 288.0) == ()


def test_gaps_move_no_change() -> None:
    values = noise(2000)
    values[1000:] += 3
    values[100:400] = np.nan
    values[np.random.default_rng(2).random(2000) < 0.2] = np.nan
    [place] = found_at(found(values), Kind.LEVEL)
    assert abs(place - 1000) <= 5


@pytest.mark.parametrize("values", [[], [1.0], [np.nan] * 100, [2.0] * 500])
def test_what_never_changes_has_no_change(values: list[float]) -> None:
    assert found(np.array(values)) == ()


def test_the_step_of_a_constant_is_exact() -> None:
    [change] = found(np.repeat([1.0, 2.0], [300, 200]))
    assert (change.kind, change.at, change.before, change.after) == (Kind.LEVEL, START + 300 * MINUTE, 1.0, 2.0)


@pytest.mark.parametrize(("memory", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.9, 19.0)])
def test_the_long_run_variance_is_that_of_the_noise_whatever_the_levels(memory: float, expected: float) -> None:
    values = noise(16_000, memory=memory) + np.repeat([0.0, 9.0, -4.0, 2.0], 4000)
    assert changepoints.long_run_variance(values) == pytest.approx(expected, rel=0.5)
