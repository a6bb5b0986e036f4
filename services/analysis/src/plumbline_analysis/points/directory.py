"""What each process remembers of the telemetry that it takes: which signal a series and which id a bucket layout has,
how many series there are, and how much each service sent.

Only what was read back as committed is remembered: what a transaction has inserted may still be rolled back.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import timedelta

from plumbline_analysis.points import limits
from plumbline_analysis.points.limits import Limits, Quota, Room
from plumbline_analysis.sources.batch import Layout

MAX_SERIES = 500_000
MAX_GROUPS = 100_000
MAX_KEY_BYTES = 256 * 1024 * 1024
"""Of the keys themselves; the tables around them come to about 200 bytes a series."""
MAX_LAYOUTS = 10_000


@dataclass(slots=True)
class _Group:
    numbers: dict[Hashable, int] = field(default_factory=dict)
    size: int = 0


class Directory:
    """Two levels, so that a lookup hashes only the key of a point. Read by threads, written by the loop.

    `timely` is how old a point may be that is stored and still there when its slice is judged.
    """

    def __init__(self, bounds: Limits = limits.NONE, timely: timedelta = timedelta()) -> None:
        self.limits = bounds
        self.timely = timely
        self.room = Room(bounds)
        self.quota = Quota(bounds)
        self._groups: OrderedDict[Hashable, _Group] = OrderedDict()
        self._layouts: dict[Layout, int] = {}
        self._series = 0
        self._size = 0

    def numbers(self, group: Hashable, keys: list[Hashable]) -> list[int]:
        """The signal of each key; 0 where it is not known."""
        known = self._groups.get(group)
        if known is None:
            return [0] * len(keys)
        get = known.numbers.get
        return [get(key, 0) for key in keys]

    def remember(self, group: Hashable, key: Hashable, number: int) -> None:
        known = self._groups.setdefault(group, _Group())
        self._groups.move_to_end(group)
        if key not in known.numbers:
            size = _size(key)
            known.size += size
            self._size += size
            self._series += 1
        known.numbers[key] = number
        while self._is_full and len(self._groups) > 1:
            self._forget(self._groups.popitem(last=False)[1])
        if self._is_full:
            self._forget(self._groups.pop(group))
            self.remember(group, key, number)

    @property
    def _is_full(self) -> bool:
        return self._series > MAX_SERIES or self._size > MAX_KEY_BYTES or len(self._groups) > MAX_GROUPS

    def _forget(self, group: _Group) -> None:
        self._series -= len(group.numbers)
        self._size -= group.size

    def layout(self, layout: Layout) -> int | None:
        return self._layouts.get(layout)

    def remember_layout(self, layout: Layout, number: int) -> None:
        if len(self._layouts) >= MAX_LAYOUTS:
            self._layouts.clear()
        self._layouts[layout] = number


def _size(key: Hashable) -> int:
    """The bytes of a key: text, or texts in tuples."""
    if isinstance(key, tuple):
        return sum(map(_size, key))
    return len(key) if isinstance(key, str | bytes) else 8
