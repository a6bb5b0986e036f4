"""Signals of one service judged together, tick after tick: how unusual they are, and which of them make it so.

A signal is looked at in two ways: against its own past, and against what the others let expect of it. The first sees
that something is far from usual, the second that a relation broke. `docs/multivariate.md` has the formulas.
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection import kernels
from plumbline_analysis.detection.kernels import Float64, Int64
from plumbline_common.compiling import kernel

VERSION = 1
_HEADER = struct.Struct("<4sHI")
_MAGIC = b"plmv"

Bools = npt.NDArray[np.bool_]

# --- What is kept of a group: a row a signal, how the signals go together, and what belongs to all of them --------

MEAN, VARIANCE, SEEN, FAR, ADDS, OWN = 0, 1, 2, 3, 4, 5
"""Columns of `own`: mean and variance in the signal's unit, points learned from, how long it has been far from its
mean, and what it adds to the surprise."""
TICKS, USUAL_APART, USUAL_AGAINST, LEVEL, SPREAD, ALARMS, ABOVE, SHARED = 0, 1, 2, 3, 4, 5, 6, 7
"""`shared`: ticks learned from; the usual size of either view; level and mean absolute deviation of the surprise;
alarms lately, and whether the last tick was one."""

# --- Constants, in ticks unless they say otherwise -----------------------------------------------------------------

LARGEST = 1e150
"""Beyond it the square of a deviation could overflow: such a value is missing."""
LEARNING = 60
"""After so few ticks nothing is said: see `kernels.LEARNING`."""
SETTLING = 20
"""A signal of fewer points is not judged."""
SPAN = 20_000.0
"""Means forget over two weeks of minutes."""
MODEST = 3.0
"""Deviations teach as at most so many standard deviations (Huber 1964): an anomaly hardly becomes what is usual."""
ANEW = 10_000.0
"""A signal that has been farther than that for so long, a week of minutes, is learned anew: what is new is usual."""
NEAR = 1.5
"""The same for the level of the surprise, in mean absolute deviations."""
RELATED = 8.0
"""What enters the relations is cut to so many standard deviations."""
LEAST, LEAST_LEVEL, LEAST_LESSON = 0.05, 2.0, 0.3
"""No usual size of a view, and no spread of the surprise, counts as less than the first, its level as less than the
second, which it is where both views are as usual; and what teaches these two is cut to no less than the third. Where
all was constant they would be 0, and what comes then would be unusual for ever."""
MOST = 30.0
"""No deviation counts as more."""
SHRINK = 0.01
"""The share of the identity in the correlations (Ledoit and Wolf 2004), so that they can be inverted."""
PRIOR = 10.0
"""The relations begin as if so many ticks had shown that there are none."""
REFRESH = 64
"""The relations are inverted every so many ticks."""
SWEEPS = 4
"""Of the iteration that supposes what is missing."""
SMOOTH = 5.0
"""The surprise is the exponentially weighted mean of about so many ticks."""
ALARM = 8.0
"""The score is 1 so many mean absolute deviations above the surprise's level. How it was chosen stands in
docs/multivariate.md."""
WARY, EXPECTED_ALARMS, FORGET_ALARMS = 0.05, 4.0, 8000.0
"""With n alarms in about the last month of 5 minutes the bar is higher by the factor 1 + log2(1 + n / 4) / 20: one
a week is expected. Series of heavy tails alarm less for it."""
ROUNDING = 1e-12
"""A difference of less than this share of the value is none."""


@kernel()
def inverted(related: Float64, inverse: Float64, factor: Float64) -> None:
    """The inverse of (1 - SHRINK) * related + SHRINK * identity, by Cholesky's factor. O(D^3).

    All of shape (D, D); of `related` the lower half counts, `factor` is scratch. A pivot is at least SHRINK, which it
    is anyway where `related` is positive semi-definite. All sums run along rows, so that they are vectorised.
    """
    size = len(related)
    for row in range(size):
        for column in range(row + 1):
            factor[row, column] = (1.0 - SHRINK) * related[row, column]
        factor[row, row] += SHRINK
    column_of = np.empty(size)
    for pivot in range(size):
        factor[pivot, pivot] = np.sqrt(max(factor[pivot, pivot], SHRINK))
        for row in range(pivot + 1, size):
            factor[row, pivot] /= factor[pivot, pivot]
            column_of[row] = factor[row, pivot]
        for row in range(pivot + 1, size):
            for column in range(pivot + 1, row + 1):
                factor[row, column] -= column_of[row] * column_of[column]
    # Row by row the inverse of the factor, in its place.
    for row in range(size):
        column_of[:row] = factor[row, :row]
        diagonal = 1.0 / factor[row, row]
        factor[row, :row] = 0.0
        for other in range(row):
            for column in range(other + 1):
                factor[row, column] -= column_of[other] * diagonal * factor[other, column]
        factor[row, row] = diagonal
    inverse[:] = 0.0
    for other in range(size):
        for row in range(other + 1):
            for column in range(row + 1):
                inverse[row, column] += factor[other, row] * factor[other, column]
    for row in range(size):
        for column in range(row):
            inverse[column, row] = inverse[row, column]


@kernel()
def deviate(own: Float64, values: Float64, deviation: Float64, judged: Bools) -> int:
    """How far each signal is from its own past in standard deviations, at most MOST; then learn from it. O(D).

    `values`, `deviation`, `judged` of shape (D,). What is missing or has hardly any past is not judged, its deviation
    is 0. Gives how many are judged.
    """
    count = 0
    for signal in range(len(values)):
        value, seen = values[signal], own[signal, SEEN]
        deviation[signal] = 0.0
        judged[signal] = abs(value) <= LARGEST and seen >= SETTLING
        if not abs(value) <= LARGEST:
            continue
        if seen == 0.0:
            own[signal, MEAN] = value
        off = value - own[signal, MEAN]
        if abs(off) <= ROUNDING * abs(value):
            off = 0.0
        scale = np.sqrt(own[signal, VARIANCE])
        if judged[signal]:
            count += 1
            if off != 0.0:
                deviation[signal] = min(max(off / max(scale, abs(off) / MOST), -MOST), MOST)
            # A constant's first change teaches in full: there is no scale yet.
            if scale > 0.0:
                far = abs(off) > MODEST * scale
                own[signal, FAR] = max(own[signal, FAR] + (1.0 if far else -1.0), 0.0)
                off = min(max(off, -MODEST * scale), MODEST * scale)
        weight = max(1.0 / (seen + 1.0), 1.0 / SPAN)
        own[signal, MEAN] += weight * off
        own[signal, VARIANCE] += weight * ((1.0 - weight) * off * off - own[signal, VARIANCE])
        own[signal, SEEN] = seen + 1.0
        if own[signal, FAR] >= ANEW:
            own[signal, VARIANCE] = own[signal, SEEN] = own[signal, FAR] = 0.0
    return count


@kernel()
def suppose(own: Float64, inverse: Float64, modest: Float64, judged: Bools) -> None:
    """Put what the others let expect in the place of each deviation that is missing: the conditional mean, where
    P u = 0, by Gauss and Seidel's iteration. O(SWEEPS * D) for each that is missing."""
    for _ in range(SWEEPS):
        for signal in range(len(modest)):
            if not judged[signal] and own[signal, SEEN] >= SETTLING:
                total = 0.0
                for other in range(len(modest)):
                    total += inverse[signal, other] * modest[other]
                modest[signal] -= total / inverse[signal, signal]


