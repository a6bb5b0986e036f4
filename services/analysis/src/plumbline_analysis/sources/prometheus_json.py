"""Answers of Prometheus' `/api/v1/query_range` become a `Batch`. Pure and CPU-bound.

The format: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from plumbline_analysis.sources import answers, batch
from plumbline_analysis.sources.answers import Answer
from plumbline_analysis.sources.batch import Batch, Head, Kind, Temporality, Undecodable
from plumbline_analysis.sources.queries import PrometheusQuery

SOURCE = "prometheus"
_MOST_WARNINGS = 20
_LONGEST_WARNING = 500


class QueryRefused(Exception):
    """The API says that the query can't be answered. `kind` is its `errorType`."""

    def __init__(self, kind: str, error: str) -> None:
        super().__init__(error)
        self.kind = kind
        self.error = error


def decode(body: bytes, query: PrometheusQuery, scope: str, asked: tuple[int, int]) -> Answer:
    """The points in `asked`: (after, until], in seconds since the Unix epoch. `scope` is the source's name.

    Raises `QueryRefused` for an answer that says so, `Undecodable` for what is no answer of the API.

    Of labels, `job` becomes `service.name` and `instance` `service.instance.id`, as OpenTelemetry has it; the name
    of the metric stays an attribute where the query is called otherwise.
    """
    answer = _object(_parsed(body), "the answer")
    if answer.get("status") == "error":
        raise QueryRefused(str(answer.get("errorType", "")), str(answer.get("error", ""))[:1000])
    data = _object(answer.get("data"), "data")
    if answer.get("status") != "success" or data.get("resultType") != "matrix":
        raise Undecodable("it must have the status 'success' and data of the resultType 'matrix'")
    found, matrix = Batch(), data.get("result")
    if not isinstance(matrix, list):
        raise Undecodable("data.result must be a list of series")
    for each in matrix:
        series = _object(each, "a series")
        _add(found, series, query, scope, asked)
    return Answer(found, len(matrix), _warnings(answer.get("warnings")))


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        raise Undecodable("it is no JSON, or breaks off") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Undecodable(f"{what} must be an object")
    return value


def _labels(series: Mapping[str, Any]) -> dict[str, str]:
    labels = _object(series.get("metric"), "the metric of a series")
    if not all(isinstance(value, str) for value in labels.values()):
        raise Undecodable("the labels of a series must be strings")
    return labels


def _add(found: Batch, series: Mapping[str, Any], query: PrometheusQuery, scope: str, asked: tuple[int, int]) -> None:
    histograms = series.get("histograms")
    if isinstance(histograms, list):
        found.reject(len(histograms), "native histograms are not pulled: ask for a quantile", query.name)
    samples = series.get("values", [])
    head, attributes = _identity(_labels(series), query, scope)
    if (fault := batch.head_fault(head)) is not None:
        found.reject(len(samples), fault, query.name)
        return
    try:
        times = np.array([time for time, _ in samples], np.float64)
        values = np.array([float(value) for _, value in samples], np.float64)
    except (TypeError, ValueError):
        raise Undecodable("the values of a series must be pairs of a time and a number as a string") from None
    if not np.all((times >= 0) & (times < 1e10)):
        raise Undecodable("the times of a series must be seconds since 1970")
    # Prometheus' own times are whole milliseconds.
    nanoseconds = np.rint(times * 1000).astype(np.uint64) * np.uint64(1_000_000)
    answers.add(found, asked, head, dict, attributes, np.zeros_like(nanoseconds), nanoseconds, values)


def _identity(
    labels: Mapping[str, str], query: PrometheusQuery, scope: str
) -> tuple[Head, tuple[tuple[str, str], ...]]:
    service = query.service or labels.get(query.service_label)
    resource = {"service.name": service, "service.instance.id": labels.get("instance")}
    left = {name: value for name, value in labels.items() if name not in ("instance", "job") and value}
    if left.get("__name__") == query.name:
        del left["__name__"]
    if labels.get("job") not in (None, "", service):
        left["job"] = labels["job"]
    is_counter = query.kind == "counter"
    head = Head(
        source=SOURCE,
        metric=query.name,
        unit=query.unit,
        kind=Kind.SUM if is_counter else Kind.GAUGE,
        temporality=Temporality.CUMULATIVE if is_counter else Temporality.NONE,
        monotonic=is_counter,
        scope=scope,
        resource=batch.relevant([(name, value) for name, value in resource.items() if value]),
    )
    return head, tuple(sorted(left.items()))


def _warnings(given: Any) -> list[str]:
    if not isinstance(given, list):
        return []
    return [str(each)[:_LONGEST_WARNING] for each in given[:_MOST_WARNINGS]]
