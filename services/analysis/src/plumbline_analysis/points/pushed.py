"""Measurements of gauges pushed as JSON: already validated points become a `Batch`."""

import math
from collections.abc import Sequence

import numpy as np

from plumbline_analysis.moments import micros
from plumbline_analysis.points.schemas import PushedPoint, RejectedPoint
from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Batch, Head, Kind, Temporality, Window

SOURCE = "push"


def decode(points: Sequence[PushedPoint], window: Window) -> tuple[Batch, list[list[int]], list[RejectedPoint]]:
    """The points that can be taken, the indexes of the points of each block, and the others with the reason."""
    found, rejected = Batch(), []
    by_head: dict[Head, list[int]] = {}
    for index, point in enumerate(points):
        fault = batch.time_fault(micros(point.time), window)
        if fault is None and not math.isfinite(point.value):
            fault = "the value is not a finite number"
        if fault is not None:
            rejected.append(RejectedPoint(index=index, detail=fault))
        else:
            by_head.setdefault(_head(point), []).append(index)
    for head, members in by_head.items():
        times = np.array([micros(points[index].time) * 1000 for index in members], np.uint64)
        keys = [tuple(sorted(points[index].attributes.items())) for index in members]
        values = np.array([points[index].value for index in members], np.float64)
        batch.add(found, window, head, dict, list(keys), np.zeros_like(times), times, values)
    return found, list(by_head.values()), rejected


def _head(point: PushedPoint) -> Head:
    return Head(
        source=SOURCE,
        metric=point.metric,
        unit=point.unit,
        kind=Kind.GAUGE,
        temporality=Temporality.NONE,
        monotonic=False,
        scope="",
        resource=batch.relevant(list(point.resource.items())),
    )
