"""The streaming engine's arithmetic: one point of one series at a time, O(1), no allocation. See `docs/detection.md`.

What is kept of a series is a record of STATE, and HOURS records of HOUR for its profile of the day and the week; all
in the unit of the series and relative to its first value. Kernels take records, never arrays: an array that is handed
on is counted by Numba each time, which costs more than most kernels here.

All means are exponentially weighted: `m += (x - m) / min(n, span)` is the plain mean of the first `span` points and
forgets afterwards. No step squares a value, so that nothing overflows up to LARGEST.
"""

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.prefetch import prefetch
from plumbline_common.compiling import kernel

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]
Record: TypeAlias = Any
"""One of an array's records, by reference."""

# --- What is kept of a series --------------------------------------------------------------------------------

DEPARTURE, LEVEL, VARIATION, NOVELTY, MEMBERS = 0, 1, 2, 3, 4
"""The members, as columns of their figures."""

QUICK, STEADY, CALIBRATED = 2, 3, 4
"""Histograms: 0 and 1 belong to DEPARTURE and LEVEL; the change of variation has two, for its two spans."""

BINS, PER_OCTAVE, LOWEST = 32, 2.5, -5.0
"""A surprise u falls into bin 2.5 * (log2 u + 5): from 1/32 to 220 times what is usual."""

FEATURES, LANES = 11, 12
"""What the novelty member looks at: the value; its mean and mean deviation over three spans; its difference and that
difference's mean over two spans; short mean less long mean. They are kept in LANES, so that they fill vectors."""

STATE = np.dtype(
    [
        ("counts", np.uint16, (CALIBRATED, BINS)),  # of surprises in each bin and all above it, in 1/8 points
        ("features", np.float64, LANES),
        ("low", np.float64, LANES),
        ("high", np.float64, LANES),
        ("centre", np.float64, LANES),
        ("spread", np.float64, LANES),
        ("error", np.float64, 3),  # of the plain, the daily and the weekly baseline, while the daily can be judged
        ("scale", np.float64, 3),  # the mean absolute residual of each
        ("origin", np.float64),  # the first value; all others are relative to it
        ("middle", np.float64),
        ("interval", np.float64),
        ("drift", np.float64),
        ("quick", np.float64),  # the mean difference of late, and of long
        ("steady", np.float64),
        ("usual", np.float64),
        ("limit", np.float64),
        ("band", np.float64),
        ("alarms", np.float64),
        ("last", np.int64),  # time of the last point in microseconds
        ("seen", np.int64),  # points that were learned from; then those that were missing, and that came late
        ("missing", np.int64),
        ("late", np.int64),
    ]
)
"""A whole number of cache lines."""

SLOTS, HOURS = 11, 24
HOUR = np.dtype([("usual", np.float64, SLOTS), ("visits", np.uint16, SLOTS), ("spare", np.uint16, 9)])
"""The profile of an hour of the day: the usual value in each of its quarters, then on each day of the week; and how
often each was seen, in 1/1024 visits."""

STATE_BYTES, VISIT = STATE.itemsize, 1024

# --- Constants, each in points unless it says otherwise ---------------------------------------------------------

