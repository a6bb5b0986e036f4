"""The series of one service side by side. Pure, CPU-bound."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plumbline_analysis.series import derived
from plumbline_analysis.series.derived import Points, SignalInfo
from plumbline_analysis.series.slices import Float64, Grid
from plumbline_common.schemas import Aggregation


@dataclass(frozen=True)
class Series:
    """A metric of a service over all of its streams: one number a slice, NaN where there is none."""

    metric: str
    aggregation: Aggregation
    unit: str
    values: Float64


def panel(metrics: Mapping[str, Sequence[SignalInfo]], points: Points, grid: Grid) -> Iterator[Series]:
    """Each metric by the aggregations that tell most of its kind. O(points + series * slices)."""
    for metric, infos in metrics.items():
        own = points.of(infos)
        for aggregation in _aggregations(infos):
            unit = "" if infos[0].is_histogram and aggregation == "rate" else infos[0].unit
            yield Series(metric, aggregation, unit, derived.values(own, grid, aggregation, None))


def _aggregations(infos: Sequence[SignalInfo]) -> tuple[Aggregation, ...]:
    if infos[0].is_histogram:
        return "p95", "rate"
    return ("rate",) if infos[0].is_counter else ("mean",)
