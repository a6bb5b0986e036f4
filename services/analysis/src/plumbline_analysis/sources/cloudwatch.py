"""Answers of CloudWatch's GetMetricData become a `Batch`. Pure.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from plumbline_analysis.moments import micros
from plumbline_analysis.sources import answers, batch
from plumbline_analysis.sources.batch import Batch, Head, Kind, Temporality
from plumbline_analysis.sources.queries import CloudWatchQuery

SOURCE = "cloudwatch"
_ADDED_UP = ("Sum", "SampleCount")


def add(
    found: Batch,
    asked: tuple[int, int],
    query: CloudWatchQuery,
    region: str,
    scope: str,
    times: Sequence[datetime],
    values: Sequence[float],
) -> None:
    """Add the values of one metric, each at the end of its period; what CloudWatch names is the period's beginning.

    `asked` is (after, until], in seconds since the Unix epoch, of these ends. A sum over a period is what a delta sum
    says; every other statistic is a gauge. `scope` is the source's name.
    """
    added_up = query.statistic in _ADDED_UP
    service = [("service.name", query.service)] if query.service is not None else []
    head = Head(
        source=SOURCE,
        metric=query.name,
        unit=query.unit,
        kind=Kind.SUM if added_up else Kind.GAUGE,
        temporality=Temporality.DELTA if added_up else Temporality.NONE,
        monotonic=query.statistic == "SampleCount",
        scope=scope,
        resource=batch.relevant([("cloud.provider", "aws"), ("cloud.region", region), *service]),
    )
    said = {"namespace": query.namespace, "metric": query.metric_name, "statistic": query.statistic}
    attributes = query.dimensions | {f"aws.cloudwatch.{name}": value for name, value in said.items()}
    start = np.array([micros(time) for time in times], np.uint64) * np.uint64(1000)
    end = start + np.uint64(query.period_seconds * 1_000_000_000)
    began = start if added_up else np.zeros_like(start)
    key = tuple(sorted(attributes.items()))
    answers.add(found, asked, head, dict, key, began, end, np.array(values, np.float64))
