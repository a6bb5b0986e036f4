"""What is unusual about the templates of one stream of logs, interval by interval: new, vanished, rate, mix. Pure.

A `Tally` counts the lines of one interval; `Watch.step` judges it by the intervals before it, then learns from it.
Each template has a baseline: sums of its counts per interval and of their squares, in which an interval weighs half
after `half_life` intervals. A count is learned as at most four deviations from what was expected, so that an outlier
moves its baseline little, while a change that stays becomes the rule in time.

    new       a template that no interval had, after `learning` intervals
    rate      score = log10 P(as far from the mean as this) / -6, by a negative binomial distribution; and the count
              must be `least_ratio` times what was expected, or the other way round, and differ by `least_change`
    vanished  score = g log10 P(0) / -6 after g intervals without it, at least three times its longest silence
    mix       score = (JSD - median) / max(6 * 1.4826 * MAD, `least_divergence`), where JSD is the Jensen-Shannon
              divergence of the interval's shares from the baseline's, median and MAD those of its last values;
              at most 0.5 where two of these were 0.8 times as large or larger

A score of 1 or more is anomalous. A change is told once, and again only after it had ended. The state is bounded: a
baseline for each of the `templates` that came last, and the last `memory` divergences.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from plumbline_analysis.logs.mining import Miner
from plumbline_analysis.logs.state import packed, unpacked
from plumbline_analysis.logs.surprise import band, divergence, log10_silence, log10_tail, predictive

VERSION = 1
MAX_SCORE = 100.0

_LEAST_LOG10 = -6.0
_DEVIATIONS = 4.0
_CALM = 0.5
_SILENCES = 3
_ALIKE, _USUAL = 0.8, 2
_SHOWN = 120

Kind = Literal["new", "vanished", "rate", "mix"]


@dataclass(frozen=True)
class Config:
    """Counted in intervals and lines. `most` findings an interval are told, the highest scores first."""

    learning: int = 30
    half_life: float = 240.0
    templates: int = 4096
    memory: int = 240
    least_ratio: float = 2.0
    least_change: float = 5.0
    least_lines: int = 20
    """A template can vanish after so many lines."""
    least_mix: int = 30
    """Of fewer lines an interval has no mix."""
    least_divergence: float = 0.05
    examples: int = 3
    most: int = 20


@dataclass(frozen=True)
class Share:
    """One template's part of a change of the mix: the shares of the lines that were expected and that came."""

    template_id: int
    template: str
    expected: float
    came: float


@dataclass(frozen=True)
class Finding:
    """One anomaly. `interval` counts from 0; `expected`, `lower`, `upper` and `came` are lines an interval, for a mix
    bits of divergence, for a vanished template intervals of silence."""

    kind: Kind
    interval: int
    template_id: int | None
    template: str | None
    score: float
    expected: float
    lower: float
    upper: float
    came: float
    sentence: str
    examples: tuple[str, ...]
    shares: tuple[Share, ...] = ()


@dataclass
class Tally:
    """The lines of one interval by their templates, with the first `examples` lines of each."""

    examples: int = 3
    example_characters: int = 500
    counts: dict[int, int] = field(default_factory=dict)
    lines: dict[int, list[str]] = field(default_factory=dict)

    def add(self, ids: Sequence[int], lines: Sequence[str | bytes]) -> None:
        """Count lines by the ids that the miner gave them."""
        for id, line in zip(ids, lines, strict=True):
            self.counts[id] = self.counts.get(id, 0) + 1
            kept = self.lines.setdefault(id, [])
            if len(kept) < self.examples:
                cut = line[: 4 * self.example_characters]
                shown = cut.decode("utf-8", "replace") if isinstance(cut, bytes) else cut
                kept.append(shown[: self.example_characters])

    def current(self, current: Callable[[int], int]) -> "Tally":
        """The same with the ids that templates have now."""
        renamed = Tally(self.examples, self.example_characters)
        for id, count in self.counts.items():
            now = current(id)
            renamed.counts[now] = renamed.counts.get(now, 0) + count
            renamed.lines[now] = (renamed.lines.get(now, []) + self.lines[id])[: self.examples]
        return renamed


@dataclass(slots=True)
class _Baseline:
    """`total` and `squares` are weighted sums over `exposure` weighted intervals; `lines` is not weighted."""

    total: float = 0.0
    squares: float = 0.0
    exposure: float = 0.0
    lines: int = 0
    silence: int = 0
    longest_silence: int = 0
    unusual: bool = False
    vanished: bool = False

    def learn(self, count: float, weight: float) -> None:
        self.total = self.total * weight + count
        self.squares = self.squares * weight + count * count
        self.exposure = self.exposure * weight + 1.0

    def join(self, other: "_Baseline") -> None:
        """Take in the baseline of a template that is one with this one now."""
        self.squares += other.squares + 2 * self.total * other.total / max(self.exposure, other.exposure, 1.0)
        self.total += other.total
        self.exposure = max(self.exposure, other.exposure)
        self.lines += other.lines
        self.silence = min(self.silence, other.silence)
        self.longest_silence = min(self.longest_silence, other.longest_silence)
        self.unusual = self.unusual or other.unusual
        self.vanished = self.vanished and other.vanished


