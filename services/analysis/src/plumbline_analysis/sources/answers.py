"""What one question to a source gave, and which of its points were asked for."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from plumbline_analysis.sources import batch
from plumbline_analysis.sources.batch import Batch, Float64, Head, UInt64, Window

_EVER = Window(0, 2**62, 0, 0)


@dataclass(frozen=True)
class Answer:
    batch: Batch
    series: int
    warnings: list[str]
    """The source's own, such as of a store behind it that did not answer."""

    @property
    def said(self) -> list[str]:
        """The warnings, and what of the points can't be stored and why."""
        said = [*self.warnings, *([self.batch.message] if self.batch.message else [])]
        return [each.replace("\x00", "") for each in said]


def add(
    found: Batch,
    asked: tuple[int, int],
    head: Head,
    attributes: Callable[[Any], dict[str, str]],
    key: Hashable,
    start: UInt64,
    time: UInt64,
    values: Float64,
) -> None:
    """Add the points of one series whose time lies in `asked`: (after, until], in seconds since the Unix epoch.

    `start` and `time` in nanoseconds, shape (n,) as `values`; `key` names the attributes of all of them.
    """
    after, until = (limit * 1_000_000_000 for limit in asked)
    within = (time > after) & (time <= until)
    found.reject(int((~within).sum()), "the time is not in the range that was asked for", head.metric)
    keys = [key] * int(within.sum())
    batch.add(found, _EVER, head, attributes, keys, start[within], time[within], values[within])
