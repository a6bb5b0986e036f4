import pickle

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_analysis.detection import batch
from plumbline_analysis.detection.changepoints import Kind
from plumbline_analysis.detection.streams import Engine

FIVE_MINUTES = 300_000_000
START = 1_700_000_000_000_000
DAY = 288
Float64 = npt.NDArray[np.float64]


def times(count: int) -> npt.NDArray[np.int64]:
    return START + FIVE_MINUTES * np.arange(count)


@given(
    values=st.lists(
        st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([1.0, 2.0]), min_size=1, max_size=120
    ),
    steps=st.lists(st.sampled_from([FIVE_MINUTES, 1, 0, -FIVE_MINUTES, 10**11]), min_size=120, max_size=120),
)
@settings(max_examples=20)
def test_a_batch_is_judged_as_the_stream_was_bit_for_bit(values: list[float], steps: list[int]) -> None:
    at = START + np.cumsum(steps[: len(values)])
    whole, engine = batch.judge(at, values), Engine(1)
    for index, (when, value) in enumerate(zip(at.tolist(), values, strict=True)):
        one = engine.run([0], [when], [value])
        for name in ("score", "fresh", "expected", "lower", "upper", "members"):
            np.testing.assert_array_equal(getattr(one, name)[0], getattr(whole, name)[index])


def test_looking_back_tells_season_strange_day_and_new_level_together() -> None:
    count = 30 * DAY
    values = 100 + 40 * np.sin(np.arange(count) / DAY * 2 * np.pi) + np.random.default_rng(1).normal(size=count)
    values[4000:] += 12
    values[6000 : 6000 + DAY // 3] = values[6000 : 6000 + DAY // 3][::-1]
    seen = batch.look_back(times(count), values)
    assert (seen.step, seen.averaged, seen.window) == (FIVE_MINUTES, 1, DAY)
    assert [season.cells for season in seen.seasons] == [DAY]
    assert seen.discords[0].begin <= START + 6100 * FIVE_MINUTES <= seen.discords[0].end + DAY * FIVE_MINUTES
    [change] = [change for change in seen.changepoints if change.kind is Kind.LEVEL and change.at < times(5000)[-1]]
    assert abs(change.at - START - 4000 * FIVE_MINUTES) <= 3 * FIVE_MINUTES
    assert change.after - change.before == pytest.approx(12, abs=1)
    assert pickle.loads(pickle.dumps(seen)) == seen


def test_the_order_of_the_points_does_not_matter() -> None:
    values = np.random.default_rng(1).normal(size=600)
    values[300:] += 5
    order = np.random.default_rng(2).permutation(600)
    assert batch.look_back(times(600)[order], values[order]) == batch.look_back(times(600), values)


def test_a_window_may_be_given_but_not_one_without_a_shape() -> None:
    values = np.random.default_rng(1).normal(size=600)
    assert batch.look_back(times(600), values, window=20).window == 20
    with pytest.raises(ValueError, match="at least 8"):
        batch.look_back(times(600), values, window=7)


@pytest.mark.parametrize("count", [0, 1, 59])
def test_a_short_history_shows_nothing(count: int) -> None:
    seen = batch.look_back(times(count), np.ones(count))
    assert (seen.window, seen.seasons, seen.discords, seen.changepoints) == (0, (), (), ())


@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0]), max_size=400),
    steps=st.lists(st.sampled_from([FIVE_MINUTES, 1, 0, -FIVE_MINUTES, 10**15]), min_size=400, max_size=400),
)
@settings(max_examples=30)
def test_no_input_raises_or_gives_what_is_not_finite(values: list[float], steps: list[int]) -> None:
    at = START + np.cumsum(np.array(steps[: len(values)], np.int64))
    seen = batch.look_back(at, np.array(values))
    numbers = [figure for each in seen.discords for figure in (each.distance, each.usual)]
    numbers += [figure for each in seen.changepoints for figure in (each.before, each.after, each.strength)]
    assert np.isfinite(numbers).all()
