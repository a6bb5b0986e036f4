"""The part of an evaluation of logs that needs no database: lines in, templates and findings out. CPU-bound."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from plumbline_analysis.logs.mining import Template
from plumbline_analysis.logs.stream import Judged, Stream


@dataclass(frozen=True)
class Seen:
    """A template that came, and when; times in microseconds."""

    template: Template
    first: int
    last: int


@dataclass(frozen=True)
class Mined:
    """`gone`: templates that are no more, with the one that each is part of now, or None where it is forgotten."""

    seen: list[Seen]
    gone: dict[int, int | None]
    judged: list[Judged]
    state: tuple[bytes, bytes, bytes]
    asleep: bool


def mine(
    stream: Stream, times: Sequence[int], lines: Sequence[str], known: Collection[int], until: int | None
) -> Mined:
    """Take lines into a stream whose templates `known` are stored, and judge it up to `until` where that is given."""
    came = stream.add(times, lines)
    judged = [] if until is None else stream.judge(until)
    seen = []
    for id, (first, last) in came.items():
        if (template := stream.miner.template(id)) is not None:
            seen.append(Seen(template, first, last))
    gone: dict[int, int | None] = {}
    for id in known:
        now = stream.miner.current(id)
        if stream.miner.template(id) is None:
            gone[id] = None
        elif now != id:
            gone[id] = now
    return Mined(seen, gone, judged, stream.to_bytes(), stream.asleep)