LEARNING = 60
"""Fewer points than this are no ground for a judgement: the 98 % quantile of 60 is hardly more than their largest."""
LARGEST = 1e300
"""Beyond it the arithmetic could overflow: such a value is missing."""
SETTLING = 20
"""Until then scales mean nothing, and no surprise is counted."""
FORGET_SCALE = 1000.0
FORGET_USUAL = 2000.0
FORGET_INTERVAL = 100.0
MEAN_SPANS = (8.0, 32.0, 96.0)
ROUGHNESS_SPANS = (12.0, 48.0)
SPAN_QUICK, SPAN_STEADY = 6.0, 24.0
"""An hour holds 12 points of 5 minutes; half of it and twice it."""
SPAN_DRIFT = 48.0
OUTLIER = 8.0
"""Residuals count as at most so many scales where they teach a scale or a mean."""
STEP = 0.02
"""The running median moves by so many scales a point: some 50 points for one scale."""
VISITS_KEPT = 5.0
"""A profile is the mean of its last five days or weeks."""
BETTER = 0.8
"""A season is believed where it leaves less than this share of the simpler baseline's residual."""
SHRINK = 1.0 / 8000.0
"""What the novelty member knows as range shrinks by this share of itself a point: about a month of 5 minutes."""
RANGE_WEIGHT, FAR = 0.3, 1e9
FULL = 8000 * 8
"""A histogram is halved when it holds 8,000 points, so it is the mean of about a month of 5 minutes."""
TAIL = 0.02
"""Above its 98 % quantile a histogram is replaced by an exponential of log u: Hill's estimator of a power's tail."""
SURPRISE_MOST = 6.0
"""-log10 p beyond one in a million is said of no member: no history here is long enough for it."""
NOVELTY_WEIGHT, NOVELTY_MOST = 2.0, 4.0
ALARM = 5.5
"""The sum of the members' surprises at which the score is 1, on a series that has not alarmed yet: on noise about one
alarm in a week of 5 minutes. How it was chosen stands in docs/detection.md."""
WARY, EXPECTED_ALARMS, FORGET_ALARMS = 2.0, 4.0, 8000.0
"""With n alarms in about the last month the bar is higher by 2 * log10(1 + n / 4): one a week is expected. It makes
series of heavy tails, which surprise all members at once, alarm hardly more often than others."""
AGAIN = 1.2
HALF_LIFE = 150.0
"""After an alarm only what exceeds it by a fifth is new; that limit halves every 150 points."""
HALF, TENTH, BEYOND, WIDEST = 0.5, 0.1, math.log2(3.0) / math.log2(math.log(10.0) / math.log(2.0)), 2.5
"""The band ends where a Weibull distribution through the 50 % and the 90 % quantile has its 99.9 %: so outliers, up
to a tenth of the points, do not widen it. These quantiles count as at most 2.5 octaves apart."""
PAUSE = 12.0
"""A gap of more than so many usual intervals: the difference to the point before it means nothing."""
FORGOTTEN_US = 90 * 86_400_000_000
"""After 90 days of silence a series is learned anew."""
TINY = 1e-300
WANE = 0.5 ** (1.0 / HALF_LIFE)
LN_2, LOG10_2, LOG10_E = math.log(2.0), math.log10(2.0), math.log10(math.e)
AHEAD = 3
LINE = 64
"""Bytes of a cache line."""
QUARTER_US, HOUR_US = 900_000_000, 3_600_000_000
MONDAY_US = 4 * 86_400_000_000
"""The epoch began on a Thursday."""
ORDINALS = np.arange(BINS, dtype=np.uint16)


@kernel()
def log2(x: float) -> float:
    """The logarithm of a positive number, at most 0.009 off: its exponent, and a parabola through its fraction."""
    bits = np.float64(x).view(np.int64)
    fraction = (bits & 0xFFFFFFFFFFFFF) * 2.0**-52
    return (bits >> 52) - 1023 + fraction * (1.34 - 0.34 * fraction)


@kernel()
def place(surprise: float) -> float:
    """Where a surprise lies among the bins, from 0 to just under BINS."""
    return min(max((log2(surprise + TINY) - LOWEST) * PER_OCTAVE, 0.0), BINS - 0.001)


@kernel()
def capped(value: float, most: float) -> float:
    return min(max(value, -most), most)


@kernel()
def tail(state: Record, which: int) -> tuple[int, float, float]:
    """Of a histogram: the bin in which the tail of 2 % begins, the count in and above it, and its mean excess in
    bins. O(BINS), vectorised."""
    most = TAIL * state.counts[which, 0]
    heavy, beyond = 0, 0
    for index in range(BINS):
        count = int(state.counts[which, index])
        heavy += count > most
        beyond += count if count <= most else 0
    begin = max(heavy - 1, 0)
    above = float(state.counts[which, begin])
    # One point at two bins beyond is added, so that an empty tail has a slope.
    return begin, above, max((0.5 * above + beyond + 16.0) / (above + 8.0), 0.5)


@kernel(inlined=True)
def improbability(state: Record, which: int, where: float, per_point: float) -> float:
    """-log10 of the share of the past points that were at least as surprising, by one of the histograms; `per_point`:
    1 / points counted. O(1), in the tail O(BINS)."""
    counts = state.counts
    index = int(where)
    here = float(counts[which, index])
    above = float(counts[which, index + 1]) if index < BINS - 1 else 0.0
    share = (here + (above - here) * (where - index) + 4.0) * per_point
    result = -LOG10_2 * log2(share)
    if share < TAIL:
        begin, count, excess = tail(state, which)
        result = max(result, -LOG10_2 * log2(count * per_point) + LOG10_E * (where - begin) / excess)
    return min(max(result, 0.0), SURPRISE_MOST)


