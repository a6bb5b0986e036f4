"""Which ranges of a query are pulled next, and how long to wait after a failure. Pure.

Times are whole seconds since the Unix epoch. A range (after, until] is of the points on the grid of `step` seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_BASE_SECONDS = 0.5
_LONGEST_BACKOFF = 10.0
PATIENCE = 3
"""Turns that may fail in a row before the source is left in peace for longer each time."""
LONGEST_REST = 600.0


class Range(NamedTuple):
    after: int
    until: int


@dataclass(frozen=True)
class Mark:
    """What was pulled: all in (begins, reached], without the gaps. The gaps are disjoint, the oldest first."""

    begins: int
    reached: int
    gaps: tuple[Range, ...]

    @property
    def missing(self) -> int:
        """Seconds."""
        return sum(gap.until - gap.after for gap in self.gaps)


def head(now: float, delay: int, step: int) -> int:
    """The newest point of the grid that is at least `delay` seconds old."""
    return int(now - delay) // step * step


def begin(newest: int, step: int, backfill: int) -> Mark:
    """Nothing is pulled yet: the last `backfill` seconds, at least the newest point, are."""
    start = newest - max(1, -(-backfill // step)) * step
    return Mark(start, start, ())


def within(mark: Mark, oldest: int, newest: int) -> Mark:
    """Without what can't be pulled: before `oldest` nothing can be stored, and after `newest` nothing is known.

    A mark that lies ahead comes from a clock that has stepped back since: what follows `newest` is pulled once more.
    """
    gaps = tuple(
        Range(max(gap.after, oldest), min(gap.until, newest))
        for gap in mark.gaps
        if gap.until > oldest and gap.after < newest
    )
    return Mark(min(mark.begins, newest), min(mark.reached, newest), gaps)


def fresh(mark: Mark, newest: int, span: int) -> Range | None:
    """What is new, at most the last `span` seconds of it: what came before is a gap then."""
    return Range(max(mark.reached, newest - span), newest) if newest > mark.reached else None


def has_gap(mark: Mark, past: Range) -> bool:
    """Whether all of `past` is missing."""
    return any(gap.after <= past.after and past.until <= gap.until for gap in mark.gaps)


def oldest_gap(marks: Sequence[Mark], spans: Sequence[int]) -> tuple[int, Range] | None:
    """The place of the mark with the oldest gap, and at most the first `spans[place]` seconds of that."""
    places = [place for place, mark in enumerate(marks) if mark.gaps]
    if not places:
        return None
    place = min(places, key=lambda each: marks[each].gaps[0])
    gap = marks[place].gaps[0]
    return place, Range(gap.after, min(gap.until, gap.after + spans[place]))


def taken(mark: Mark, pulled: Range) -> Mark:
    """The mark after the points of `pulled` are stored."""
    gaps = list(mark.gaps)
    if pulled.after > mark.reached:
        gaps.append(Range(mark.reached, pulled.after))
    left = [
        piece
        for gap in gaps
        for piece in (Range(gap.after, min(gap.until, pulled.after)), Range(max(gap.after, pulled.until), gap.until))
        if piece.after < piece.until
    ]
    return Mark(mark.begins, max(mark.reached, pulled.until), tuple(left))


def backoff(attempt: int, chance: float) -> float:
    """Seconds before the next attempt, the first being 1: exponential with full jitter, `chance` in [0, 1).

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return min(_LONGEST_BACKOFF, _BASE_SECONDS * 2.0**attempt) * chance


def rest(failures: int, interval: int, chance: float) -> float:
    """Seconds from a failed turn to the next: the interval, doubled with each failure after `PATIENCE`, ± 10 %."""
    doublings = max(0, min(failures - PATIENCE, 30))
    longest = max(float(interval), LONGEST_REST)
    return min(longest, interval * 2.0**doublings) * (0.9 + 0.2 * chance)