@kernel()
def relate(
    own: Float64, related: Float64, inverse: Float64, modest: Float64, judged: Bools, scratch: Float64
) -> None:
    """Learn how the signals go together: exponentially weighted products of deviations. O(D^2).

    What is missing enters as it was supposed, and its conditional variance beside it, as in the EM algorithm (Little
    and Rubin 2002). `scratch` is of shape (2, D).
    """
    size, weights, settled = len(modest), scratch[0], scratch[1]
    for signal in range(size):
        known = max(own[signal, SEEN] - SETTLING, 0.0)
        weights[signal] = max(1.0 / (known + PRIOR), 1.0 / SPAN)
        settled[signal] = 1.0 if own[signal, SEEN] >= SETTLING else 0.0
    for row in range(size):
        if settled[row]:
            for column in range(row + 1):
                weight = settled[column] * max(weights[row], weights[column])
                related[row, column] += weight * (modest[row] * modest[column] - related[row, column])
            if not judged[row]:
                related[row, row] += weights[row] / inverse[row, row]


@kernel()
def learn(shared: Float64, apart: float, against: float, surprise: float) -> None:
    """Bring up to date what is usual of the group: outliers cut to a multiple of what was usual before. O(1)."""
    ticks = shared[TICKS]
    weight = max(1.0 / (ticks + 1.0), 1.0 / SPAN)
    if ticks >= SETTLING:
        apart = min(apart, MODEST * max(shared[USUAL_APART], LEAST))
        against = min(against, MODEST * max(shared[USUAL_AGAINST], LEAST))
        weight_of_level = max(1.0 / (ticks - SETTLING + 1.0), 1.0 / SPAN)
        off = surprise - shared[LEVEL]
        if ticks >= 2 * SETTLING:
            most = max(NEAR * shared[SPREAD], LEAST_LESSON)
            off = min(max(off, -most), most)
        shared[LEVEL] += weight_of_level * off
        shared[SPREAD] += weight_of_level * (abs(off) - shared[SPREAD])
    shared[USUAL_APART] += weight * (apart - shared[USUAL_APART])
    shared[USUAL_AGAINST] += weight * (against - shared[USUAL_AGAINST])
    shared[TICKS] = ticks + 1.0


