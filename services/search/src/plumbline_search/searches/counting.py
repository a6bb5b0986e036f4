"""How many documents the filters let through, as far as that matters."""

import time
from collections import OrderedDict

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.postings.scoring import Versions
from plumbline_search.searches import repository
from plumbline_search.searches.repository import Gate

FEW = 12_000
"""Documents that are counted, and compared each with the query: beyond, asking the index costs less."""
COUNTED = 3_000
"""Of those that hold a word of the query, so many are looked up to be counted."""
_SECONDS = 10.0
_REMEMBERED = 1_000


class Counter:
    """Remembers for some seconds which filters let many through: these are not counted each time."""

    def __init__(self) -> None:
        self._many: OrderedDict[object, float] = OrderedDict()

    async def few(self, session: AsyncSession, gate: Gate) -> Versions | None:
        """The versions of all that `gate` lets through; None where these are more than `FEW`."""
        key = (
            None if gate.condition is None else gate.condition.model_dump_json(),
            None if gate.teams is None else tuple(gate.teams),
        )
        if self._many.get(key, 0.0) > time.monotonic():
            return None
        versions = await repository.probe(session, gate, FEW + 1)
        if len(versions) <= FEW:
            self._many.pop(key, None)
            return versions
        self._many[key] = time.monotonic() + _SECONDS
        while len(self._many) > _REMEMBERED:
            self._many.popitem(last=False)
        return None
