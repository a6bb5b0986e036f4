"""Which signal and which bucket layout a series has, remembered by each process.

Only what was read back as committed is remembered: what a transaction has inserted may still be rolled back.
"""

from collections import OrderedDict
from collections.abc import Hashable

from plumbline_analysis.sources.batch import Head, Layout

MAX_SERIES = 500_000
MAX_LAYOUTS = 10_000


class Directory:
    """Two levels, so that a lookup hashes only the attributes of a point. Read by threads, written by the loop."""

    def __init__(self) -> None:
        self._heads: OrderedDict[Head, dict[Hashable, int]] = OrderedDict()
        self._layouts: dict[Layout, int] = {}
        self._series = 0

    def numbers(self, head: Head, keys: list[Hashable]) -> list[int]:
        """The signal of each key; 0 where it is not known."""
        known = self._heads.get(head)
        if known is None:
            return [0] * len(keys)
        get = known.get
        return [get(key, 0) for key in keys]

    def remember(self, head: Head, key: Hashable, number: int) -> None:
        known = self._heads.setdefault(head, {})
        self._heads.move_to_end(head)
        self._series += key not in known
        known[key] = number
        while self._series > MAX_SERIES and len(self._heads) > 1:
            self._series -= len(self._heads.popitem(last=False)[1])
        if self._series > MAX_SERIES:
            known.clear()
            known[key] = number
            self._series = 1

    def layout(self, layout: Layout) -> int | None:
        return self._layouts.get(layout)

    def remember_layout(self, layout: Layout, number: int) -> None:
        if len(self._layouts) >= MAX_LAYOUTS:
            self._layouts.clear()
        self._layouts[layout] = number
