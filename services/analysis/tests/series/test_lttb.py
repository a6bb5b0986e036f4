import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plumbline_analysis.series import lttb

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def slowly(x: list[float], y: list[float], most: int) -> list[int]:
    """The thesis' pseudocode, point by point."""
    n = len(x)
    if n <= most:
        return list(range(n))
    edges = [1 + bucket * (n - 2) // (most - 2) for bucket in range(most - 1)] + [n]
    found = [0]
    for bucket in range(most - 2):
        after = range(edges[bucket + 1], edges[bucket + 2])
        mean_x, mean_y = sum(x[i] for i in after) / len(after), sum(y[i] for i in after) / len(after)
        a = found[-1]
        areas = {
            i: abs((mean_x - x[a]) * (y[i] - y[a]) - (x[i] - x[a]) * (mean_y - y[a]))
            for i in range(edges[bucket], edges[bucket + 1])
        }
        found.append(max(areas, key=areas.__getitem__))
    return [*found, n - 1]


@given(values, st.integers(3, 20))
def test_it_chooses_as_the_reference_does(y: list[float], most: int) -> None:
    whole = [float(round(each)) for each in y]
    x = [float(place) for place in range(len(whole))]
    found = lttb.chosen(np.array(x), np.array(whole), most).tolist()
    expected = slowly(x, whole, most)
    # Areas that are equal but for rounding may be told apart either way.
    if found != expected:
        assert len(found) == len(expected)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, len(y) - 1)


@given(st.integers(4, 2000), st.integers(3, 50))
def test_a_lone_peak_stays(n: int, most: int) -> None:
    y = np.zeros(n)
    y[n // 2] = 1.0
    assert n // 2 in lttb.chosen(np.arange(n, dtype=np.float64), y, most)
