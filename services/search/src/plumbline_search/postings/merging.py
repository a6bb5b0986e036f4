"""Keeps the inverted index in few runs: fresh documents become a run, runs of a level one of the next.

One process of all does it at a time, each step in one transaction: a crash loses nothing, and readers see the index
before or after a step, never between.
"""

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
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
DESERTED = 0.3
"""A run with more documents that are gone is made anew: they cost each query as much as those that are there."""
LOOK_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
_TERMS = 5_000
"""Terms of a page of a merge."""
_LOWEST = -(2**63)


class Merger:
    def __init__(self, sessions: db.Sessions) -> None:
        self._sessions = sessions
        self._looked_at = float("-inf")

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if not await self.step():
                await asyncio.sleep(_PAUSE_SECONDS)

    async def step(self) -> bool:
        """One merge, where one is due. Returns whether it was."""
        async with self._sessions() as session:
            if not await self._is_due(session):
                return False
        async with self._sessions.begin() as session:
            if not await repository.alone(session):
                return False
            slot, waiting = await repository.waiting(session)
            if waiting >= FRESH:
                await gather(session, slot)
                return True
            due = _full_level(await repository.levels(session)) or await self._deserted(session)
            if due is None:
                return False
            await merge(session, *due)
            return True

    async def _is_due(self, session: AsyncSession) -> bool:
        if asyncio.get_running_loop().time() - self._looked_at >= LOOK_SECONDS:
            return True
        _, waiting = await repository.waiting(session)
        return waiting >= FRESH or _full_level(await repository.levels(session)) is not None

    async def _deserted(self, session: AsyncSession) -> tuple[list[int], int, int] | None:
        """Now and then: a run many of whose documents are gone. It is made anew at its level."""
        if asyncio.get_running_loop().time() - self._looked_at < LOOK_SECONDS:
            return None
        alive = await repository.alive(session)
        for run in await repository.levels(session):
            [held] = await repository.runs(session, [run.id])
            gone = len(held.versions) - int(np.count_nonzero(np.isin(held.versions, alive)))
            if gone > DESERTED * len(held.versions):
                return [run.id], run.slot, run.level
        self._looked_at = asyncio.get_running_loop().time()
        return None


def _full_level(runs: Sequence[Row[Any]]) -> tuple[list[int], int, int] | None:
    """As many runs as become one of the lowest level that has them, the slot, and the level that they reach."""
    for (slot, level), found in groupby(runs, key=lambda run: (run.slot, run.level)):
        ids = [run.id for run in found]
        if len(ids) >= FAN_IN:
            return ids[:FAN_IN], slot, level + 1
    return None


async def gather(session: AsyncSession, slot: int) -> None:
    """Make a run of the oldest fresh documents."""
    fresh, words = await repository.take_fresh(session, slot, BATCH)
    if not fresh:
        return
    run, packed = await offload.in_thread(scoring.run_of, await repository.new_run(session, slot, 0), fresh)
    await repository.write_postings(session, run.id, packed)
    await repository.write_run(session, run)
    await repository.write_terms(session, slot, words)


async def merge(session: AsyncSession, ids: list[int], slot: int, level: int) -> None:
    """Make one run of `level` of several, without the documents that are gone."""
    runs = await repository.runs(session, ids)
    merged = scoring.merge(await repository.new_run(session, slot, level), runs, await repository.alive(session))
    after = _LOWEST
    while page := await repository.page(session, ids, after, _TERMS):
        packed = await offload.in_thread(_rewritten, merged, page)
        await repository.write_postings(session, merged.run.id, packed)
        after = page[-1].term
    await repository.write_run(session, merged.run)
    await repository.drop(session, ids)
    log.info("merged %d runs to one of level %d: %d documents", len(ids), level, len(merged.run.versions))


def _rewritten(merged: scoring.Merge, page: list[Postings]) -> dict[int, bytes]:
    packed = {term: merged.merged(list(parts)) for term, parts in groupby(page, key=lambda postings: postings.term)}
    return {term: postings for term, postings in packed.items() if postings}
