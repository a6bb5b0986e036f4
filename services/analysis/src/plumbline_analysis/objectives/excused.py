"""Stretches of time that burn no error budget. Pure: all times are whole microseconds, stretches are (start, end]."""

from collections.abc import Iterable, Mapping, Sequence

from plumbline_analysis.objectives.rules import Counts

Stretch = tuple[int, int]


def merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same time in order, those that touch as one."""
    found: list[Stretch] = []
    for start, end in sorted(stretches):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def on_slices(stretches: Iterable[Stretch], step: int) -> list[Stretch]:
    """Grown to whole slices: what a slice saw can't be told apart, and one that is excused in part burns nothing."""
    return merged((start // step * step, -(-end // step) * step) for start, end in stretches)


def within(stretches: Iterable[Stretch], since: int, until: int) -> list[Stretch]:
    """What of them is in (since, until]."""
    return [(max(start, since), min(end, until)) for start, end in stretches if start < until and end > since]


def length(stretches: Iterable[Stretch]) -> int:
    return sum(end - start for start, end in stretches)


def moments(stretches: Sequence[Stretch], spans: Iterable[Stretch]) -> set[int]:
    """Where the running totals must be known for `counts` of these spans."""
    return {
        at for since, until in spans for span in ((since, until), *within(stretches, since, until)) for at in span
    }


def counts(totals: Mapping[int, Counts], span: Stretch, stretches: Sequence[Stretch]) -> tuple[Counts, Counts]:
    """The units of a span that count, and those that are excused. `totals` are running totals by moment."""
    out = [_between(totals, each) for each in within(stretches, *span)]
    excused = Counts(sum(each.good for each in out), sum(each.total for each in out))
    whole = _between(totals, span)
    return Counts(whole.good - excused.good, whole.total - excused.total), excused


def _between(totals: Mapping[int, Counts], span: Stretch) -> Counts:
    since, until = totals[span[0]], totals[span[1]]
    return Counts(until.good - since.good, until.total - since.total)


def last_end(stretches: Iterable[Stretch], at: int) -> int | None:
    """The last moment up to `at` that was excused; `at` itself within a stretch."""
    return max((min(end, at) for start, end in stretches if start < at), default=None)
