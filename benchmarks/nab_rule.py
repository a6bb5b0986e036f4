"""NAB's rule of scoring (Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly
Benchmark", 2015; NAB 1.1), for a whole corpus at every threshold at once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Profile:
    """What a missed window and a false alarm cost; a window that is found brings 1."""

    missed: float
    false_alarm: float


STANDARD = Profile(1.0, 0.11)
PROFILES = {
    "standard": STANDARD,
    "reward_low_FP_rate": Profile(1.0, 0.22),
    "reward_low_FN_rate": Profile(2.0, 0.11),
}


@dataclass(frozen=True)
class Series:
    """One file. `at` in microseconds since the epoch and `values`, shape (n,); `windows` as first and last point,
    both inclusive, ascending. `stamps` are the times as they are written in the file."""

    name: str
    at: Int64
    values: Float64
    windows: tuple[tuple[int, int], ...]
    stamps: tuple[str, ...]

    @property
    def domain(self) -> str:
        return self.name.partition("/")[0]


def probation(points: int) -> int:
    """So many points at the start of a file are not scored: 15 % of it, of 5,000 points at most."""
    return int(0.15 * min(points, 5000))


def placed(position: npt.NDArray[np.floating[Any]]) -> Float64:
    """What a detection is worth by its place relative to the end of a window, in widths of the window: from about
    1 at its first point (-1) by 0 at its end to -1 long after it."""
    with np.errstate(over="ignore"):
        return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * position)) - 1.0)


def worth(points: int, windows: Sequence[tuple[int, int]]) -> tuple[Float64, Int64]:
    """Of each point of a file, shape (n,): what a detection there is worth, and in which window it is (-1: in none).

    In a window as `placed`, divided by the worth of its first point; outside one between -1 and 0, a false alarm
    just after a window being the cheaper.
    """
    value = np.full(points, -1.0)
    inside = np.full(points, -1, np.int64)
    first = float(placed(np.array([-1.0]))[0])
    for number, (left, right) in enumerate(windows):
        index = np.arange(left, right + 1)
        value[index] = placed(-(right - index + 1.0) / (right - left + 1.0)) / first
        inside[index] = number
        after = np.arange(right + 1, windows[number + 1][0] if number + 1 < len(windows) else points)
        value[after] = placed((after - right) / max(right - left, 1))
    return value, inside


@dataclass(frozen=True)
class Steps:
    """How a corpus' score grows as the threshold falls to each of `thresholds` (descending): the sum of false alarms
    (of cost 1), of the windows that are found, and their number. Shape (k,)."""

    thresholds: Float64
    alarms: Float64
    found: Float64
    hits: Int64
    windows: int

    def scores(self, profile: Profile) -> Float64:
        """By threshold: 0 is what a detector that says nothing gets, 100 what a perfect one gets."""
        raw = profile.false_alarm * self.alarms + self.found - profile.missed * (self.windows - self.hits)
        return 100.0 * (raw + profile.missed * self.windows) / ((1.0 + profile.missed) * max(self.windows, 1))

    def best(self, profile: Profile) -> tuple[float, float]:
        """The best score of any threshold, and that threshold."""
        scores = self.scores(profile)
        if not len(scores) or scores.max() < 0.0:
            return 0.0, np.inf
        index = int(np.argmax(scores))
        return float(scores[index]), float(self.thresholds[index])

    def at(self, profile: Profile, threshold: float) -> float:
        """The score where every point of at least `threshold` is a detection."""
        count = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        return float(self.scores(profile)[count - 1]) if count else 0.0


def swept(corpus: Sequence[Series], scores: Sequence[Float64]) -> Steps:
    """The corpus at every threshold. NaN is no detection. O(n log n)."""
    score, value, window = [], [], []
    offset = 0
    for series, given in zip(corpus, scores, strict=True):
        begin = probation(len(series.values))
        worths, inside = worth(len(series.values), series.windows)
        score.append(given[begin:])
        value.append(worths[begin:])
        window.append(np.where(inside >= 0, inside + offset, -1)[begin:])
        offset += len(series.windows)
    return _steps(np.concatenate(score), np.concatenate(value), np.concatenate(window), offset)


def _steps(score: Float64, value: Float64, window: Int64, windows: int) -> Steps:
    known = ~np.isnan(score)
    order = np.flatnonzero(known)[np.argsort(-score[known], kind="stable")]
    score, value, window = score[order], value[order], window[order]
    # A window's worth is that of its best detection so far: add what each detection is better by.
    gain = np.zeros(len(score))
    hit = np.zeros(len(score), np.int64)
    best = np.full(windows, -np.inf)
    for place in np.flatnonzero(window >= 0):
        number = window[place]
        if value[place] > best[number]:
            hit[place] = best[number] == -np.inf
            gain[place] = value[place] - (0.0 if hit[place] else best[number])
            best[number] = value[place]
    alarms = np.cumsum(np.where(window < 0, value, 0.0))
    last = np.append(score[1:] != score[:-1], True) if len(score) else np.empty(0, bool)
    return Steps(score[last], alarms[last], np.cumsum(gain)[last], np.cumsum(hit)[last], windows)


def left_out(corpus: Sequence[Series], scores: Sequence[Float64], profile: Profile) -> tuple[float, dict[str, float]]:
    """Every domain at the threshold that is best for all others; and the whole corpus scored so."""
    parts = {}
    raw, windows = 0.0, 0
    domains = {series.domain for series in corpus}
    for domain in sorted(domains):
        threshold = swept(*only(corpus, scores, domains - {domain})).best(profile)[1]
        steps = swept(*only(corpus, scores, {domain}))
        count = steps.windows
        parts[domain] = steps.at(profile, threshold)
        raw += parts[domain] * max(count, 1)
        windows += count
    return raw / windows, parts


def only(
    corpus: Sequence[Series], scores: Sequence[Float64], domains: Collection[str]
) -> tuple[list[Series], list[Float64]]:
    """The files of these domains, and their scores."""
    pairs = [(series, score) for series, score in zip(corpus, scores, strict=True) if series.domain in domains]
    return [series for series, _ in pairs], [score for _, score in pairs]
