"""How an anomaly is named, how grave it is, and what may become of it. Pure.

The title is what people read in a list and what search embeds: it says in words what happened to what.
"""

import re
from collections.abc import Mapping
from typing import Literal

from plumbline_common.errors import Conflict
from plumbline_common.schemas import AnomalyState, Label, Severity

WARNING_SCORE = 1.5
CRITICAL_SCORE = 3.0
NEWS = 1.2
"""An anomaly is reported again once its peak is this many times the one reported last."""

_WORDS = (
    (("error_ratio",), "Share of bad events"),
    (("duration", "latency", "response_time"), "Latency"),
    (("memory", "rss", "heap"), "Memory use"),
    (("cpu",), "CPU use"),
    (("lag",), "Lag"),
    (("age",), "Age"),
    (("queue", "backlog", "pending"), "Backlog"),
    (("connections", "pool"), "Connections"),
    (("filesystem", "disk"), "Disk use"),
    (("error", "failure", "exception"), "Errors"),
    (("request",), "Requests"),
)
_TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


LEGAL: Mapping[AnomalyState, tuple[AnomalyState, ...]] = {
    AnomalyState.OPEN: (AnomalyState.ACKNOWLEDGED, AnomalyState.RESOLVED, AnomalyState.FALSE_POSITIVE),
    AnomalyState.ACKNOWLEDGED: (AnomalyState.RESOLVED, AnomalyState.FALSE_POSITIVE),
    AnomalyState.RESOLVED: (AnomalyState.FALSE_POSITIVE,),
    AnomalyState.FALSE_POSITIVE: (),
}


class IllegalTransition(Conflict):
    slug = "illegal-transition"
    title = "The anomaly cannot go to that state from where it is"


def check_transition(now: AnomalyState, to: AnomalyState) -> None:
    """Raise unless an anomaly may go from `now` to `to`."""
    if to not in LEGAL[now]:
        legal = [state.value for state in LEGAL[now]]
        raise IllegalTransition(
            f"from {now.value} it can go to {' or '.join(legal) or 'no other state'}", legal=legal
        )


def labelled(now: AnomalyState, label: Label, *, ended: bool) -> AnomalyState:
    """The state after the latest label. One that takes an earlier label back leads to where it would be without."""
    if label is Label.FALSE_POSITIVE:
        return AnomalyState.FALSE_POSITIVE
    if now is not AnomalyState.FALSE_POSITIVE:
        return now
    return AnomalyState.RESOLVED if ended else AnomalyState.ACKNOWLEDGED


def severity(score: float) -> Severity:
    if score >= CRITICAL_SCORE:
        return Severity.CRITICAL
    return Severity.WARNING if score >= WARNING_SCORE else Severity.INFO


def title(
    metric: str,
    aggregation: str,
    unit: str,
    service: str | None,
    direction: Literal["up", "down"],
    value: float,
    expected: float,
    lower: float,
    upper: float,
) -> str:
    """Such as: Latency (p95 of http.server.request.duration) of shop rose to 612 ms; expected 21 ms (12-48 ms)."""
    of_service = f" of {service}" if service else ""
    verb = "rose" if direction == "up" else "fell"
    unit = unit_of(aggregation, unit)
    band = f"{quantity(lower, unit)}–{quantity(upper, unit)}"
    subject = f"{_subject(metric, aggregation)} ({measured(metric, aggregation)}){of_service}"
    return f"{subject} {verb} to {quantity(value, unit)}; expected {quantity(expected, unit)} ({band})"


def measured(metric: str, aggregation: str) -> str:
    """Such as: p95 of http.server.request.duration."""
    return f"{aggregation.replace('_', ' ')} of {metric}"


def unit_of(aggregation: str, unit: str) -> str:
    """The unit of an aggregated series."""
    return f"{unit}/s" if aggregation == "rate" else unit


def _subject(metric: str, aggregation: str) -> str:
    names = set(re.split(r"[._]", metric.lower())) | {metric.lower()}
    for keys, words in _WORDS:
        if aggregation in keys or any(key in names for key in keys):
            return words
    return re.sub(r"[._]+", " ", metric).strip().capitalize() or "Value"


def quantity(value: float, unit: str) -> str:
    """A number with its UCUM unit, in a size that people read: 0.612 s is 612 ms."""
    if unit in _TIME:
        seconds = value * _TIME[unit]
        for name, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
            if abs(seconds) >= size or name == "µs":
                return f"{_number(seconds / size)} {name}" if seconds else "0 s"
    if unit in ("By", "By/s"):
        amount, suffix = value, unit.removeprefix("By")
        for name in ("B", "KiB", "MiB", "GiB", "TiB"):
            if abs(amount) < 1024 or name == "TiB":
                return f"{_number(amount)} {name}{suffix}"
            amount /= 1024
    if unit == "1":
        return f"{_number(value * 100)} %"
    plain = re.sub(r"\{([^}]*)\}", r"\1", unit)
    return f"{_number(value)} {plain}".rstrip()


def _number(value: float) -> str:
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
