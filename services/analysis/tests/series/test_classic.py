import numpy as np

from plumbline_analysis.series import classic
from plumbline_analysis.series.classic import Family
from plumbline_analysis.series.histograms import Point
from plumbline_analysis.sources.batch import Layout

FAMILY = Family((11, 12, 13), Layout((0.5, 1.0)), 14)


def joined(*rows: tuple[int, int, float], families: tuple[Family, ...] = (FAMILY,)) -> list[Point]:
    """Of rows of signal, time and value."""
    signal, time, value = (np.array(column) for column in zip(*rows, strict=True))
    return classic.joined(families, signal, time, np.zeros_like(time), value.astype(np.float64))


def test_a_family_needs_the_bucket_to_infinity() -> None:
    assert Family.of({13: "+Inf", 12: "1.0", 11: "0.5"}, 14) == FAMILY
    assert Family.of({12: "1.0", 11: "0.5"}, None) is None


def test_buckets_of_one_scrape_are_one_histogram() -> None:
    rows = [(13, 7, 10.0), (11, 7, 4.0), (14, 7, 6.5), (12, 7, 9.0)]
    assert joined(*rows) == [Point(11, 0, 7, Layout((0.5, 1.0)), 10, 6.5, (4, 5, 1))]


def test_a_scrape_that_lacks_a_bucket_waits_for_the_next() -> None:
    rows = [(11, 7, 4.0), (12, 7, 9.0), (11, 8, 5.0), (12, 8, 9.0), (13, 8, 12.0)]
    (point,) = joined(*rows)
    assert (point.time, point.counts, np.isnan(point.sum)) == (8, (5, 4, 3), True)
    assert joined(*rows[:2]) == []


def test_a_torn_scrape_has_no_negative_bucket() -> None:
    (point,) = joined((11, 7, 4.0), (12, 7, 3.0), (13, 7, 5.0))
    assert (point.counts, point.count) == ((4, 0, 1), 5)


def test_families_do_not_mix() -> None:
    other = Family((21, 22), Layout((0.5,)), None)
    rows = [(11, 7, 1.0), (12, 7, 1.0), (13, 7, 2.0), (21, 7, 3.0), (22, 7, 5.0)]
    found = joined(*rows, families=(FAMILY, other))
    assert [(point.signal, point.counts) for point in found] == [(11, (1, 0, 1)), (21, (3, 2))]
