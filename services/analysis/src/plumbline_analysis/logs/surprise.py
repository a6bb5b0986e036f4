"""How surprising a count or a mix is. Pure functions of numbers; natural logarithms unless said.

Counts follow a negative binomial distribution with mean m and size r, variance m + m^2 / r; with q = m / (m + r):

    p(k) = Gamma(k + r) / (k! Gamma(r)) * (1 - q)^r * q^k          (Johnson, Kemp, Kotz: Univariate Discrete
    p(k + 1) / p(k) = q * (k + r) / (k + 1)                         Distributions, chapter 5)

Its tails are bounded by geometric series of that ratio, which never calls more surprising what is less.
"""

import math
from collections.abc import Mapping

LARGEST = 1e15
"""Means and counts beyond it are taken as it."""


def predictive(total: float, squares: float, exposure: float) -> tuple[float, float]:
    """Mean and size of the next count, by the weighted sum of `exposure` earlier ones and that of their squares.

    The mean is Jeffreys' (total + 1/2) / exposure. The size joins two kinds of doubt: 1 / (total + 1/2) for what the
    mean is (the Gamma-Poisson predictive distribution), and (variance - mean) / mean^2 for how much the counts vary
    more than Poisson's (the moment estimate of a negative binomial's dispersion).
    """
    mean = min((total + 0.5) / max(exposure, 1.0), LARGEST)
    variance = max(squares / max(exposure, 1.0) - mean * mean, 0.0)
    dispersion = max(variance - mean, 0.0) / (mean * mean)
    return mean, 1.0 / (1.0 / (total + 0.5) + dispersion)


def log10_tail(count: float, mean: float, size: float) -> float:
    """An upper bound of log10 P(X >= count) above the mean, of log10 P(X <= count) below it, 0 at most."""
    count = min(count, LARGEST)
    q = mean / (mean + size)
    if count > mean:
        # The ratio falls towards q where the size is over 1, and rises towards it where it is below.
        ratio = max(q * (count + size) / (count + 1), q)
    elif size > 1:
        ratio = count / (q * (count - 1 + size)) if count else 0.0
    else:
        return 0.0  # such a distribution is highest at 0: few are never unusual
    if ratio >= 1:
        return 0.0
    log_p = math.lgamma(count + size) - math.lgamma(count + 1) - math.lgamma(size)
    log_p += size * math.log(size / (mean + size)) + count * math.log(q)
    return min((log_p - math.log1p(-ratio)) / math.log(10), 0.0)


def band(mean: float, size: float, log10_least: float) -> tuple[int, int]:
    """The least and the largest count that are not as unusual as `log10_least`, a negative number. O(log count)."""
    middle = math.floor(mean)
    step = 1
    while log10_tail(middle + step, mean, size) > log10_least and step < LARGEST:
        step *= 2
    inside, outside = middle + step // 2, middle + step
    while outside - inside > 1:
        half = (inside + outside) // 2
        inside, outside = (half, outside) if log10_tail(half, mean, size) > log10_least else (inside, half)
    upper = inside
    if log10_tail(0, mean, size) > log10_least:
        return 0, upper
    outside, inside = 0, middle
    while inside - outside > 1:
        half = (inside + outside) // 2
        inside, outside = (half, outside) if log10_tail(half, mean, size) > log10_least else (inside, half)
    return inside, upper


def log10_silence(mean: float, size: float) -> float:
    """log10 P(X = 0)."""
    return -size * math.log1p(mean / size) / math.log(10)


def divergence(came: Mapping[int, float], expected: Mapping[int, float]) -> tuple[float, dict[int, float]]:
    """The Jensen-Shannon divergence of two sets of amounts, in bits from 0 to 1, and what each key adds to it.

    With p and q their shares and m = (p + q) / 2: the sum of p log2(p / m) / 2 + q log2(q / m) / 2 (Lin 1991). Both
    must have a positive sum.
    """
    total, expected_total = sum(came.values()), sum(expected.values())
    parts = {}
    for key in came.keys() | expected.keys():
        p, q = came.get(key, 0.0) / total, expected.get(key, 0.0) / expected_total
        middle = (p + q) / 2
        part = (p * math.log2(p / middle) if p else 0.0) + (q * math.log2(q / middle) if q else 0.0)
        parts[key] = part / 2
    # Summed in one order, whatever order the keys came in.
    return math.fsum(parts.values()), parts
