import numpy as np
import numpy.typing as npt
import pytest

from plumbline_analysis.detection import grid, seasons

FIVE_MINUTES = 300_000_000
START = 1_700_000_000_000_000
DAY = 288
Float64 = npt.NDArray[np.float64]


def noise(count: int, seed: int = 5) -> Float64:
    return np.random.default_rng(seed).normal(size=count)


def wave(count: int, period: float) -> Float64:
    return np.sin(np.arange(count) / period * 2 * np.pi)


def periods(values: Float64, step: int = FIVE_MINUTES) -> list[float]:
    cells = grid.grid(START + step * np.arange(len(values)), values)
    return [season.cells for season in seasons.found(cells)[0]]


@pytest.mark.parametrize("amplitude", [2.0, 50.0])
def test_a_day_is_found_and_taken_away(amplitude: float) -> None:
    values = 100 + amplitude * wave(14 * DAY, DAY) + noise(14 * DAY)
    [day], rest = seasons.found(grid.grid(START + FIVE_MINUTES * np.arange(len(values)), values))
    assert (day.cells, day.period_us) == (DAY, 86_400e6)
    assert 0.2 < day.explained < 1
    assert np.std(rest) < 1.1
    assert np.mean(rest) == pytest.approx(100, abs=0.5)


def test_a_week_is_found_beside_the_day() -> None:
    day = np.arange(42 * DAY) // DAY
    values = (100 + 40 * wave(42 * DAY, DAY)) * np.where(day % 7 >= 5, 0.7, 1.0) + noise(42 * DAY)
    assert periods(values) == [DAY, 7 * DAY]


@pytest.mark.parametrize(("period", "step"), [(37.3, FIVE_MINUTES), (1440 / 7, 420_000_000), (60.0, 1_000_000)])
def test_any_period_is_found_even_one_that_is_no_whole_number_of_cells(period: float, step: int) -> None:
    [found] = periods(wave(6000, period) ** 5 + 0.1 * noise(6000), step)
    assert found == pytest.approx(period, rel=1e-3)


def test_a_season_is_found_through_gaps_outliers_and_a_change_of_level() -> None:
    values = 100 + 40 * wave(14 * DAY, DAY) + noise(14 * DAY)
    values[2000:] += 300
    values[1000] = 1e12
    values[np.random.default_rng(1).random(len(values)) < 0.3] = np.nan
    assert periods(values) == [DAY]


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.99])
def test_noise_has_no_season_however_it_wanders(memory: float) -> None:
    for seed in range(10):
        values = noise(3000, seed)
        for index in range(1, len(values)):
            values[index] += memory * values[index - 1]
        assert periods(values) == []


def test_two_cycles_are_no_season() -> None:
    assert periods(100 + 40 * wave(2 * DAY + 100, DAY) + noise(2 * DAY + 100)) == []


@pytest.mark.parametrize("values", [[], [1.0], [np.nan] * 9, [3.0] * 500])
def test_what_cannot_repeat_has_no_season(values: list[float]) -> None:
    assert periods(np.array(values)) == []
