"""How many documents the filters let through, as far as that matters."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.postings.repository import Known
from plumbline_search.postings.scoring import Versions
from plumbline_search.searches import repository
from plumbline_search.searches.looking import Look
from plumbline_search.searches.repository import Gate

FEW = 12_000
"""Documents that are counted, and compared each with the query: beyond, asking the index costs less."""
COUNTED = 3_000
"""Of those that hold a word of the query, so many are looked up to be counted."""
_KEPT_FROM = 500
"""Versions that are worth keeping: fewer are listed in the time that it takes to ask whether they are still those."""
_KEPT = 100
_SECONDS = 10.0
_REMEMBERED = 1_000
_LEARNT = 0.2
"""What a search counts for what filters let through, beside all before it."""


@dataclass(frozen=True)
class _Few:
    versions: Versions
    known: Known
    snapshot: str


@dataclass
class _Many:
    until: float
    share: float = 1 / 8


class Counter:
    """Remembers for some seconds which filters let many through: these are not counted each time. And what share of
    the nearest passages they let through. What few are it keeps as long as no document has changed."""

    def __init__(self) -> None:
        self._few: OrderedDict[object, _Few] = OrderedDict()
        self._many: OrderedDict[object, _Many] = OrderedDict()

    async def few(self, session: AsyncSession, gate: Gate, look: Look) -> Versions | None:
        """The versions of all that `gate` lets through; None where these are more than `FEW`. It may check `look`."""
        key = gate.key
        known = self._many.get(key)
        if known is not None and known.until > time.monotonic():
            return None
        if (few := self._few.get(key)) is not None and not look.is_checked:
            if await repository.still(session, look, few.known, few.snapshot):
                return few.versions
            self._few.pop(key, None)
        versions = await repository.probe(session, gate, look, FEW + 1)
        if len(versions) <= FEW:
            self._many.pop(key, None)
            if len(versions) >= _KEPT_FROM:
                self._few[key] = _Few(versions, look.known, look.snapshot)
                if len(self._few) > _KEPT:
                    self._few.popitem(last=False)
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
