"""The logs of one service over time: mined as they come, judged interval by interval. Pure.

Times are microseconds since the Unix epoch. Intervals begin at whole multiples of their length, so that all processes
agree on them. A line that comes after its interval was judged counts in the next one that will be where it is at most
`lateness` late; a later one only adds to its template. An interval without any line is judged too, until there were
`QUIET` of them in a row: then the stream is asleep until a line comes. Where more than `AWAY` are due at once, nobody
judged meanwhile, and perhaps nobody heard the senders: of these, the intervals without a line are left out.

What ended before `since` teaches only: it is history, and nobody's alarm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from plumbline_analysis.logs.changes import Finding, Kind, Tally, Watch
from plumbline_analysis.logs.mining import Miner
from plumbline_analysis.logs.state import packed, unpacked

VERSION = 1
QUIET = 60
AWAY = 2

Change = tuple[Kind, int | None]
"""A kind of finding and the id of its template."""


@dataclass(frozen=True)
class Judged:
    """What one interval brought: the changes that began in it, those that lasted, and those that did not."""

    start: int
    end: int
    began: list[Finding]
    lasted: list[Finding]
    ended: list[Change]


class Stream:
    """The state of one service. Not safe for several threads at once."""

    def __init__(self, interval: int, lateness: int, since: int, miner: Miner | None = None) -> None:
        self.miner = miner or Miner()
        self.interval = interval
        self._lateness = -(-lateness // interval)
        self._since = since
        self._watch = Watch()
        self._next: int | None = None
        """The number of the interval that is judged next; None before the first line."""
        self._pending: dict[int, Tally] = {}
        self._told: list[Change] = []
        self._quiet = 0

    @property
    def asleep(self) -> bool:
        """Whether there is nothing to judge before another line comes."""
        return not self._pending and (self._next is None or self._quiet >= QUIET)

    def add(self, times: Sequence[int], lines: Sequence[str]) -> dict[int, tuple[int, int]]:
        """Mine lines and count them in their intervals. The templates that came, with their first and last time."""
        return self.count(times, self.miner.add(lines), lines)

    def count(self, times: Sequence[int], ids: Sequence[int], lines: Sequence[str]) -> dict[int, tuple[int, int]]:
        """The same of lines that the miner has given ids."""
        seen: dict[int, tuple[int, int]] = {}
        counted: dict[int, list[int]] = {}
        for place, (id, time) in enumerate(zip(ids, times, strict=True)):
            first, last = seen.get(id, (time, time))
            seen[id] = min(first, time), max(last, time)
            number = time // self.interval
            if self._next is not None and number < self._next:
                if number < self._next - self._lateness:
                    continue
                number = self._next
            counted.setdefault(number, []).append(place)
        for number, places in counted.items():
            tally = self._pending.setdefault(number, Tally())
            tally.add([ids[place] for place in places], [lines[place] for place in places])
        return seen

    def judge(self, until: int) -> list[Judged]:
        """Judge the intervals that end by `until`, in their order. O(intervals * templates)."""
        judged = []
        away = self._next is not None and until // self.interval - self._next > AWAY
        if self._next is None and self._pending:
            self._next = min(self._pending)
        while self._next is not None and (self._next + 1) * self.interval <= until:
            if (away or self._quiet >= QUIET) and self._next not in self._pending:
                last = until // self.interval
                self._next = min([number for number in self._pending if number < last], default=last)
                continue
            judged.append(self._judge(self._next, self._pending.pop(self._next, Tally())))
            self._next += 1
        return judged

    def _judge(self, number: int, tally: Tally) -> Judged:
        self._quiet = 0 if tally.counts else self._quiet + 1
        findings = self._watch.step(tally, self.miner)
        if self._quiet:
            findings = self._silence(findings)
        ended = [change for change in self._told if not self._goes_on(change)]
        start, end = number * self.interval, (number + 1) * self.interval
        if end <= self._since:
            findings = []
        began = [(finding.kind, finding.template_id) for finding in findings]
        # One that begins anew in the interval in which it ended does so after it.
        self._told = [change for change in self._told if change not in ended and change not in began] + began
        return Judged(start, end, findings, self._watch.lasting, ended)

    def _silence(self, findings: list[Finding]) -> list[Finding]:
        """That a service says nothing at all is one finding, not one for each template that it fell silent with: for
        those, the silence before was within the band."""
        fell = [finding for finding in findings if finding.came - self._quiet <= finding.upper]
        others = [finding for finding in findings if finding.came - self._quiet > finding.upper]
        if not fell or ("vanished", None) in self._told:
            return others
        most = fell[0]
        intervals = "one interval" if self._quiet == 1 else f"{self._quiet} intervals"
        sentence = f"nothing was logged for {intervals}; {most.sentence}"
        return [replace(most, template_id=None, template=None, sentence=sentence), *others]

    def _goes_on(self, change: Change) -> bool:
        kind, id = change
        if change == ("vanished", None):
            return self._quiet > 0
        return self._watch.goes_on(kind, None if id is None else self.miner.current(id))

    # --- State --------------------------------------------------------------------------------------------

    def to_bytes(self) -> tuple[bytes, bytes, bytes]:
        """The whole state: the miner's, the watch's, and what is pending."""
        pending = {
            "interval": self.interval,
            "next": self._next,
            "told": self._told,
            "quiet": self._quiet,
            "tallies": [
                [number, list(tally.counts.items()), list(tally.lines.items())]
                for number, tally in self._pending.items()
            ],
        }
        return self.miner.to_bytes(), self._watch.to_bytes(), packed(VERSION, pending)

    @classmethod
    def from_bytes(
        cls, miner: bytes, watch: bytes, pending: bytes, interval: int, lateness: int, since: int
    ) -> "Stream":
        """Raises `ValueError` for another version or a broken state: the stream then has to be learned anew.

        Where intervals had another length, what they taught is forgotten; the templates stay.
        """
        stream = cls(interval, lateness, since, Miner.from_bytes(miner))
        taken_up = unpacked(pending, VERSION, "a stream of logs", stream._take_up)
        if taken_up:
            stream._watch = Watch.from_bytes(watch)
        return stream

    def _take_up(self, state: dict[str, Any]) -> bool:
        self._told = [(kind, id) for kind, id in state["told"]]
        if state["interval"] != self.interval:
            return False
        self._next, self._quiet = state["next"], state["quiet"]
        for number, counts, lines in state["tallies"]:
            self._pending[number] = Tally(counts=dict(counts), lines=dict(lines))
        return True