class Watch:
    """Judges the intervals of one stream of logs."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.interval = 0
        self._weight = 0.5 ** (1.0 / self.config.half_life)
        self._baselines: dict[int, _Baseline] = {}
        self._divergences: deque[float] = deque(maxlen=self.config.memory)
        self._mixed = False
        self.lasting: list[Finding] = []
        """What the last interval brought of rates and mixes that were told before, so that their peak can be told."""

    def __len__(self) -> int:
        """How many templates have a baseline."""
        return len(self._baselines)

    def step(self, tally: Tally, miner: Miner) -> list[Finding]:
        """Judge the next interval, the highest score first, then learn from it. O(templates).

        An interval without lines is one too: tally it. Where nothing was logged because nothing could be received,
        leave the interval out.
        """
        self._join(miner)
        self.lasting = []
        tally = tally.current(miner.current)
        learned = self.interval >= self.config.learning
        findings: list[Finding] = []
        mix = self._mix(tally, miner)
        if mix is not None and learned:
            findings.append(mix)
        for id, count in tally.counts.items():
            if id not in self._baselines:
                self._baselines[id] = _Baseline()
                if learned:
                    findings.append(self._new(id, count, tally, miner))
        for id, baseline in self._baselines.items():
            count = tally.counts.get(id, 0)
            finding = self._came(id, count, baseline, tally, miner) if count else self._silent(id, baseline, miner)
            if finding is not None and learned:
                findings.append(finding)
        self._forget(tally.counts)
        self.interval += 1
        findings.sort(key=lambda each: (-each.score, each.kind, each.template_id or 0))
        return findings[: self.config.most]

    def goes_on(self, kind: Kind, id: int | None) -> bool:
        """Whether a change that was told lasts after the last interval. A new template is new while it keeps coming,
        for about as many intervals as are learned from."""
        if kind == "mix":
            return self._mixed
        baseline = self._baselines.get(id or 0)
        if baseline is None:
            return False
        if kind == "new":
            return not baseline.silence and baseline.exposure < self.config.learning
        return baseline.unusual if kind == "rate" else baseline.vanished

    # --- One template -------------------------------------------------------------------------------------

    def _new(self, id: int, count: int, tally: Tally, miner: Miner) -> Finding:
        text = _text(miner, id)
        sentence = (
            f"“{_short(text)}” came {_times(count)}; no line like it came in the {self.interval} intervals before"
        )
        return Finding(
            "new", self.interval, id, text, 1.0 + math.log10(count), 0.0, 0.0, 0.0, count, sentence,
            tuple(tally.lines[id]),
        )  # fmt: skip

    def _came(self, id: int, count: int, baseline: _Baseline, tally: Tally, miner: Miner) -> Finding | None:
        """Judge a count that is not 0, and learn it."""
        baseline.lines += count
        baseline.longest_silence = max(baseline.longest_silence, baseline.silence)
        baseline.silence, baseline.vanished = 0, False
        if not baseline.exposure:
            baseline.learn(count, self._weight)
            return None
        mean, size = predictive(baseline.total, baseline.squares, baseline.exposure)
        score = min(log10_tail(count, mean, size) / _LEAST_LOG10, MAX_SCORE)
        ratio = max(count / mean, mean / count)
        if ratio < self.config.least_ratio or abs(count - mean) < self.config.least_change:
            score = min(score, _CALM)
        deviation = math.sqrt(mean + mean * mean / size)
        learned = min(max(count, mean - _DEVIATIONS * deviation), mean + _DEVIATIONS * deviation)
        baseline.learn(learned, self._weight)
        begins = score >= 1 and not baseline.unusual
        baseline.unusual = score >= 1 or (baseline.unusual and score > _CALM)
        if score < 1:
            return None
        lower, upper = band(mean, size, _LEAST_LOG10)
        text = _text(miner, id)
        sentence = (
            f"“{_short(text)}” came {_times(count)} in an interval; {mean:.3g} were expected, {lower} to {upper}"
        )
        return self._told_once(
            Finding(
                "rate", self.interval, id, text, score, mean, lower, upper, count, sentence, tuple(tally.lines[id])
            ),
            begins,
        )

    def _told_once(self, finding: Finding, begins: bool) -> Finding | None:
        if begins:
            return finding
        self.lasting.append(finding)
        return None

    def _silent(self, id: int, baseline: _Baseline, miner: Miner) -> Finding | None:
        """Judge an interval without the template, and learn it."""
        baseline.silence += 1
        mean, size = predictive(baseline.total, baseline.squares, baseline.exposure)
        if baseline.vanished:
            baseline.learn(0.0, self._weight)
            return None
        longest = max(_SILENCES * baseline.longest_silence, 1)
        score = min(baseline.silence * log10_silence(mean, size) / _LEAST_LOG10, MAX_SCORE)
        if score <= _CALM:
            baseline.unusual = False
        if score < 1:
            # A silence longer than any before is not learned: by the baseline as it was the score grows.
            if baseline.silence <= max(baseline.longest_silence, 1):
                baseline.learn(0.0, self._weight)
            return None
        if baseline.silence < longest or baseline.lines < self.config.least_lines:
            return None
        baseline.vanished, baseline.unusual = True, False
        template = miner.template(id)
        text = _text(miner, id)
        sentence = (
            f"“{_short(text)}” did not come for {_intervals(baseline.silence)}; {mean:.3g} an interval were expected,"
            f" and its longest silence was {_intervals(baseline.longest_silence)}"
        )
        return Finding(
            "vanished", self.interval, id, text, score, baseline.longest_silence, 0.0, longest, baseline.silence,
            sentence, template.examples if template else (),
        )  # fmt: skip

    # --- The mix ------------------------------------------------------------------------------------------

    def _mix(self, tally: Tally, miner: Miner) -> Finding | None:
        """Judge the shares of the templates, and learn their divergence."""
        total = sum(tally.counts.values())
        means = {id: each.total / each.exposure for id, each in self._baselines.items() if each.total > 0}
        if total < self.config.least_mix or not means:
            return None
        came, parts = divergence(tally.counts, means)
        score = middle = width = 0.0
        if len(self._divergences) >= self.config.learning:
            middle = median(self._divergences)
            spread = 1.4826 * median(abs(each - middle) for each in self._divergences)
            width = max(6 * spread, self.config.least_divergence)
            score = min(max((came - middle) / width, 0.0), MAX_SCORE)
            if sum(each >= _ALIKE * came for each in self._divergences) >= _USUAL:
                score = min(score, _CALM)  # what comes every hour is far from the median, and still usual
        self._divergences.append(came)
        begins = score >= 1 and not self._mixed
        self._mixed = score >= 1 or (self._mixed and score > _CALM)
        if score < 1:
            return None
        largest = sorted(parts, key=lambda each: (-parts[each], each))[: self.config.examples]
        all_means = sum(means.values())
        shares = tuple(
            Share(id, _text(miner, id), means.get(id, 0.0) / all_means, tally.counts.get(id, 0) / total)
            for id in largest
        )
        first = shares[0]
        sentence = (
            f"the mix of the templates changed by {came:.2f} bits, {middle:.2f} are usual; most by"
            f" “{_short(first.template)}”, {first.came:.0%} of the lines instead of {first.expected:.0%}"
        )
        examples = tuple(line for id in largest for line in tally.lines.get(id, [])[:1])
        return self._told_once(
            Finding(
                "mix", self.interval, None, None, score, middle, 0.0, middle + width, came, sentence, examples, shares
            ),
            begins,
        )

    # --- State --------------------------------------------------------------------------------------------

    def _join(self, miner: Miner) -> None:
        """Join the baselines of templates that are one by now."""
        for id in [id for id in self._baselines if miner.current(id) != id]:
            baseline = self._baselines.pop(id)
            now = miner.current(id)
            if now in self._baselines:
                self._baselines[now].join(baseline)
            else:
                self._baselines[now] = baseline

    def _forget(self, came: Mapping[int, int]) -> None:
        """Keep the baselines of the templates that came last."""
        if len(self._baselines) > self.config.templates:
            newest = sorted(self._baselines, key=lambda each: (self._baselines[each].silence, -each))
            for id in newest[self.config.templates :]:
                del self._baselines[id]

    def to_bytes(self) -> bytes:
        """The whole state."""
        state = {
            "config": asdict(self.config),
            "interval": self.interval,
            "divergences": list(self._divergences),
            "mixed": self._mixed,
            "baselines": [
                [id, *(getattr(each, name) for name in _Baseline.__slots__)] for id, each in self._baselines.items()
            ],
        }
        return packed(VERSION, state)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Watch":
        """Raises `ValueError` for another version or a broken state: the stream then has to be learned anew."""
        return unpacked(data, VERSION, "a log watch", cls._loaded)

    @classmethod
    def _loaded(cls, state: dict[str, Any]) -> "Watch":
        watch = cls(Config(**state["config"]))
        watch.interval, watch._mixed = state["interval"], state["mixed"]
        watch._divergences.extend(state["divergences"])
        watch._baselines = {id: _Baseline(*rest) for id, *rest in state["baselines"]}
        return watch


def _text(miner: Miner, id: int) -> str:
    template = miner.template(id)
    return template.text if template else "(a forgotten template)"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _intervals(count: int) -> str:
    return "one interval" if count == 1 else f"{count} intervals"
