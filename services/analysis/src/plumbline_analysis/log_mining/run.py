"""One step of mining: some lines into a stream of their own, whose intervals are judged as if they came. Pure.

The state is bounded as the stream is: counts are kept of the templates that the miner knows, in `PARTS` parts.
"""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plumbline_analysis.jobs.kind import Report, Step
from plumbline_analysis.log_mining.schemas import MOST_TOLD, PARTS, LogMiningResult, MinedChange, MinedTemplate
from plumbline_analysis.logs.state import packed, unpacked
from plumbline_analysis.logs.stream import Judged, Stream
from plumbline_analysis.moments import moment
from plumbline_analysis.series.slices import Int64

VERSION = 1
_WHERE = struct.Struct("<5q")


@dataclass(frozen=True)
class Where:
    """Lines of the stream `number` after `position` up to `last` are left to be mined. `start` and `end` are the
    times of the first and the last line, in microseconds."""

    number: int
    position: int
    last: int
    start: int
    end: int

    @classmethod
    def of(cls, checkpoint: bytes) -> "Where":
        """Where the next step goes on: the beginning of each checkpoint."""
        return cls(*_WHERE.unpack_from(checkpoint))

    def to_bytes(self) -> bytes:
        return _WHERE.pack(self.number, self.position, self.last, self.start, self.end)


@dataclass(frozen=True)
class Inputs:
    """`where` is where the step ends. `times` in microseconds; of lines that were sent along their numbers, and
    `interval` is None: then nothing is judged. `state` is what the step before left."""

    where: Where
    state: bytes | None
    interval: int | None
    lateness: int
    times: Sequence[int]
    lines: Sequence[str]
    is_last: bool


@dataclass
class _Mining:
    """What was mined so far. `counts` and `seen` (first and last time) by the miner's ids."""

    stream: Stream
    counts: dict[int, Int64] = field(default_factory=dict)
    seen: dict[int, tuple[int, int]] = field(default_factory=dict)
    lines: int = 0
    others: int = 0
    judged_to: int | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    changes_total: int = 0

    def add(self, inputs: Inputs) -> None:
        ids = self.stream.miner.add(inputs.lines)
        self.lines += len(ids)
        for id, (first, last) in self.stream.count(inputs.times, ids, inputs.lines).items():
            known = self.seen.get(id, (first, last))
            self.seen[id] = min(first, known[0]), max(last, known[1])
        span = max(1, inputs.where.end - inputs.where.start + 1)
        parts = (np.asarray(inputs.times, np.int64) - inputs.where.start) * PARTS // span
        parts = np.clip(parts, 0, PARTS - 1)
        of = np.asarray(ids, np.int64)
        for id in np.unique(of).tolist():
            own = self.counts.setdefault(id, np.zeros(PARTS, np.int64))
            own += np.bincount(parts[of == id], minlength=PARTS)
        self._fold()

    def _fold(self) -> None:
        """Count templates that are part of others with these, and those that were forgotten with nobody."""
        miner = self.stream.miner
        for id in list(self.counts):
            now = miner.current(id)
            if miner.template(now) is None:
                self.others += int(self.counts.pop(id).sum())
                self.seen.pop(id)
            elif now != id:
                count, (first, last) = self.counts.pop(id), self.seen.pop(id)
                self.counts[now] = self.counts.get(now, np.zeros(PARTS, np.int64)) + count
                known = self.seen.get(now, (first, last))
                self.seen[now] = min(first, known[0]), max(last, known[1])

    def judge(self, until: int) -> None:
        """Judge interval by interval: none is left out, as the evaluation does where nobody had listened."""
        step = self.stream.interval
        at = self.judged_to or min(first for first, _ in self.seen.values()) // step * step
        while at + step <= until:
            at += step
            for judged in self.stream.judge(at):
                self._note(judged)
        self.judged_to = at

    def _note(self, judged: Judged) -> None:
        self.changes_total += len(judged.began)
        for found in judged.began[: MOST_TOLD - len(self.changes)]:
            change = MinedChange(
                kind=found.kind,
                start=moment(judged.start),
                end=moment(judged.end),
                template=found.template,
                score=found.score,
                expected=found.expected,
                came=found.came,
                sentence=found.sentence,
            )
            self.changes.append(change.model_dump(mode="json"))

    def to_bytes(self) -> bytes:
        state = {
            "stream": [base64.b64encode(part).decode() for part in self.stream.to_bytes()],
            "counts": [(id, counts.tolist(), self.seen[id]) for id, counts in self.counts.items()],
            "members": [self.lines, self.others, self.judged_to, self.changes, self.changes_total],
        }
        return packed(VERSION, state)


def _taken_up(inputs: Inputs) -> _Mining:
    interval = inputs.interval or 1
    if inputs.state is None:
        return _Mining(Stream(interval, inputs.lateness, inputs.where.start))

    def load(state: dict[str, Any]) -> _Mining:
        miner, watch, pending = map(base64.b64decode, state["stream"])
        stream = Stream.from_bytes(miner, watch, pending, interval, inputs.lateness, inputs.where.start)
        counts = {id: np.array(own, np.int64) for id, own, _ in state["counts"]}
        seen = {id: (first, last) for id, _, (first, last) in state["counts"]}
        return _Mining(stream, counts, seen, *state["members"])

    return unpacked(inputs.state, VERSION, "a mining of logs", load)


def run(inputs: Inputs, report: Report) -> Step[None]:
    """O(lines + intervals * templates)."""
    mining = _taken_up(inputs)
    mining.add(inputs)
    if inputs.interval is not None and mining.seen:
        latest = inputs.times[-1] if len(inputs.times) else inputs.where.end
        mining.judge(inputs.where.end + inputs.interval if inputs.is_last else latest - inputs.lateness)
    if inputs.is_last:
        return Step(None, result=_result(mining, inputs).model_dump(mode="json"))
    where = inputs.where
    share = (inputs.times[-1] - where.start) / max(1, where.end - where.start)
    return Step(None, min(max(share, 0.0), 0.99), "mines the lines", where.to_bytes() + mining.to_bytes())


def _result(mining: _Mining, inputs: Inputs) -> LogMiningResult:
    is_timed = inputs.interval is not None and mining.lines > 0
    most = sorted(mining.counts, key=lambda each: (-int(mining.counts[each].sum()), each))
    told = most[:MOST_TOLD]
    return LogMiningResult(
        start=moment(inputs.where.start) if is_timed else None,
        end=moment(inputs.where.end) if is_timed else None,
        lines=mining.lines,
        templates_total=len(most),
        templates=[_template(mining, id, is_timed=is_timed) for id in told],
        others=mining.others + sum(int(mining.counts[id].sum()) for id in most[MOST_TOLD:]),
        changes_total=mining.changes_total,
        changes=[MinedChange.model_validate(each) for each in mining.changes],
    )


def _template(mining: _Mining, id: int, *, is_timed: bool) -> MinedTemplate:
    template, (first, last) = mining.stream.miner.template(id), mining.seen[id]
    assert template is not None
    return MinedTemplate(
        template=template.text,
        count=int(mining.counts[id].sum()),
        counts=mining.counts[id].tolist(),
        first_seen=moment(first) if is_timed else None,
        last_seen=moment(last) if is_timed else None,
        examples=list(template.examples),
    )
