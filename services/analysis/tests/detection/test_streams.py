from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_analysis.detection import kernels, streams
from plumbline_analysis.detection.streams import Engine, Judgements, Member

MINUTE = 60_000_000
FIVE_MINUTES = 5 * MINUTE
DAY = 288
START = 1_700_000_000_000_000
Float64 = npt.NDArray[np.float64]

anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 1e300, -1e300, 5e-324, float("nan"), float("inf")]),
)
steps = st.one_of(
    st.integers(1, 10 * MINUTE),
    st.sampled_from([0, -MINUTE, FIVE_MINUTES, 86_400_000_000, 3650 * 86_400_000_000]),
)


def noise(count: int, seed: int = 5) -> Float64:
    return np.random.default_rng(seed).normal(size=count)


def daily(days: int, seed: int = 5) -> Float64:
    """A load that is low at night, with a little noise, every five minutes."""
    phase = np.arange(days * DAY) / DAY * 2 * np.pi
    return 100 + 40 * np.sin(phase) + 2 * noise(days * DAY, seed)


def judged(values: Float64, step: int = FIVE_MINUTES, engine: Engine | None = None, begin: int = 0) -> Judgements:
    at = START + step * (begin + np.arange(len(values)))
    return (engine or Engine(1)).run(np.zeros(len(values), np.int64), at, values)


def same(one: Judgements, two: Judgements) -> None:
    for name in ("score", "fresh", "expected", "lower", "upper", "members"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_it_says_nothing_until_it_has_learned() -> None:
    found = judged(noise(200))
    assert np.isnan(found.score[:60]).all()
    assert not np.isnan(found.score[60:]).any()
    assert set(found.seen_by()[:60]) == {-1}


def test_the_members_sum_up_to_the_score() -> None:
    found = judged(daily(4))
    np.testing.assert_allclose(found.members[60:].sum(axis=1), found.score[60:], rtol=1e-5)
    assert (found.lower[60:] <= found.expected[60:]).all()
    assert (found.expected[60:] <= found.upper[60:]).all()


def test_noise_lies_within_the_band_and_raises_at_most_one_alarm_a_series_week() -> None:
    weeks, alarms, outside = 4, 0, []
    for seed in range(10):
        values = noise(weeks * 7 * DAY, seed)
        found = judged(values)
        alarms += int((found.fresh >= 1).sum())
        outside.append(np.mean((values < found.lower) | (values > found.upper)))
    assert alarms <= weeks * 10
    assert np.mean(outside) < 0.01


def test_a_pure_daily_season_raises_no_alarm_after_learning() -> None:
    found = judged(daily(21))
    assert not (found.fresh[4 * DAY :] >= 1).any()


def test_a_daily_season_narrows_the_band_to_what_the_season_leaves() -> None:
    found = judged(daily(14))
    width = np.median((found.upper - found.lower)[10 * DAY :])
    assert width < 30  # the season itself is 80 high, the noise has a deviation of 2
    assert np.median(np.abs(found.expected - daily(14))[10 * DAY :]) < 5


def test_a_week_is_told_from_a_day() -> None:
    at = np.arange(8 * 7 * DAY)
    weekend = at // DAY % 7 >= 5
    values = np.where(weekend, 20.0, 100.0 + 40 * np.sin(at / DAY * 2 * np.pi)) + noise(len(at))
    found = judged(values)
    error = np.abs(found.expected - values)[6 * 7 * DAY :]
    assert np.median(error[weekend[6 * 7 * DAY :]]) < 10


def first_seen(values: Float64, begin: int) -> tuple[float, set[Member]]:
    """The highest score of the next hour and a half, and who saw it at its first alarm."""
    found = judged(values)
    after = slice(begin, begin + 18)
    alarms = begin + np.flatnonzero(found.score[after] >= 1)
    return float(found.score[after].max()), {Member(who) for who in found.seen_by()[alarms]}


def test_a_spike_is_seen_by_departure() -> None:
    values = noise(10 * DAY)
    values[5 * DAY] = 12
    score, who = first_seen(values, 5 * DAY)
    assert score >= 1
    assert who & {Member.DEPARTURE, Member.NOVELTY}
    assert judged(values).members[5 * DAY, Member.DEPARTURE] > 0.5


def test_a_shift_of_level_is_seen_by_level() -> None:
    values = noise(10 * DAY)
    values[5 * DAY :] += 4
    score, who = first_seen(values, 5 * DAY)
    assert score >= 1
    assert Member.LEVEL in who


def test_a_change_of_variance_is_seen_by_variation() -> None:
    most = []
    for seed in range(5, 10):
        values = noise(10 * DAY, seed)
        values[5 * DAY :] *= 3
        assert first_seen(values, 5 * DAY)[0] >= 1
        most.append(judged(values).members[5 * DAY : 5 * DAY + 36].max(axis=0))
        calm = noise(10 * DAY, seed)
        calm[5 * DAY :] *= 0.05
        assert judged(calm).seen_by()[5 * DAY + 20] == Member.VARIATION
    assert np.mean(most, axis=0)[Member.VARIATION] > np.mean(most, axis=0)[Member.LEVEL]


def test_one_event_alarms_once_and_a_new_level_heals() -> None:
    values = noise(20 * DAY)
    values[5 * DAY :] += 8
    found = judged(values)
    alarms = np.flatnonzero(found.fresh >= 1)
    assert 1 <= np.sum((alarms >= 5 * DAY) & (alarms < 6 * DAY)) <= 6
    assert np.nanmean(found.score[10 * DAY :] >= 1) < 0.01
    assert np.median(found.expected[10 * DAY :]) == pytest.approx(8, abs=1)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e9])
