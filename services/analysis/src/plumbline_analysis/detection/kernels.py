"""The streaming engine's arithmetic: one point of one series at a time, O(1), no allocation. See `docs/detection.md`.

The state of a series is a row in each of five arrays (`streams.Engine`):

- `numbers`, float64 (NUMBERS,): means, scales and ranges, in the unit of the series, relative to its first value;
- `profile`, float64 (SLOTS,): the usual value by quarter of an hour of the day, then by hour of the week;
- `visits`, uint16 (SLOTS,): how often each was seen, in 1/1024 visits;
- `counts`, uint16 (CALIBRATED * BINS,): the histograms that turn a surprise into a probability, each
  bin with all above it, in 1/8 points;
- `clock`, int64 (CLOCKS,): time of the last point in microseconds, and counters.

All means are exponentially weighted: `m += (x - m) / min(n, span)` is the plain mean of the first `span` points and
forgets afterwards. No step squares a value, so that nothing overflows up to LARGEST.
"""

import math

import numpy as np
import numpy.typing as npt

from plumbline_analysis.detection.prefetch import prefetch
from plumbline_common.compiling import kernel

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
UInt16 = npt.NDArray[np.uint16]

# --- What is kept of a series --------------------------------------------------------------------------------

LAST, SEEN, MISSING, LATE, CLOCKS = 0, 1, 2, 3, 4
"""Columns of `clock`: the last point's time; points that were learned from, that were missing, that came late."""

DAY_SLOTS, WEEK_SLOTS = 96, 168
SLOTS = DAY_SLOTS + WEEK_SLOTS
VISIT = 1024

DEPARTURE, LEVEL, VARIATION, NOVELTY, MEMBERS = 0, 1, 2, 3, 4
"""The members, as columns of their figures."""

QUICK, STEADY, CALIBRATED = 2, 3, 4
"""Histograms: 0 and 1 belong to DEPARTURE and LEVEL; the change of variation has two, for its two spans."""

BINS, PER_OCTAVE, LOWEST = 64, 4.0, -6.0
"""A surprise u falls into bin 4 * (log2 u + 6): from 1/64 to 1,024 times what is usual."""

FEATURES = 11
"""What the novelty member looks at: the value; its mean and mean deviation over three spans; its difference and that
difference's mean over two spans; short mean less long mean."""

ORIGIN, MIDDLE, PREVIOUS, INTERVAL, DRIFT, LIMIT, BAND = 0, 1, 2, 3, 4, 5, 6
QUICK_DIFFERENCE, STEADY_DIFFERENCE, USUAL_DIFFERENCE, ALARMS = 7, 8, 9, 10
ERROR = 11  # three: of the plain, the daily and the weekly baseline, while the daily one can be judged
SCALE = 14  # three: the mean absolute residual of each
MEANS = 17  # three
DEVIATIONS = 20  # three
ROUGHNESS = 23  # two
LOW = 25
HIGH = LOW + FEATURES
CENTRE = HIGH + FEATURES
SPREAD = CENTRE + FEATURES
NUMBERS = SPREAD + FEATURES

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
RANGE_WEIGHT = 0.3
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
UP_TO = np.where(np.arange(BINS) <= np.arange(BINS)[:, None], 8, 0).astype(np.uint16)
"""What a point adds to each bin, by its own."""
OUTSIDE = 0.001
"""One point in a thousand is expected outside the band."""
PAUSE = 12.0
"""A gap of more than so many usual intervals: the difference to the point before it means nothing."""
FORGOTTEN_US = 90 * 86_400_000_000
"""After 90 days of silence a series is learned anew."""
TINY = 1e-300
WANE = 0.5 ** (1.0 / HALF_LIFE)
LN_2, LOG10_2, LOG10_E = math.log(2.0), math.log10(2.0), math.log10(math.e)
AHEAD = 3
QUARTER_US = 900_000_000
MONDAY_US = 4 * 86_400_000_000
"""The epoch began on a Thursday."""


