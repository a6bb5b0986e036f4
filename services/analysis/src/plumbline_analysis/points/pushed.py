"""Measurements of gauges pushed as JSON: already validated points become a `Batch`."""

from collections.abc import Sequence

import numpy as np

from plumbline_analysis.moments import micros
from plumbline_analysis.points.schemas import PushedPoint, RejectedPoint
from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Batch, Head, Kind, Temporality, Window

SOURCE = "push"


def decode(points: Sequence[PushedPoint], window: Window) -> tuple[Batch, list[RejectedPoint]]:
    """The points whose time can be taken, and the others with the reason."""
    found, rejected = Batch(), []
    by_head: dict[Head, list[PushedPoint]] = {}
    for index, point in enumerate(points):
        if (fault := batch.time_fault(micros(point.time), window)) is not None:
            rejected.append(RejectedPoint(index=index, detail=fault))
            continue
        head = Head(
            source=SOURCE,
            metric=point.metric,
            unit=point.unit,
            kind=Kind.GAUGE,
            temporality=Temporality.NONE,
            monotonic=False,
            scope="",
            resource=batch.relevant(list(point.resource.items())),
        )
        by_head.setdefault(head, []).append(point)
    for head, members in by_head.items():
        times = np.array([micros(point.time) * 1000 for point in members], np.uint64)
        keys = [tuple(sorted(point.attributes.items())) for point in members]
        values = np.array([point.value for point in members], np.float64)
        batch.add(found, window, head, dict, list(keys), np.zeros_like(times), times, values)
    return found, rejected
