import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline_analysis.detection import multivariate
from plumbline_analysis.detection.multivariate import Group, Judgements

WEEK = 2016
Float64 = npt.NDArray[np.float64]

anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 1e150, -1e150, 5e-324, float("nan"), float("inf")]),
)


def noise(ticks: int, signals: int, seed: int = 5) -> Float64:
    return np.random.default_rng(seed).normal(size=(ticks, signals))


def load(ticks: int, signals: int, seed: int = 5) -> Float64:
    """What all signals follow, each at a scale of its own and with some noise."""
    common = noise(ticks, 1, seed + 1)
    return (common + 0.2 * noise(ticks, signals, seed)) * np.arange(1, signals + 1)


def same(one: Judgements, two: Judgements) -> None:
    np.testing.assert_array_equal(one.score, two.score)
    np.testing.assert_array_equal(one.contributions, two.contributions)


def test_it_says_nothing_until_it_has_learned() -> None:
    found = Group(3).run(noise(200, 3))
    assert np.isnan(found.score[:80]).all()
    assert np.isnan(found.contributions[:80]).all()
    assert not np.isnan(found.score[80:]).any()


def test_the_contributions_sum_up_to_the_score() -> None:
    values = load(500, 4)
    values[300:310, 2] += 20
    found = Group(4).run(values)
    np.testing.assert_allclose(found.contributions[80:].sum(axis=1), found.score[80:], rtol=1e-9)
    assert (found.contributions[80:] >= 0).all()


@pytest.mark.parametrize("signals", [1, 3, 20])
def test_noise_and_what_follows_one_load_raise_at_most_one_alarm_a_week(signals: int) -> None:
    for values in (noise(4 * WEEK, signals), load(4 * WEEK, signals)):
        alarms = Group(signals).run(values).score >= 1
        assert np.sum(alarms[1:] & ~alarms[:-1]) <= 4


def test_a_signal_that_leaves_its_past_is_seen_and_ranked_first() -> None:
    values = noise(2000, 6)
    values[1500:1510, 3] += 12
    found = Group(6).run(values)
    assert found.score[1509] >= 1
    assert (found.ranked()[1502:1510, 0] == 3).all()


def test_a_relation_that_breaks_is_seen_where_each_signal_alone_is_as_ever() -> None:
    values = load(3000, 6)
    values[2500:2510, 1] = -values[2500:2510, 1]
    found = Group(6).run(values)
    assert np.abs(values[2500:2510, 1]).max() < 3 * values[:2500, 1].std()
    assert found.score[2500:2510].max() >= 1
    assert found.ranked()[2509, 0] == 1


def test_what_none_ever_had_is_told_of_several() -> None:
    values = noise(2000, 5)
    values[1500:1510, [0, 4]] += 12
    assert set(Group(5).run(values).ranked()[1509, :2]) == {0, 4}


def test_a_new_level_heals() -> None:
    values = noise(30_000, 3)
    values[5000:, 1] += 50
    score = Group(3).run(values).score
    assert score[5000:5020].max() >= 1
    assert np.mean(score[20_000:] >= 1) < 0.001


@pytest.mark.parametrize("value", [0.0, 0.1, -3e9])
def test_a_constant_is_as_ever_and_its_first_change_is_seen(value: float) -> None:
    values = noise(1000, 3)
    values[:, 1] = value
    values[900, 1] += 1
    found = Group(3).run(values)
    assert (found.contributions[80:900, 1] == 0).all()
    assert found.score[900] >= 1
    assert found.ranked()[900, 0] == 1


def test_constants_that_begin_to_move_are_soon_as_ever() -> None:
    values = noise(10_000, 3)
    values[:1000] = 0
    score = Group(3).run(values).score
    assert score[1000] >= 1
    assert np.isfinite(score[80:]).all()
    assert np.mean(score[6000:] >= 1) < 0.01


def test_only_constants_are_nothing_unusual() -> None:
    found = Group(2).run(np.full((500, 2), 7.0))
    assert (found.score[80:] == 0).all()


@given(
    scale=st.lists(st.floats(1e-6, 1e6), min_size=4, max_size=4),
    shift=st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4),
    seed=st.integers(0, 20),
)
@settings(max_examples=30)
def test_scale_and_shift_of_any_signal_change_nothing(scale: list[float], shift: list[float], seed: int) -> None:
    values = load(400, 4, seed)
    values[300:305, 2] += 9
    plain, other = Group(4).run(values), Group(4).run(np.array(scale) * (values + np.array(shift)))
    np.testing.assert_allclose(other.score, plain.score, rtol=1e-6)
    np.testing.assert_allclose(other.contributions, plain.contributions, rtol=1e-6, atol=1e-6)


