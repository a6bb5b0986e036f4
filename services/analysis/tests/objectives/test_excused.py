"""What adjustments leave out, against units that are added up slice by slice."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.objectives import excused
from plumbline_analysis.objectives.rules import Counts

TIMES = st.integers(0, 200)
STRETCHES = st.lists(st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair) + 1)), max_size=6)
STEP = 10


@given(STRETCHES)
def test_merged_is_the_same_time_in_order_and_apart(stretches: list[tuple[int, int]]) -> None:
    found = excused.merged(stretches)
    assert {at for start, end in found for at in range(start, end)} == {
        at for start, end in stretches for at in range(start, end)
    }
    assert all(first[1] < second[0] for first, second in itertools.pairwise(found))
    assert excused.merged(found) == found


@given(STRETCHES)
def test_on_slices_is_each_slice_that_is_touched(stretches: list[tuple[int, int]]) -> None:
    touched = {at // STEP for start, end in stretches for at in range(start, end)}
    found = excused.on_slices(stretches, STEP)
    assert {at // STEP for start, end in found for at in range(start, end)} == touched
    assert all(at % STEP == 0 for each in found for at in each)


@given(
    STRETCHES,
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=20, max_size=20),
    st.integers(0, 10),
    st.integers(0, 10),
)
def test_the_units_of_the_other_slices_count(
    stretches: list[tuple[int, int]], slices: list[tuple[int, int]], first: int, more: int
) -> None:
    totals = {
        place * STEP: Counts(sum(good for good, _ in slices[:place]), sum(good + bad for good, bad in slices[:place]))
        for place in range(len(slices) + 2)
    }
    out = excused.on_slices(stretches, STEP)
    span = (first * STEP, (first + more) * STEP)
    asked = excused.moments(out, [span])
    kept, left = excused.counts({at: totals[at] for at in asked}, span, out)
    numbers = range(first, min(first + more, len(slices)))
    is_out = {place for place in numbers if any(start <= place * STEP < end for start, end in out)}
    assert kept == Counts(
        sum(slices[place][0] for place in numbers if place not in is_out),
        sum(sum(slices[place]) for place in numbers if place not in is_out),
    )
    assert left.total == sum(sum(slices[place]) for place in is_out)
    assert excused.length(excused.within(out, *span)) == STEP * len(
        {place for place in range(first, first + more) if any(start <= place * STEP < end for start, end in out)}
    )


def test_the_last_end_is_now_within_a_stretch() -> None:
    assert excused.last_end([(10, 20), (30, 40)], 35) == 35
    assert excused.last_end([(10, 20), (30, 40)], 25) == 20
    assert excused.last_end([(10, 20)], 10) is None
