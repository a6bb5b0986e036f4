"""The suite's metrics, each declared once with what its attributes say: docs/metrics.md is made of these."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from opentelemetry import metrics
from opentelemetry.metrics import CallbackT, Counter, Histogram, UpDownCounter
from opentelemetry.metrics import _Gauge as Gauge  # the API has no public name for it

Attributes = Mapping[str, str | Iterable[str]]
"""By name: its values, or as text what they are, and so how many."""
Kind = Literal["counter", "up-down counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Instrument:
    name: str
    """OpenTelemetry's where its semantic conventions have one, else `plumbline.…`."""
    kind: Kind
    unit: str
    """In UCUM."""
    what: str
    attributes: Attributes


declared: dict[str, Instrument] = {}
"""By name, of the modules that are imported."""
_meter = metrics.get_meter("plumbline")


def counter(name: str, unit: str, what: str, attributes: Attributes | None = None) -> Counter:
    _declare(name, "counter", unit, what, attributes)
    return _meter.create_counter(name, unit, what)


def up_down_counter(name: str, unit: str, what: str, attributes: Attributes | None = None) -> UpDownCounter:
    _declare(name, "up-down counter", unit, what, attributes)
    return _meter.create_up_down_counter(name, unit, what)


def gauge(name: str, unit: str, what: str, attributes: Attributes | None = None) -> Gauge:
    _declare(name, "gauge", unit, what, attributes)
    return _meter.create_gauge(name, unit, what)


def histogram(name: str, unit: str, what: str, attributes: Attributes | None = None) -> Histogram:
    _declare(name, "histogram", unit, what, attributes)
    return _meter.create_histogram(name, unit, what)


def observable_up_down_counter(
    name: str, unit: str, what: str, callback: CallbackT, attributes: Attributes | None = None
) -> None:
    """What `callback` sees at each export."""
    _declare(name, "up-down counter", unit, what, attributes)
    _meter.create_observable_up_down_counter(name, [callback], unit, what)


def _declare(name: str, kind: Kind, unit: str, what: str, attributes: Attributes | None) -> None:
    declared[name] = Instrument(name, kind, unit, what, attributes or {})
