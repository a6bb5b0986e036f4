"""Keeps the inverted index in few runs: fresh documents become a run, runs of a level one of the next.

One process of all does it at a time, each step in one transaction: a crash loses nothing, and readers see the index
before or after a step, never between.
"""

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, offload
from plumbline_search.postings import repository, scoring
from plumbline_search.postings.scoring import Postings

log = logging.getLogger(__name__)

FRESH = 256
"""Documents that wait for their run. Each costs a query about a microsecond."""
BATCH = 2_000
FAN_IN = 8
"""Runs of one level become one. A posting is rewritten once a level: log8 of how many batches there are."""
_PAUSE_SECONDS = 0.5
_TERMS = 5_000
"""Terms of a page of a merge."""
_LOWEST = -(2**63)


class Merger:
    def __init__(self, sessions: db.Sessions) -> None:
        self._sessions = sessions

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if not await self.step():
                await asyncio.sleep(_PAUSE_SECONDS)

    async def step(self) -> bool:
        """One merge, where one is due. Returns whether it was."""
        async with self._sessions() as session:
            if not await _is_due(session):
                return False
        async with self._sessions.begin() as session:
            if not await repository.alone(session):
                return False
            if await repository.waiting(session) >= FRESH:
                await gather(session)
                return True
            due = _full_level(await repository.levels(session))
            if due is None:
                return False
            await merge(session, *due)
            return True


async def _is_due(session: AsyncSession) -> bool:
    return await repository.waiting(session) >= FRESH or _full_level(await repository.levels(session)) is not None


def _full_level(runs: Sequence[Row[Any]]) -> tuple[list[int], int] | None:
    """The runs of the lowest level that has enough of them, and that level."""
    for level, found in groupby(runs, key=lambda run: run.level):
        ids = [run.id for run in found]
        if len(ids) >= FAN_IN:
            return ids, level
    return None


async def gather(session: AsyncSession) -> None:
    """Make a run of the oldest fresh documents."""
    fresh, words = await repository.take_fresh(session, BATCH)
    if not fresh:
        return
    run, packed = await offload.in_thread(scoring.run_of, await repository.new_run(session, 0), fresh)
    await repository.write_postings(session, run.id, packed)
    await repository.write_run(session, run)
    await repository.write_terms(session, words)


async def merge(session: AsyncSession, ids: list[int], level: int) -> None:
    """Make one run of several, without the documents that are gone."""
    runs = await repository.runs(session, ids)
    merged = scoring.merge(await repository.new_run(session, level + 1), runs, await repository.alive(session))
    after = _LOWEST
    while page := await repository.page(session, ids, after, _TERMS):
        packed = await offload.in_thread(_rewritten, merged, page)
        await repository.write_postings(session, merged.run.id, packed)
        after = page[-1].term
    await repository.write_run(session, merged.run)
    await repository.drop(session, ids)
    log.info("merged %d runs of level %d: %d documents", len(ids), level, len(merged.run.versions))


def _rewritten(merged: scoring.Merge, page: list[Postings]) -> dict[int, bytes]:
    packed = {term: merged.merged(list(parts)) for term, parts in groupby(page, key=lambda postings: postings.term)}
    return {term: postings for term, postings in packed.items() if postings}