@kernel()
def count(state: Record, where: tuple[float, float, float, float]) -> None:
    """Count a point in all bins up to its own, of each histogram; halve them when they are full. O(BINS),
    vectorised."""
    for which in range(CALIBRATED):
        own, last = state.counts[which], np.uint16(where[which])
        for index in range(BINS):
            own[index] += np.uint16(8) if ORDINALS[index] <= last else np.uint16(0)
    if state.counts[0, 0] >= FULL:
        for which in range(CALIBRATED):
            for index in range(BINS):
                state.counts[which, index] >>= 1


@kernel()
def observe(state: Record, x: float, difference: float, young: float) -> None:
    """Bring the features up to date. `young`: 1 / points seen."""
    features = state.features
    features[0] = x
    for number, span in enumerate(MEAN_SPANS):
        weight = max(young, 1.0 / span)
        off = x - features[1 + number]
        features[1 + number] += weight * off
        features[4 + number] += weight * (abs(off) - features[4 + number])
    features[7] = difference
    for number, span in enumerate(ROUGHNESS_SPANS):
        features[8 + number] += max(young, 1.0 / span) * (difference - features[8 + number])
    features[10] = features[1] - features[3]


@kernel(in_any_order=True)
def novelty(state: Record, young: float) -> float:
    """How far the features lie outside the ranges of their own histories. O(LANES), vectorised.

    The sum over them of log(1 + distance / (0.3 * range + mean absolute deviation)). The ranges then shrink towards
    their centres and take the features in.
    """
    weight = max(young, 1.0 / FORGET_SCALE)
    product = 1.0
    for lane in range(LANES):
        x, low, high = state.features[lane], state.low[lane], state.high[lane]
        centre, spread = state.centre[lane], state.spread[lane]
        outside = max(max(x - high, low - x), 0.0)
        unit = RANGE_WEIGHT * (high - low) + spread + 1e-12 * abs(x) + TINY
        product *= 1.0 + min(outside / unit, FAR)
        state.low[lane] = min(low + (centre - low) * SHRINK, x)
        state.high[lane] = max(high + (centre - high) * SHRINK, x)
        centre += weight * (x - centre)
        state.centre[lane] = centre
        state.spread[lane] = spread + weight * (abs(x - centre) - spread)
    return math.log(product) if product > 1.0 else 0.0


@kernel()
def remember(hour: Record, slot: int, share: float, x: float, most: float) -> None:
    """Take x into one slot of a profile. `share`: how much of the slot's length the point stands for."""
    known = hour.visits[slot] * (1.0 / VISIT)
    usual = hour.usual[slot]
    if known > 1.0:
        x = usual + capped(x - usual, most)
    known += share
    hour.usual[slot] = usual + share / max(min(known, VISITS_KEPT), share) * (x - usual)
    hour.visits[slot] = min(int(known * VISIT + 0.5), 60 * VISIT)


@kernel()
def slots(at: int) -> tuple[int, int, int]:
    """Of a time in microseconds: the hour of the day, and in its HOUR the slots of the quarter and of the weekday."""
    hours = (at - MONDAY_US) // HOUR_US
    days = hours // HOURS
    return hours - HOURS * days, (at - MONDAY_US - hours * HOUR_US) // QUARTER_US, 4 + days % 7


@kernel()
def baseline(state: Record, hour: Record, quarter: int, weekday: int) -> tuple[int, float]:
    """What is expected, and by which baseline: 0 the running median, 1 the day's profile, 2 the week's."""
    which, base = 0, state.middle
    if hour.visits[quarter] >= 2 * VISIT and state.error[1] < BETTER * state.error[0]:
        which, base = 1, hour.usual[quarter]
    if hour.visits[weekday] >= 2 * VISIT and state.error[2] < BETTER * state.error[which]:
        which, base = 2, hour.usual[weekday]
    return which, base


@kernel()
def stepped(state: Record, x: float, silence: int) -> float:
    """The difference to the point before, or the usual one over a pause; and learn the usual interval."""
    seen = state.seen
    if seen > SETTLING and silence > PAUSE * state.interval:
        difference = state.usual
    elif seen > 1:
        difference = abs(x - state.features[0])
        state.interval += max(1.0 / (seen - 1), 1.0 / FORGET_INTERVAL) * (silence - state.interval)
    else:
        difference = 0.0
    return float(difference)


@kernel()
def follow(state: Record, difference: float, modest: float, young: float) -> None:
    """Bring the means up to date that level and variation are told by. `modest`: the residual, cut."""
    state.quick += max(young, 1.0 / SPAN_QUICK) * (difference - state.quick)
    state.steady += max(young, 1.0 / SPAN_STEADY) * (difference - state.steady)
    state.usual += max(young, 1.0 / FORGET_USUAL) * (difference - state.usual)
    state.drift += max(young, 1.0 / SPAN_DRIFT) * (modest - state.drift)
    state.limit *= WANE