@kernel()
def advance(
    own: Float64,
    related: Float64,
    inverse: Float64,
    shared: Float64,
    values: Float64,
    scratch: Float64,
    factor: Float64,
    judged: Bools,
    contributions: Float64,
) -> float:
    """Judge one tick by those before it, then learn from it. O(D^2), every REFRESH ticks O(D^3).

    State as in the module's head: `own` (D, OWN), `related` and `inverse` (D, D), `shared` (SHARED,). `values` (D,),
    NaN: missing. `scratch` (4, D), `factor` (D, D), `judged` (D,). Writes `contributions` (D,) and gives the score
    that they sum up to; NaN while learning, and where no signal is judged.
    """
    size = len(values)
    deviation, modest, pull = scratch[0], scratch[1], scratch[2]
    present = deviate(own, values, deviation, judged)
    if present == 0:
        return np.nan
    for signal in range(size):
        modest[signal] = min(max(deviation[signal], -RELATED), RELATED)
    if present < size:
        suppose(own, inverse, modest, judged)
    pull[:] = 0.0
    for other in range(size):
        for signal in range(size):
            pull[signal] += inverse[other, signal] * modest[other]
    squares = against = 0.0
    for signal in range(size):
        pull[signal] = abs(pull[signal]) / np.sqrt(inverse[signal, signal]) if judged[signal] else 0.0
        pull[signal] = min(pull[signal], MOST)
        against += pull[signal] / present
        squares += deviation[signal] * deviation[signal]
    apart = np.sqrt(squares / present)
    surprise = 0.0
    if shared[TICKS] >= SETTLING:
        per_apart = apart / (max(shared[USUAL_APART], LEAST) * max(squares, kernels.TINY))
        per_against = 1.0 / (max(shared[USUAL_AGAINST], LEAST) * present)
        for signal in range(size):
            adds = deviation[signal] * deviation[signal] * per_apart + pull[signal] * per_against
            own[signal, ADDS] += (adds - own[signal, ADDS]) / SMOOTH
            surprise += own[signal, ADDS]
    score = np.nan
    if shared[TICKS] >= LEARNING:
        wary = 1.0 + WARY * np.log2(1.0 + shared[ALARMS] / EXPECTED_ALARMS)
        bar = max(shared[LEVEL], LEAST_LEVEL) + ALARM * max(shared[SPREAD], LEAST)
        unit = 1.0 / (bar * wary)
        for signal in range(size):
            contributions[signal] = own[signal, ADDS] * unit
        score = surprise * unit
        above = 1.0 if score >= 1.0 else 0.0
        shared[ALARMS] += max(above - shared[ABOVE], 0.0) - shared[ALARMS] / FORGET_ALARMS
        shared[ABOVE] = above
    learn(shared, apart, against, surprise)
    relate(own, related, inverse, modest, judged, scratch[2:])
    if shared[TICKS] % REFRESH == 0.0:
        inverted(related, inverse, factor)
    return score