@given(cuts=st.lists(st.integers(0, 500), max_size=6), seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_batches_split_any_way_give_the_same(cuts: list[int], seed: int) -> None:
    values = load(500, 5, seed)
    values[np.random.default_rng(seed).random(values.shape) < 0.1] = np.nan
    whole, group = Group(5).run(values), Group(5)
    bounds = [0, *sorted(cuts), 500]
    parts = [group.run(values[begin:end]) for begin, end in itertools.pairwise(bounds)]
    same(
        Judgements(
            np.concatenate([part.score for part in parts]), np.concatenate([part.contributions for part in parts])
        ),
        whole,
    )


@given(cut=st.integers(0, 600), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_a_group_that_is_taken_up_again_goes_on_as_if_uninterrupted(cut: int, seed: int) -> None:
    values = load(600, 4, seed)
    values[100:200, 0] = np.nan
    whole, first = Group(4), Group(4)
    expected = whole.run(values)
    first.run(values[:cut])
    second = Group.from_bytes(first.to_bytes())
    rest = second.run(values[cut:])
    same(rest, Judgements(expected.score[cut:], expected.contributions[cut:]))
    assert second.to_bytes() == whole.to_bytes()


@given(rows=st.lists(st.tuples(anything, anything, anything), max_size=200), many=st.integers(0, 200))
@settings(max_examples=100)
def test_no_input_raises_or_leaves_a_state_that_is_not_finite(
    rows: list[tuple[float, float, float]], many: int
) -> None:
    group = Group(3)
    group.run(load(many, 3))
    with np.errstate(all="raise"):
        found = group.run(np.array(rows).reshape(-1, 3))
    known = ~np.isnan(found.score)
    assert np.isfinite(found.score[known]).all()
    assert np.isfinite(found.contributions[known]).all()
    assert (found.score[known] >= 0).all()
    assert np.isfinite(np.frombuffer(group.to_bytes()[10:])).all()


def test_ticks_without_any_value_change_nothing() -> None:
    values = load(600, 3)
    storm = np.insert(values, 400, np.full((50, 3), np.nan), axis=0)
    storm[410] = [np.inf, -np.inf, 1e308]
    plain, found = Group(3).run(values), Group(3).run(storm)
    assert np.isnan(found.score[400:450]).all()
    np.testing.assert_array_equal(np.delete(found.score, slice(400, 450)), plain.score)


def test_a_missing_signal_is_supposed_to_go_with_the_others() -> None:
    values = load(3000, 5)
    gappy = values.copy()
    gappy[2000:, 2] = np.nan
    found = Group(5).run(gappy)
    assert (found.contributions[2050:, 2] < 1e-3).all()
    assert np.median(found.score[2000:]) == pytest.approx(np.median(Group(5).run(values).score[2000:]), rel=0.2)


def test_a_signal_that_appears_later_is_as_if_it_had_been_missing() -> None:
    values = load(900, 4)
    late = values.copy()
    late[:400, 3] = np.nan
    whole, group = Group(4).run(late), Group(3)
    first = group.run(values[:400, :3])
    group.grow(4)
    rest = group.run(values[400:])
    np.testing.assert_allclose(first.score, whole.score[:400], rtol=1e-9)
    np.testing.assert_allclose(rest.score, whole.score[400:], rtol=1e-9)
    assert (rest.contributions[:20, 3] == 0).all()
    assert (rest.contributions[200:, 3] > 0).all()


def test_another_number_of_signals_is_refused() -> None:
    group = Group(3)
    before = group.to_bytes()
    for wrong in (np.zeros((5, 2)), np.zeros(3), np.zeros((1, 1, 3))):
        with pytest.raises(ValueError, match="3 values"):
            group.run(wrong)
    assert group.to_bytes() == before


def test_bytes_of_another_version_are_refused() -> None:
    data = Group(2).to_bytes()
    for wrong in (b"", data[:-1], data[:4] + b"\xff\xff" + data[6:], b"x" + data[1:]):
        with pytest.raises(ValueError, match=f"version {multivariate.VERSION}"):
            Group.from_bytes(wrong)
