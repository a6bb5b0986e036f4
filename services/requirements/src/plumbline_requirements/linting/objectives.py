"""What a text says in figures against what the SLOs beside it demand."""

import re
from collections.abc import Iterator, Sequence

from plumbline_common.schemas import SignalQuery, Slo, seconds
from plumbline_requirements.linting.sentences import Span

_NUMBER = r"(\d+(?:\.\d+)?)"
_PERCENTILE = re.compile(rf"\bp{_NUMBER}\b|\b{_NUMBER}(?:st|nd|rd|th)[\s-]+percentile\b", re.IGNORECASE)
_PERCENT = re.compile(rf"(?<![\d.]){_NUMBER}\s*(?:%|percent\b|per\s+cent\b)", re.IGNORECASE)
_NINES = re.compile(r"\b(two|three|four|five|six)\s+nines\b", re.IGNORECASE)
_LIMIT = re.compile(
    r"(?:\b(?:within|under|below|at\s+most|(?:less|no\s+more|no\s+longer|longer|faster|slower)\s+than|at\s+or\s+below|up\s+to|exceeds?"
    rf"|beyond|above|over)|[<≤>]=?)\s*{_NUMBER}\s*(µs|us|ms|milliseconds?|s|secs?|seconds?)\b",
    re.IGNORECASE,
)
_WINDOW = re.compile(
    r"\b(?:over|during|in|within|across|for|per)\s+(?:any\s+|a\s+|the\s+|each\s+|every\s+|last\s+|rolling\s+)*"
    rf"{_NUMBER}[\s-]*(?:rolling\s+|consecutive\s+)?(m|min|minutes?|h|hours?|d|days?|w|weeks?)\b",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"[0-9]")
_WORDS = {"two": 0.99, "three": 0.999, "four": 0.9999, "five": 0.99999, "six": 0.999999}


def contradictions(text: str, slos: Sequence[Slo]) -> Iterator[tuple[Span, str]]:
    """Each figure of `text` that no SLO has, though they have others of its kind, and what they have."""
    # Most texts have no figure, or none of a kind: what the SLOs have is asked only where there is one.
    if "nines" in text or "%" in text or "cent" in text:
        yield from _ratios(text, slos)
    if _DIGIT.search(text):
        yield from _percentiles(text, slos)
        yield from _limits(text, slos)
        yield from _windows(text, slos)


def _ratios(text: str, slos: Sequence[Slo]) -> Iterator[tuple[Span, str]]:
    found = [(Span(*each.span()), float(each[1]) / 100) for each in _PERCENT.finditer(text)]
    found += [(Span(*each.span()), _WORDS[each[1].lower()]) for each in _NINES.finditer(text)]
    if not found:
        return
    objectives = [objective for slo in slos for objective in slo.objectives]
    targets = {objective.fraction for objective in objectives}
    slices = {objective.time_slice_target for objective in objectives if objective.time_slice_target is not None}
    # A threshold of a ratio, such as a utilization, is said in percent too.
    values = {objective.value for objective in objectives if objective.value is not None}
    allowed = targets | slices | values | {value / 100 for value in values}
    shown = " and ".join(f"{100 * target:.10g} %" for target in sorted(targets))
    for span, said in found:
        # 0.1 % of failures is 99.9 % of successes.
        if not any(_same(said, target) or _same(1 - said, target) for target in allowed):
            yield span, f"the SLO's target is {shown}"


def _percentiles(text: str, slos: Sequence[Slo]) -> Iterator[tuple[Span, str]]:
    for each in _PERCENTILE.finditer(text):
        used = {query.aggregation for query in _queries(slos)}
        used = {name for name in used if re.fullmatch(r"p\d+", name)}
        if used and f"p{each[1] or each[2]}" not in used:
            yield Span(*each.span()), f"the SLO reads {' and '.join(sorted(used))}"


def _limits(text: str, slos: Sequence[Slo]) -> Iterator[tuple[Span, str]]:
    for each in _LIMIT.finditer(text):
        unit = each[2].lower()
        seconds = float(each[1]) * (1e-6 if unit in ("µs", "us") else 1e-3 if unit.startswith("m") else 1)
        known = _limits_of(slos)
        if known and not any(_same(seconds, limit) for limit in known):
            shown = " and ".join(f"{limit:.10g} s" for limit in sorted(known))
            yield Span(each.start(1), each.end()), f"the SLO's limit is {shown}"


def _limits_of(slos: Sequence[Slo]) -> set[float]:
    limits = {query.le for query in _queries(slos) if _in_seconds(query)}
    for slo in slos:
        for objective in slo.objectives:
            indicator = slo.indicator_of(objective)
            threshold = indicator and indicator.threshold_metric and indicator.threshold_metric.query
            if threshold and _in_seconds(threshold):
                limits.add(objective.value)
    return {each for each in limits if each is not None}


def _windows(text: str, slos: Sequence[Slo]) -> Iterator[tuple[Span, str]]:
    for each in _WINDOW.finditer(text):
        windows = {slo.time_window[0].duration for slo in slos}
        known = {seconds(window) for window in windows}
        if float(each[1]) * seconds(f"1{each[2][0].lower()}") not in known:
            yield Span(each.start(1), each.end()), f"the SLO's window is {' and '.join(sorted(windows))}"


def _queries(slos: Sequence[Slo]) -> Iterator[SignalQuery]:
    for slo in slos:
        for indicator in slo.indicators:
            for metric in indicator.metrics.values():
                if metric.query is not None:
                    yield metric.query


def _in_seconds(query: SignalQuery) -> bool:
    """By OpenTelemetry's convention durations are in seconds and named so."""
    return query.metric.endswith("duration")


def _same(one: float, other: float) -> bool:
    return abs(one - other) < 1e-9