def test_a_constant_is_expected_and_its_first_change_is_seen(value: float) -> None:
    values = np.full(1000, value)
    values[900:] += 1
    found = judged(values)
    assert (found.score[60:900] < 1).all()
    assert found.expected[899] == value
    assert found.fresh[900] >= 1


@given(
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-1e3, 1e3),
    seed=st.integers(0, 20),
)
@settings(max_examples=30)
def test_scale_and_shift_of_the_values_change_no_score(scale: float, shift: float, seed: int) -> None:
    values = np.append(noise(400, seed), [9.0, -9.0, 0.0])
    plain, other = judged(values), judged(scale * (values + shift))
    # Rounding moves a point to the next bin of a histogram once in a while: a bin is a quarter of an octave.
    np.testing.assert_allclose(other.score, plain.score, atol=0.05)
    np.testing.assert_allclose(other.expected, scale * (plain.expected + shift), rtol=1e-6, atol=1e-6 * scale)


@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_batches_split_or_mixed_across_series_give_the_same(data: st.DataObject, seed: int) -> None:
    random = np.random.default_rng(seed)
    whose = random.integers(0, 4, 500)
    at = START + np.cumsum(random.integers(1, FIVE_MINUTES, 500))
    values = random.normal(size=500) * 10.0 ** random.integers(-2, 3, 4)[whose]
    whole = Engine(4).run(whose, at, values)
    by_series = np.argsort(whose, kind="stable")
    sorted_ = Engine(4).run(whose[by_series], at[by_series], values[by_series])
    np.testing.assert_array_equal(sorted_.score, whole.score[by_series])
    np.testing.assert_array_equal(sorted_.members, whole.members[by_series])
    engine, cuts = Engine(4), sorted(data.draw(st.lists(st.integers(0, 500), max_size=5)))
    parts = [
        engine.run(whose[begin:end], at[begin:end], values[begin:end])
        for begin, end in zip([0, *cuts], [*cuts, 500], strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate([part.fresh for part in parts]), whole.fresh)
    np.testing.assert_array_equal(np.concatenate([part.upper for part in parts]), whole.upper)


@given(cut=st.integers(0, 900), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_a_series_that_is_taken_up_again_goes_on_as_if_uninterrupted(cut: int, seed: int) -> None:
    values = np.append(noise(600, seed), 5 + noise(300, seed + 1))
    whole, first = Engine(1), Engine(1)
    expected = judged(values, engine=whole)
    judged(values[:cut], engine=first)
    second = Engine(3)
    second.from_bytes(1, first.to_bytes(0))
    at = START + FIVE_MINUTES * (cut + np.arange(len(values) - cut))
    rest = second.run(np.ones(len(at), np.int64), at, values[cut:])
    np.testing.assert_array_equal(rest.score, expected.score[cut:])
    np.testing.assert_array_equal(rest.lower, expected.lower[cut:])
    assert second.to_bytes(1) == whole.to_bytes(0)


@given(arrivals=st.lists(st.tuples(st.integers(0, 1), steps, anything), max_size=300), many=st.integers(0, 200))
@settings(max_examples=100)
def test_no_input_raises_or_leaves_a_state_that_is_not_finite(
    arrivals: list[tuple[int, int, float]], many: int
) -> None:
    engine = Engine(2)
    judged(noise(many), engine=engine)
    whose = np.array([which for which, _, _ in arrivals], np.int64)
    at = START + FIVE_MINUTES * many + np.cumsum(np.array([step for _, step, _ in arrivals], np.int64))
    values = np.array([value for _, _, value in arrivals], np.float64)
    with np.errstate(all="raise"):
        found = engine.run(whose, at, values)
    known = ~np.isnan(found.score)
    assert (found.score[known] >= 0).all()
    assert np.isfinite(found.score[known]).all()
    assert np.isfinite(found.members[known]).all()
    for records in (engine._states, engine._profiles):
        assert all(np.isfinite(records[name]).all() for name in records.dtype.names or ())
    assert len(engine.to_bytes(0)) < 4096


def test_what_is_missing_or_late_is_counted_and_changes_nothing() -> None:
    values = noise(300)
    plain, engine = judged(values), Engine(1)
    at = START + FIVE_MINUTES * np.arange(300)
    judged(values[:200], engine=engine)
    odd = engine.run(
        [0] * 7,
        [at[199], at[199], at[10], *at[199] + np.arange(1, 5)],
        [0.0, 50.0, 1.0, np.nan, np.inf, -np.inf, 1e308],
    )
    assert np.isnan(odd.score).all()
    assert engine.counters(0) == streams.Counters(learned=200, missing=4, late=3)
    rest = engine.run(np.zeros(100, np.int64), at[200:], values[200:])
    np.testing.assert_array_equal(rest.score, plain.score[200:])


def test_after_ninety_days_of_silence_a_series_is_learned_anew() -> None:
    engine = Engine(1)
    judged(noise(500), engine=engine)
    later = judged(1e6 + noise(100), engine=engine, begin=4000 * DAY)
    assert np.isnan(later.score[:60]).all()
    assert (later.score[60:] < 2).all()


@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_a_point_belongs_to_its_hour_and_in_it_to_a_quarter_and_a_weekday(moment: datetime) -> None:
    at = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert kernels.slots(at) == (moment.hour, moment.minute // 15, 4 + moment.weekday())


def test_the_states_begin_where_cache_lines_do_also_after_more_are_added() -> None:
    engine = Engine(3)
    for series in (3, 10, 1000):
        engine.grow(series)
        assert engine._states.ctypes.data % kernels.LINE == engine._profiles.ctypes.data % kernels.LINE == 0
    assert kernels.STATE.itemsize % kernels.LINE == kernels.HOUR.itemsize % kernels.LINE == 0


def test_series_are_added_without_touching_the_others() -> None:
    engine, plain = Engine(1), judged(noise(300))
    judged(noise(300)[:150], engine=engine)
    engine.grow(5)
    assert len(engine) == 5
    np.testing.assert_array_equal(judged(noise(300)[150:], engine=engine, begin=150).score, plain.score[150:])


def test_a_series_that_there_is_not_and_lengths_that_differ_are_refused() -> None:
    engine = Engine(2)
    before = engine.to_bytes(0)
    with pytest.raises(IndexError):
        engine.run([0, 2], [1, 2], [1.0, 1.0])
    with pytest.raises(IndexError):
        engine.to_bytes(2)
    with pytest.raises(ValueError, match="one length"):
        engine.run([0, 1], [1], [1.0])
    assert engine.to_bytes(0) == before


def test_bytes_of_another_version_are_refused() -> None:
    engine = Engine(1)
    data = engine.to_bytes(0)
    for wrong in (b"", data[:-1], data[:4] + b"\xff\xff" + data[6:], b"x" + data[1:]):
        with pytest.raises(ValueError, match="version"):
            engine.from_bytes(0, wrong)