@kernel()
def tick(
    own: Float64,
    related: Float64,
    inverse: Float64,
    shared: Float64,
    values: Float64,
    scores: Float64,
    contributions: Float64,
) -> None:
    """`advance` over ticks in their order: `values` and `contributions` of shape (n, D), `scores` (n,). O(n D^2)."""
    size = values.shape[1]
    scratch, factor, judged = np.empty((4, size)), np.empty((size, size)), np.empty(size, np.bool_)
    for index in range(len(values)):
        scores[index] = advance(
            own, related, inverse, shared, values[index], scratch, factor, judged, contributions[index]
        )


@dataclass(frozen=True)
class Judgements:
    """One per tick: `score`, shape (n,), is 1 where the group is unusual enough to alarm; `contributions`, shape
    (n, signals), are what each signal adds to it. NaN while the group is learning, and where no signal is judged."""

    score: Float64
    contributions: Float64

    def ranked(self) -> Int64:
        """The signals of each tick, shape (n, signals), those first that add most."""
        return np.argsort(-self.contributions, axis=1, kind="stable")


class Group:
    """The state of signals that are judged together, numbered from 0. Not to be used by two threads at once."""

    def __init__(self, signals: int) -> None:
        self._own: Float64 = np.zeros((signals, OWN))
        self._related: Float64 = np.eye(signals)
        self._inverse: Float64 = np.eye(signals)
        self._shared: Float64 = np.zeros(SHARED)

    def __len__(self) -> int:
        return len(self._own)

    def grow(self, signals: int) -> None:
        """Make room for `signals` signals in all; those that there are stay as they are."""
        here = len(self)
        more = Group(max(signals, here))
        more._own[:here] = self._own
        more._related[:here, :here] = self._related
        more._inverse[:here, :here] = self._inverse
        self._own, self._related, self._inverse = more._own, more._related, more._inverse

    def run(self, values: npt.ArrayLike) -> Judgements:
        """Judge ticks in their order, and learn from them: shape (n, signals), NaN where a signal has no value.

        Infinities and values beyond 1e150 are missing. Raises `ValueError` for another shape, before anything has
        changed.
        """
        given = np.ascontiguousarray(values, np.float64)
        if given.ndim != 2 or given.shape[1] != len(self):
            raise ValueError(f"a tick has {len(self)} values, one a signal")
        scores: Float64 = np.full(len(given), np.nan)
        contributions: Float64 = np.full(given.shape, np.nan)
        tick(*self._columns(), given, scores, contributions)
        return Judgements(scores, contributions)

    def to_bytes(self) -> bytes:
        """A header with the version and the number of signals, then the four columns, little endian."""
        rows = (column.astype(column.dtype.newbyteorder("<")).tobytes() for column in self._columns())
        return _HEADER.pack(_MAGIC, VERSION, len(self)) + b"".join(rows)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Group":
        """What `to_bytes` gave. Raises `ValueError` for another version, or for what is no state: the group then has
        to learn anew."""
        refused = ValueError(f"not the state of a group of version {VERSION}")
        if len(data) < _HEADER.size or _HEADER.unpack_from(data)[:2] != (_MAGIC, VERSION):
            raise refused
        signals = _HEADER.unpack_from(data)[2]
        if len(data) != _HEADER.size + 8 * (signals * OWN + 2 * signals * signals + SHARED):
            raise refused
        group = cls(signals)
        offset = _HEADER.size
        for column in group._columns():
            held = np.frombuffer(data, column.dtype.newbyteorder("<"), column.size, offset)
            column[:] = held.reshape(column.shape)
            offset += column.nbytes
        return group

    def _columns(self) -> tuple[Float64, Float64, Float64, Float64]:
        return self._own, self._related, self._inverse, self._shared