@kernel()
def fetch(
    numbers: Float64, profile: Float64, visits: UInt16, counts: UInt16, clock: Int64, row: int, at: int
) -> None:
    """What `advance` will need of a series, some points ahead: the states of many series stand in main memory."""
    for index in range(0, NUMBERS, 8):
        prefetch(numbers, row * NUMBERS + index)
    for index in range(0, CALIBRATED * BINS, 32):
        prefetch(counts, row * CALIBRATED * BINS + index)
    quarter = (at - MONDAY_US) // QUARTER_US
    day = row * SLOTS + quarter % DAY_SLOTS
    week = row * SLOTS + DAY_SLOTS + (quarter // 4) % WEEK_SLOTS
    prefetch(profile, day)
    prefetch(profile, week)
    prefetch(visits, day)
    prefetch(visits, week)
    prefetch(clock, row * CLOCKS)


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
def tail(counts: UInt16, row: int, first: int) -> tuple[int, float, float]:
    """Of the histogram that starts at `first`: the bin in which the tail of 2 % begins, the count in and above it,
    and its mean excess in bins. O(BINS)."""
    begin, most = BINS - 1, TAIL * counts[row, first]
    while begin > 0 and counts[row, first + begin] <= most:
        begin -= 1
    above = float(counts[row, first + begin])
    excess = 0.5 * above
    for index in range(begin + 1, BINS):
        excess += counts[row, first + index]
    # One point at two bins beyond is added, so that an empty tail has a slope.
    return begin, above, max((excess + 16.0) / (above + 8.0), 0.5)


@kernel()
def improbability(counts: UInt16, row: int, first: int, where: float) -> float:
    """-log10 of the share of the past points that were at least as surprising, by the histogram that starts at
    `first`. O(1), in the tail O(BINS)."""
    index = int(where)
    points = counts[row, first] + 8.0
    here = float(counts[row, first + index])
    above = float(counts[row, first + index + 1]) if index < BINS - 1 else 0.0
    share = (here + (above - here) * (where - index) + 4.0) / points
    result = -LOG10_2 * log2(share)
    if share < TAIL:
        begin, count, excess = tail(counts, row, first)
        result = max(result, -LOG10_2 * log2(count / points) + LOG10_E * (where - begin) / excess)
    return min(max(result, 0.0), SURPRISE_MOST)


@kernel()
def remember_surprise(counts: UInt16, row: int, first: int, where: float) -> None:
    """Count a point in all bins up to its own; halve them where the histogram is full. O(BINS), vectorised."""
    index = int(where)
    own, step = counts[row, first : first + BINS], UP_TO[index]
    for other in range(BINS):
        own[other] += step[other]
    if counts[row, first] >= FULL:
        for other in range(BINS):
            counts[row, first + other] >>= 1


@kernel()
def capped(value: float, most: float) -> float:
    return min(max(value, -most), most)


@kernel()
def observe(numbers: Float64, features: Float64, row: int, x: float, difference: float, young: float) -> None:
    """Bring the means up to date that the novelty member looks at, and write its features, shape (FEATURES,).
    `young`: 1 / points seen."""
    features[0] = x
    for number, span in enumerate(MEAN_SPANS):
        weight = max(young, 1.0 / span)
        off = x - numbers[row, MEANS + number]
        mean = numbers[row, MEANS + number] + weight * off
        deviation = numbers[row, DEVIATIONS + number]
        deviation += weight * (abs(off) - deviation)
        numbers[row, MEANS + number] = features[1 + number] = mean
        numbers[row, DEVIATIONS + number] = features[4 + number] = deviation
    features[7] = difference
    for number, span in enumerate(ROUGHNESS_SPANS):
        roughness = numbers[row, ROUGHNESS + number]
        roughness += max(young, 1.0 / span) * (difference - roughness)
        numbers[row, ROUGHNESS + number] = features[8 + number] = roughness
    features[10] = features[1] - features[3]


@kernel()
def novelty(numbers: Float64, features: Float64, row: int, young: float) -> float:
    """How far the features, shape (FEATURES,), lie outside the ranges of their own histories. O(FEATURES).

    The sum over them of log(1 + distance / (0.3 * range + mean absolute deviation)). The ranges then take the point
    in and shrink towards their centres.
    """
    result = 0.0
    if young < 1.0 / SETTLING:
        for feature in range(FEATURES):
            x, low, high = features[feature], numbers[row, LOW + feature], numbers[row, HIGH + feature]
            outside = max(x - high, low - x)
            if outside > 0.0:
                unit = RANGE_WEIGHT * (high - low) + numbers[row, SPREAD + feature] + 1e-12 * abs(x) + TINY
                result += math.log1p(min(outside / unit, 1e9))
    weight = max(young, 1.0 / FORGET_SCALE)
    keep = 0.0 if young == 1.0 else 1.0
    for feature in range(FEATURES):
        x, centre = features[feature], numbers[row, CENTRE + feature]
        # The first point is both ends of its range.
        low = x + keep * (numbers[row, LOW + feature] - x)
        high = x + keep * (numbers[row, HIGH + feature] - x)
        low += (centre - low) * SHRINK
        high -= (high - centre) * SHRINK
        numbers[row, LOW + feature] = low if low < x else x
        numbers[row, HIGH + feature] = high if high > x else x
        centre += weight * (x - centre)
        numbers[row, CENTRE + feature] = centre
        numbers[row, SPREAD + feature] += weight * (abs(x - centre) - numbers[row, SPREAD + feature])
    return result


@kernel()
def remember(profile: Float64, visits: UInt16, row: int, slot: int, share: float, x: float, most: float) -> None:
    """Take x into one slot of a profile. `share`: how much of the slot's length the point stands for."""
    known = visits[row, slot] / VISIT
    usual = profile[row, slot]
    if known > 1.0:
        x = usual + capped(x - usual, most)
    known += share
    profile[row, slot] = usual + share / max(min(known, VISITS_KEPT), share) * (x - usual)
    visits[row, slot] = min(int(known * VISIT + 0.5), 60 * VISIT)


@kernel()
def expect(
    numbers: Float64, row: int, value: float, expected: float, width: float, figures: Float64, index: int
) -> None:
    """Write what was expected and the band around it. What was never negative is not expected to be."""
    figures[index, 2] = expected
    lower = expected - width
    figures[index, 3] = 0.0 if lower < 0.0 <= numbers[row, ORIGIN] + numbers[row, LOW] else lower
    figures[index, 4] = expected + width


@kernel()
def forget(numbers: Float64, profile: Float64, visits: UInt16, counts: UInt16, clock: Int64, row: int) -> None:
    """A series' state as it was before its first point; what its clock counts beside points learned stays."""
    numbers[row] = 0.0
    profile[row] = 0.0
    visits[row] = 0
    counts[row] = 0
    clock[row, SEEN] = 0


@kernel()
def advance(
    numbers: Float64,
    profile: Float64,
    visits: UInt16,
    counts: UInt16,
    clock: Int64,
    features: Float64,
    row: int,
    at: int,
    value: float,
    figures: Float64,
    members: Float32,
    index: int,
) -> None:
    """Judge one point by what its series did before, then learn from it.

    The first five hold the states as described above, `features` is scratch of shape (FEATURES,), `row` the series'.
    `at` in microseconds. Writes row `index` of `figures`, shape (n, 5): score, fresh, expected, lower, upper; and of
    `members`, shape (n, MEMBERS): what each adds to the score. They are NaN before: what is not judged stays NaN.
    """
    if not abs(value) <= LARGEST:
        clock[row, MISSING] += 1
        return
    silence = at - clock[row, LAST] if clock[row, SEEN] > 0 else 0
    if clock[row, SEEN] > 0 and silence <= 0:
        clock[row, LATE] += 1
        return
    if silence > FORGOTTEN_US:
        forget(numbers, profile, visits, counts, clock, row)
        silence = 0
    clock[row, LAST] = at
    clock[row, SEEN] += 1
    seen = clock[row, SEEN]
    young = 1.0 / seen
    settled = seen > SETTLING
    if seen == 1:
        numbers[row, ORIGIN] = value
    x = value - numbers[row, ORIGIN]

    # The baseline: the running median, or the usual value of this time of the day or the week.
    quarter = (at - MONDAY_US) // QUARTER_US
    day = quarter % DAY_SLOTS
    week = DAY_SLOTS + (quarter // 4) % WEEK_SLOTS
    daily, weekly = visits[row, day] >= 2 * VISIT, visits[row, week] >= 2 * VISIT
    middle = numbers[row, MIDDLE]
    which, base = 0, middle
    if daily and numbers[row, ERROR + 1] < BETTER * numbers[row, ERROR]:
        which, base = 1, profile[row, day]
    if weekly and numbers[row, ERROR + 2] < BETTER * numbers[row, ERROR + which]:
        which, base = 2, profile[row, week]
    floor = 1e-9 * (numbers[row, HIGH] - numbers[row, LOW]) + 1e-12 * abs(value) + TINY
    scale = max(numbers[row, SCALE + which], floor)
    plain_scale = max(numbers[row, SCALE], floor)
    residual = x - base
    modest = capped(residual, OUTLIER * scale) if settled else residual

    # What is unusual about the point.
    usual = numbers[row, USUAL_DIFFERENCE]
    difference = abs(x - numbers[row, PREVIOUS]) if seen > 1 else 0.0
    interval = numbers[row, INTERVAL]
    if settled and silence > PAUSE * interval:
        difference = usual
    elif seen > 1:
        numbers[row, INTERVAL] = interval + max(1.0 / (seen - 1), 1.0 / FORGET_INTERVAL) * (silence - interval)
    numbers[row, PREVIOUS] = x
    quick = numbers[row, QUICK_DIFFERENCE]
    quick += max(young, 1.0 / SPAN_QUICK) * (difference - quick)
    numbers[row, QUICK_DIFFERENCE] = quick
    steady = numbers[row, STEADY_DIFFERENCE]
    steady += max(young, 1.0 / SPAN_STEADY) * (difference - steady)
    numbers[row, STEADY_DIFFERENCE] = steady
    usual += max(young, 1.0 / FORGET_USUAL) * (difference - usual)
    numbers[row, USUAL_DIFFERENCE] = usual
    drift = numbers[row, DRIFT]
    drift += max(young, 1.0 / SPAN_DRIFT) * (modest - drift)
    numbers[row, DRIFT] = drift
    observe(numbers, features, row, x, difference, young)
    new = novelty(numbers, features, row, young)
    limit = numbers[row, LIMIT] * WANE
    if settled:
        least, most = 0.05 * usual + floor, 1.05 * usual + floor
        per_scale = 1.0 / scale
        bin_departure = place(abs(residual) * per_scale)
        bin_level = place(abs(drift) * per_scale)
        bin_quick = place(abs(log2((quick + least) / most)) * LN_2)
        bin_steady = place(abs(log2((steady + least) / most)) * LN_2)
        if seen > LEARNING:
            departure = improbability(counts, row, 0, bin_departure)
            level = improbability(counts, row, BINS, bin_level)
            variation = 0.5 * improbability(counts, row, QUICK * BINS, bin_quick)
            variation += 0.5 * improbability(counts, row, STEADY * BINS, bin_steady)
            new = min(NOVELTY_WEIGHT * new, NOVELTY_MOST)
            alarms = numbers[row, ALARMS] * (1.0 - 1.0 / FORGET_ALARMS)
            unit = 1.0 / (ALARM + WARY * LOG10_2 * log2(1.0 + alarms / EXPECTED_ALARMS))
            members[index, DEPARTURE] = departure * unit
            members[index, LEVEL] = level * unit
            members[index, VARIATION] = variation * unit
            members[index, NOVELTY] = new * unit
            score = (departure + level + variation + new) * unit
            figures[index, 0] = score
            figures[index, 1] = 0.0
            if score > limit:
                figures[index, 1] = score
                limit = AGAIN * score
                if score >= 1.0:
                    alarms += 1.0
            numbers[row, ALARMS] = alarms
            if seen % 64 == 0 or numbers[row, BAND] == 0.0:
                begin, above, excess = tail(counts, row, 0)
                share = max(above / (counts[row, 0] + 8.0), OUTSIDE)
                numbers[row, BAND] = 2.0 ** ((begin + excess * math.log(share / OUTSIDE)) / PER_OCTAVE + LOWEST)
            expect(numbers, row, value, value - residual, numbers[row, BAND] * scale, figures, index)
        else:
            expect(numbers, row, value, value - residual, OUTLIER * scale, figures, index)
        remember_surprise(counts, row, 0, bin_departure)
        remember_surprise(counts, row, BINS, bin_level)
        remember_surprise(counts, row, QUICK * BINS, bin_quick)
        remember_surprise(counts, row, STEADY * BINS, bin_steady)
    numbers[row, LIMIT] = limit

    # What is learned from it.
    off = abs(x - middle)
    outlier = OUTLIER * plain_scale if seen > 2 * SETTLING else np.inf
    weight = max(young, 1.0 / FORGET_USUAL)
    if daily:
        numbers[row, ERROR] += weight * (min(off, outlier) - numbers[row, ERROR])
        wide = min(abs(x - profile[row, day]), outlier)
        numbers[row, ERROR + 1] += weight * (wide - numbers[row, ERROR + 1])
    if weekly:
        if numbers[row, ERROR + 2] == 0.0:
            numbers[row, ERROR + 2] = numbers[row, ERROR + 1]
        wide = min(abs(x - profile[row, week]), outlier)
        numbers[row, ERROR + 2] += weight * (wide - numbers[row, ERROR + 2])
    weight = max(young, 1.0 / FORGET_SCALE)
    numbers[row, SCALE] += weight * (min(off, outlier) - numbers[row, SCALE])
    wide = min(abs(x - profile[row, day]), outlier) if visits[row, day] > 0 else numbers[row, SCALE]
    numbers[row, SCALE + 1] += weight * (wide - numbers[row, SCALE + 1])
    wide = min(abs(x - profile[row, week]), outlier) if visits[row, week] > 0 else numbers[row, SCALE]
    numbers[row, SCALE + 2] += weight * (wide - numbers[row, SCALE + 2])
    if seen < 30:
        numbers[row, MIDDLE] = middle + (x - middle) * young
    else:
        numbers[row, MIDDLE] = middle + STEP * capped(x - middle, plain_scale)
    most = 5.0 * plain_scale
    remember(profile, visits, row, day, min(max(silence, 1) * (1.0 / QUARTER_US), 1.0), x, most)
    remember(profile, visits, row, week, min(max(silence, 1) * (0.25 / QUARTER_US), 1.0), x, most)


@kernel()
def tick(
    numbers: Float64,
    profile: Float64,
    visits: UInt16,
    counts: UInt16,
    clock: Int64,
    series: Int64,
    at: Int64,
    values: Float64,
    figures: Float64,
    members: Float32,
) -> None:
    """`advance` over arrivals in their order. The state as in the module's head with a leading axis for the series;
    `series`, `at` and `values` of shape (n,); `figures` (n, 5) and `members` (n, MEMBERS) full of NaN."""
    features = np.empty(FEATURES)
    for index in range(len(series)):
        ahead = min(index + AHEAD, len(series) - 1)
        fetch(numbers, profile, visits, counts, clock, series[ahead], at[ahead])
        advance(
            numbers,
            profile,
            visits,
            counts,
            clock,
            features,
            series[index],
            at[index],
            values[index],
            figures,
            members,
            index,
        )
