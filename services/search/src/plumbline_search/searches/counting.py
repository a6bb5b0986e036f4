"""How many documents the filters let through, as far as that matters."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.postings.repository import Look
from plumbline_search.postings.scoring import Versions
from plumbline_search.searches import repository
from plumbline_search.searches.repository import Gate

FEW = 12_000
"""Documents that are counted, and compared each with the query: beyond, asking the index costs less."""
COUNTED = 3_000
"""Of those that hold a word of the query, so many are looked up to be counted."""
_SECONDS = 10.0
_REMEMBERED = 1_000
_LEARNT = 0.2
"""What a search counts for what filters let through, beside all before it."""


@dataclass
class _Many:
    until: float
    share: float = 1 / 8


class Counter:
    """Remembers for some seconds which filters let many through: these are not counted each time. And what share of
    the nearest passages they let through."""

    def __init__(self) -> None:
        self._many: OrderedDict[object, _Many] = OrderedDict()

    async def few(self, session: AsyncSession, gate: Gate, look: Look | None = None) -> Versions | None:
        """The versions of all that `gate` lets through; None where these are more than `FEW`. It may check `look`."""
        key = gate.key
        known = self._many.get(key)
        if known is not None and known.until > time.monotonic():
            return None
        versions = await repository.probe(session, gate, FEW + 1, look)
        if len(versions) <= FEW:
            self._many.pop(key, None)
            return versions
        self._many[key] = _Many(time.monotonic() + _SECONDS, _Many.share if known is None else known.share)
        while len(self._many) > _REMEMBERED:
            self._many.popitem(last=False)
        return None

    def share(self, gate: Gate) -> float:
        """Of the nearest passages, about, that `gate` lets through."""
        known = self._many.get(gate.key)
        return _Many.share if known is None else known.share

    def learn(self, gate: Gate, share: float) -> None:
        if (known := self._many.get(gate.key)) is not None:
            known.share += _LEARNT * (share - known.share)