@kernel(inlined=True)
def placed(state: Record, residual: float, scale: float, floor: float) -> tuple[float, float, float, float]:
    """Where the surprises lie among the bins of their histograms."""
    least = 0.05 * state.usual + floor
    per_scale, per_usual = 1.0 / scale, 1.0 / (1.05 * state.usual + floor)
    return (
        place(abs(residual) * per_scale),
        place(abs(state.drift) * per_scale),
        place(abs(log2((state.quick + least) * per_usual)) * LN_2),
        place(abs(log2((state.steady + least) * per_usual)) * LN_2),
    )


@kernel(inlined=True)
def judge(state: Record, where: tuple[float, float, float, float], new: float) -> tuple[float, ...]:
    """The score, what of it is fresh, and what each member adds to it; from each surprise's place among the bins and
    what is new."""
    per_point = 1.0 / (state.counts[0, 0] + 8.0)
    departure = improbability(state, DEPARTURE, where[DEPARTURE], per_point)
    level = improbability(state, LEVEL, where[LEVEL], per_point)
    variation = 0.5 * improbability(state, QUICK, where[QUICK], per_point)
    variation += 0.5 * improbability(state, STEADY, where[STEADY], per_point)
    new = min(NOVELTY_WEIGHT * new, NOVELTY_MOST)
    alarms = state.alarms * (1.0 - 1.0 / FORGET_ALARMS)
    unit = 1.0 / (ALARM + WARY * LOG10_2 * log2(1.0 + alarms * (1.0 / EXPECTED_ALARMS)))
    score = (departure + level + variation + new) * unit
    fresh = 0.0
    if score > state.limit:
        fresh = score
        state.limit = AGAIN * score
        if score >= 1.0:
            alarms += 1.0
    state.alarms = alarms
    return score, fresh, departure * unit, level * unit, variation * unit, new * unit


@kernel()
def quantile(state: Record, which: int, share: float) -> float:
    """The place among the bins above which `share` of a histogram's points lie. O(BINS), vectorised."""
    most = share * state.counts[which, 0]
    heavy = 0
    for index in range(BINS):
        heavy += state.counts[which, index] > most
    index = max(heavy - 1, 0)
    here = float(state.counts[which, index])
    above = float(state.counts[which, index + 1]) if index < BINS - 1 else 0.0
    return float(index + (here - most) / max(here - above, 1.0))


@kernel()
def banded(state: Record, expected: float, scale: float) -> tuple[float, float]:
    """The band around what was expected; a wide one while the series is learning, and later by departure's histogram,
    looked up now and then. What was never negative is not expected to be."""
    width = OUTLIER * scale
    if state.seen > LEARNING:
        if state.seen % 64 == 0 or state.band == 0.0:
            half, tenth = quantile(state, DEPARTURE, HALF), quantile(state, DEPARTURE, TENTH)
            beyond = BEYOND * min(tenth - half, WIDEST * PER_OCTAVE)
            state.band = 2.0 ** ((tenth + beyond) / PER_OCTAVE + LOWEST)
        width = state.band * scale
    lower = expected - width
    return 0.0 if lower < 0.0 <= state.origin + state.low[0] else lower, expected + width


@kernel(inlined=True)
def learn(
    state: Record, hour: Record, quarter: int, weekday: int, x: float, plain: float, silence: int, young: float
) -> None:
    """Teach the baselines, and how far each is off. `plain`: the scale around the running median."""
    middle, seen = state.middle, state.seen
    outlier = OUTLIER * plain if seen > 2 * SETTLING else np.inf
    off = min(abs(x - middle), outlier)
    daily = min(abs(x - hour.usual[quarter]), outlier)
    weekly = min(abs(x - hour.usual[weekday]), outlier)
    weight = max(young, 1.0 / FORGET_USUAL)
    if hour.visits[quarter] >= 2 * VISIT:
        state.error[0] += weight * (off - state.error[0])
        state.error[1] += weight * (daily - state.error[1])
    if hour.visits[weekday] >= 2 * VISIT:
        if state.error[2] == 0.0:
            state.error[2] = state.error[1]
        state.error[2] += weight * (weekly - state.error[2])
    weight = max(young, 1.0 / FORGET_SCALE)
    state.scale[0] += weight * (off - state.scale[0])
    state.scale[1] += weight * ((daily if hour.visits[quarter] > 0 else state.scale[0]) - state.scale[1])
    state.scale[2] += weight * ((weekly if hour.visits[weekday] > 0 else state.scale[0]) - state.scale[2])
    state.middle = middle + ((x - middle) * young if seen < 30 else STEP * capped(x - middle, plain))
    share = max(silence, 1) * (1.0 / QUARTER_US)
    remember(hour, quarter, min(share, 1.0), x, 5.0 * plain)
    remember(hour, weekday, min(0.25 * share, 1.0), x, 5.0 * plain)


