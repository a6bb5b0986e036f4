"""What every source of traces decodes into: the spans of one request that tell who calls whom."""

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_SPANS = 100_000
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
"""OpenTelemetry's numbers of the kinds of spans. Those of other kinds cross no border of a service."""
CALLERS = (CLIENT, PRODUCER)
BORDERS = (SERVER, CLIENT, PRODUCER, CONSUMER)


class Span(NamedTuple):
    """Where a call leaves a service, or arrives at one. `parent_id` is empty for a root."""

    service: str
    is_caller: bool
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    peer: str | None
    """The service that was called, where the caller names it."""


@dataclass(slots=True)
class Spans:
    accepted: list[Span] = field(default_factory=list)
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def reject(self, count: int, reason: str) -> None:
        self.rejected += count
        self.reasons[reason] = self.reasons.get(reason, 0) + count

    @property
    def message(self) -> str:
        """What was left out and why, for the sender's log; empty where nothing was."""
        return "; ".join(f"{count} spans: {reason}" for reason, count in self.reasons.items())
