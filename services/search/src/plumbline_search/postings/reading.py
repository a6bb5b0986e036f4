"""The lexical leg: a query's terms in, scored documents out, of the index in a slot."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import offload
from plumbline_search.postings import repository, scoring
from plumbline_search.postings.scoring import NOTHING, Fresh, Matches, Postings, Run, Versions

_INLINE = 200_000
"""Postings that are scored on the event loop: about a millisecond. More go to a thread, which numpy lets run."""


class Reader:
    """Keeps what it has read of runs, which never change: 8 bytes a document."""

    def __init__(self) -> None:
        self._runs: dict[int, Run] = {}

    async def matches(self, session: AsyncSession, slot: int, query: Mapping[int, float]) -> Matches:
        """What holds any of the terms, by what is committed. `session` must be in autocommit."""
        if not query:
            return NOTHING
        runs, postings, fresh = await self._read(session, slot, list(query))
        if sum(len(each.documents) for each in postings) <= _INLINE:
            return scoring.score(query, runs, postings, fresh)
        return await offload.in_thread(scoring.score, query, runs, postings, fresh)

    async def holding(self, session: AsyncSession, slot: int, terms: Collection[int]) -> Versions:
        """What holds each of the terms, at least one."""
        return scoring.holding(terms, *await self._read(session, slot, list(terms)))

    async def _read(
        self, session: AsyncSession, slot: int, terms: Sequence[int]
    ) -> tuple[list[Run], list[Postings], list[Fresh]]:
        while True:
            postings, fresh, ids = await repository.looked_up(session, slot, terms)
            if missing := [id for id in ids if id not in self._runs]:
                self._runs |= {run.id: run for run in await repository.runs(session, missing)}
            # A merge may have ended between the two statements; then the first is out of date.
            if all(id in self._runs for id in ids):
                break
        self._runs = {id: run for id, run in self._runs.items() if id in set(ids)}
        return [self._runs[id] for id in ids], postings, fresh