@kernel(inlined=True)
def advance(state: Record, hour: Record, quarter: int, weekday: int, silence: int, value: float) -> tuple[float, ...]:
    """Judge one point by what its series did before, then learn from it.

    `hour` is the profile of the point's hour, `quarter` and `weekday` its slots therein; `silence` the microseconds
    since the point before. Returns score, fresh, expected, lower, upper and what each member adds to the score; NaN
    while nothing can be said.
    """
    state.seen += 1
    seen = state.seen
    young = 1.0 / seen
    settled = seen > SETTLING
    if seen == 1:
        state.origin = value
    x = value - state.origin
    which, base = baseline(state, hour, quarter, weekday)
    floor = 1e-9 * (state.high[0] - state.low[0]) + 1e-12 * abs(value) + TINY
    scale = max(state.scale[which], floor)
    plain = max(state.scale[0], floor)
    residual = x - base
    difference = stepped(state, x, silence)
    follow(state, difference, capped(residual, OUTLIER * scale) if settled else residual, young)
    observe(state, x, difference, young)
    if seen == 1:
        state.low[:] = state.features
        state.high[:] = state.features
        state.centre[:] = state.features
    new = novelty(state, young)
    found: tuple[float, ...] = (np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)
    expected, lower, upper = np.nan, np.nan, np.nan
    if settled:
        where = placed(state, residual, scale, floor)
        if seen > LEARNING:
            found = judge(state, where, new)
        expected = value - residual
        lower, upper = banded(state, expected, scale)
        count(state, where)
    learn(state, hour, quarter, weekday, x, plain, silence, young)
    score, fresh, departure, level, variation, new = found
    return score, fresh, expected, lower, upper, departure, level, variation, new


@kernel()
def forget(states: Records, profiles: Records, blank: Records, empty: Records, row: int) -> None:
    """Make a series' state as it was before its first point; what it counts beside points learned stays."""
    missing, late = states[row].missing, states[row].late
    states[row] = blank[0]
    states[row].missing, states[row].late = missing, late
    for hour in range(HOURS):
        profiles[row, hour] = empty[0]


@kernel()
def fetch(states: Records, profiles: Records, row: int, at: int) -> None:
    """What `advance` will need of a series, some points ahead: the states of many series stand in main memory."""
    for offset in range(0, STATE_BYTES, LINE):
        prefetch(states, row, offset)
    hour, _, _ = slots(at)
    prefetch(profiles, row * HOURS + hour, 0)
    prefetch(profiles, row * HOURS + hour, LINE)


@kernel()
def tick(
    states: Records,
    profiles: Records,
    blank: Records,
    empty: Records,
    series: Int64,
    at: Int64,
    values: Float64,
    figures: Float64,
    members: Float32,
) -> None:
    """`advance` over arrivals in their order.

    `states` of shape (series,) and `profiles` of shape (series, HOURS) as in the module's head, `blank` and `empty`
    one zero of each; `series`, `at` in microseconds and `values` of shape (n,); `figures` (n, 5) and `members`
    (n, MEMBERS) full of NaN. A value that is missing and a time that is not after the last one are counted.
    """
    for index in range(len(series)):
        ahead = min(index + AHEAD, len(series) - 1)
        fetch(states, profiles, series[ahead], at[ahead])
        row, value = series[index], values[index]
        state = states[row]
        if not abs(value) <= LARGEST:
            state.missing += 1
            continue
        silence = at[index] - state.last if state.seen > 0 else 0
        if state.seen > 0 and silence <= 0:
            state.late += 1
            continue
        if silence > FORGOTTEN_US:
            forget(states, profiles, blank, empty, row)
            silence = 0
        state.last = at[index]
        hour, quarter, weekday = slots(at[index])
        score, fresh, expected, lower, upper, departure, level, variation, new = advance(
            state, profiles[row, hour], quarter, weekday, silence, value
        )
        figures[index, 0] = score
        figures[index, 1] = fresh
        figures[index, 2] = expected
        figures[index, 3] = lower
        figures[index, 4] = upper
        members[index, DEPARTURE] = departure
        members[index, LEVEL] = level
        members[index, VARIATION] = variation
        members[index, NOVELTY] = new
