import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.detection import univariate
from plumbline_analysis.detection.univariate import NEW, Config, Judgement, State, run, step

UP = Config(direction="up", min_absolute=0.025)


def latencies(count: int, seed: int = 7) -> np.ndarray:
    """p95 of a quiet service, in seconds: about 20 ms with a heavy tail."""
    random = np.random.default_rng(seed)
    return 0.016 + 0.004 * random.lognormal(0, 0.6, count)


def scores(values: np.ndarray, config: Config, state: State = NEW) -> np.ndarray:
    return np.array([judgement.score for judgement in run(state, values, config)[1]])


def longest_run(over: np.ndarray) -> int:
    longest = current = 0
    for each in over:
        current = current + 1 if each else 0
        longest = max(longest, current)
    return longest


def test_it_says_nothing_until_it_has_learned() -> None:
    found = scores(latencies(40), UP)
    assert np.isnan(found[: UP.learning_points]).all()
    assert not np.isnan(found[UP.learning_points :]).any()


def test_a_latency_that_jumps_from_20_to_600_ms_is_seen_at_once_after_40_s_of_2_s_samples() -> None:
    found = scores(np.append(latencies(20), [0.6, 0.61]), UP)
    assert (found[-2:] > 5).all()


def test_ordinary_noise_raises_no_alarm() -> None:
    for seed in range(40):
        assert longest_run(scores(latencies(400, seed), UP) >= 1) < 2


def test_a_slow_start_does_not_hide_what_comes_after() -> None:
    start = np.array([2.0, 0.9, 0.5, 0.3])
    found = scores(np.concatenate((start, latencies(25), [0.6, 0.6])), UP)
    assert (found[-2:] >= 1).all()
    assert np.nan_to_num(found[:-2]).max() < 1


def test_an_anomaly_does_not_teach_the_band_that_it_is_normal() -> None:
    state, _ = run(NEW, latencies(60), UP)
    before = step(state, 0.02, UP)[1]
    state, found = run(state, np.full(60, 0.6), UP)
    assert all(judgement.score >= 1 for judgement in found)
    assert step(state, 0.02, UP)[1].upper == before.upper


def test_the_band_heals_after_a_lasting_change_of_level() -> None:
    state, _ = run(NEW, latencies(240), UP)
    found = scores(0.2 + latencies(300, 3), UP, state)
    assert (found[:50] >= 1).all()
    assert (found[UP.heal_points + 5 :] < 1).all()


def test_a_series_that_jumps_between_two_levels_comes_into_the_band() -> None:
    state, _ = run(NEW, np.full(240, 10.0), Config())
    assert (scores(np.tile([10.0, 30.0], 300), Config(), state)[-100:] < 1).all()


@pytest.mark.parametrize(
    ("direction", "up", "down"), [("up", True, False), ("down", False, True), ("both", True, True)]
)
def test_only_the_direction_that_matters_scores(direction: str, up: bool, down: bool) -> None:
    config = Config(direction=direction)  # type: ignore[arg-type]
    state, _ = run(NEW, np.random.default_rng(1).normal(100, 1, 100), config)
    assert (step(state, 200, config)[1].score >= 1) is up
    assert (step(state, 0, config)[1].score >= 1) is down


def test_departures_below_the_minima_are_nobodys_concern() -> None:
    steady = np.full(60, 100.0)
    for config in (Config(min_relative=0.3), Config(min_relative=0.0, min_absolute=30.0)):
        state, _ = run(NEW, steady, config)
        assert step(state, 129, config)[1].score < 1
        assert step(state, 131, config)[1].score >= 1


def test_the_band_does_not_reach_past_a_limit_that_the_series_normally_keeps() -> None:
    noisy = 0.05 * np.random.default_rng(3).lognormal(0, 1, 60)
    state, _ = run(NEW, noisy, Config(direction="up"))
    assert step(state, 0.3, Config(direction="up"))[1].upper > 0.25
    limited = step(state, 0.3, Config(direction="up", limit=0.25))[1]
    assert limited.upper == pytest.approx(0.25)
    assert limited.score >= 1
    falling = step(state, 0.0, Config(direction="down", limit=0.02))[1]
    assert falling.lower == pytest.approx(0.02)


def test_a_limit_that_is_normally_passed_or_nearly_so_makes_no_alarm_of_it() -> None:
    state, _ = run(NEW, np.random.default_rng(4).normal(0.3, 0.005, 60), Config())
    for limit in (0.25, 0.301):
        assert step(state, 0.31, Config(direction="up", limit=limit))[1].score < 1


def test_any_change_of_a_constant_series_is_unusual_but_bounded() -> None:
    config = Config(min_relative=0.0)
    state, _ = run(NEW, np.zeros(30), config)
    assert step(state, 0.0, config)[1] == Judgement(0.0, 0.0, np.finfo(np.float64).tiny, 0.0)
    assert step(state, 1e-9, config)[1].score == univariate.MAX_SCORE


def test_what_was_never_negative_is_not_expected_to_be() -> None:
    state, _ = run(NEW, np.abs(np.random.default_rng(2).normal(0, 1, 100)), Config())
    assert step(state, 0.5, Config())[1].lower == 0


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, 1e301])
def test_what_is_no_number_is_missing_and_changes_nothing(missing: float) -> None:
    state, _ = run(NEW, latencies(30), UP)
    after, judgement = step(state, missing, UP)
    assert after is state
    assert not judgement.known


def test_another_version_of_the_state_is_refused() -> None:
    data = run(NEW, latencies(30), UP)[0].to_bytes()
    for damaged in (b"", b"\x02" + data[1:], data[:-1], data + b"x"):
        with pytest.raises(ValueError, match="version"):
            State.from_bytes(damaged)


_VALUES = st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), max_size=120).map(np.array)
_CONFIGS = st.builds(
    Config,
    direction=st.sampled_from(["up", "down", "both"]),
    min_absolute=st.sampled_from([0.0, 1.0]),
    memory=st.sampled_from([20, 240]),
    heal_window=st.just(30),
    heal_points=st.just(12),
)


@given(values=_VALUES, cut=st.integers(0, 120), config=_CONFIGS)
def test_stopping_and_resuming_gives_what_going_on_gives(values: np.ndarray, cut: int, config: Config) -> None:
    whole, expected = run(NEW, values, config)
    first, before = run(NEW, values[:cut], config)
    second, after = run(State.from_bytes(first.to_bytes()), values[cut:], config)
    assert repr(before + after) == repr(expected)
    assert second.to_bytes() == whole.to_bytes()


@given(values=_VALUES, config=_CONFIGS)
def test_the_state_is_bounded_and_the_band_holds_its_level(values: np.ndarray, config: Config) -> None:
    state, judgements = run(NEW, values, config)
    assert len(state.to_bytes()) <= 5 + 8 * config.memory + 9 * config.heal_window
    for judgement in judgements:
        if judgement.known:
            assert judgement.lower <= judgement.expected <= judgement.upper
            assert 0 <= judgement.score <= univariate.MAX_SCORE


@given(
    values=st.lists(st.integers(-1000, 1000), min_size=20, max_size=80), scale=st.sampled_from([2.0**-10, 2.0**10])
)
def test_the_unit_of_measurement_changes_no_score(values: list[int], scale: float) -> None:
    plain = np.array(values, np.float64)
    np.testing.assert_array_equal(scores(plain, Config()), scores(plain * scale, Config()))
