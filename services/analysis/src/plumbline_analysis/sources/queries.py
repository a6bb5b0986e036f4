"""What a source is asked, and what the signals of the answer are called."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from plumbline_analysis.sources.batch import MAX_ATTRIBUTE_VALUE, MAX_METRIC_NAME, MAX_UNIT
from plumbline_common.schemas import Name, Schema, Text

MetricName = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_METRIC_NAME)]
Unit = Annotated[Text, StringConstraints(max_length=MAX_UNIT)]
"""In UCUM's notation, as OpenTelemetry has it: s, By, 1, {request}."""
_Short = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
_Value = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_ATTRIBUTE_VALUE)]


class _Query(Schema):
    name: MetricName
    """The metric of its signals; unique in its source."""
    unit: Unit = ""
    service: Name | None = None
    """`service.name` of all its signals."""


class PrometheusQuery(_Query):
    query: Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]
    """PromQL. Each series of the answer becomes a signal."""
    kind: Literal["gauge", "counter"] = "gauge"
    """counter: the values are cumulative, as of a selector of a `…_total`; not those of rate() or increase()."""
    service_label: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=200)] = "job"
    """The label that holds `service.name` where `service` is not given."""


def _period(seconds: int) -> int:
    if seconds not in (1, 5, 10, 20, 30) and seconds % 60:
        raise ValueError("must be 1, 5, 10, 20, 30, or a multiple of 60")
    return seconds


class CloudWatchQuery(_Query):
    """One metric of CloudWatch, and how it is put together for each period."""

    namespace: _Short
    metric_name: _Short
    dimensions: Annotated[dict[_Short, _Value], Field(max_length=30)] = {}
    statistic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9.:%()]{1,29}$")] = "Average"
    """Average, Sum, SampleCount, Minimum, Maximum, or a percentile such as p99."""
    period_seconds: Annotated[int, Field(ge=1, le=86_400), AfterValidator(_period)] = 60
    """1, 5, 10, 20, 30, or a multiple of 60."""
