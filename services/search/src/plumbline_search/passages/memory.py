"""The passages of the live index in memory, complete by what is committed: the vector leg compares with all of them.

What an index has, the inverted index tells: the documents of immutable runs, and the fresh ones. A search asks which
there are, and reads what is not here yet. Where that is much, at a start or where memory does not suffice, the search
asks pgvector's index instead.
"""

import asyncio
import logging

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, offload
from plumbline_search.embedding.embedder import Vector
from plumbline_search.indexes.repository import Index
from plumbline_search.indexes.serving import Serving
from plumbline_search.passages import repository
from plumbline_search.passages.scoring import Floats
from plumbline_search.passages.store import Compared, Passages, Store, bytes_of_passage, joined
from plumbline_search.postings import repository as postings
from plumbline_search.postings.repository import Known
from plumbline_search.postings.scoring import Versions

log = logging.getLogger(__name__)

INLINE = 150_000
"""Passages whose estimates are made on the event loop, in about a millisecond. Those of more are made in a thread."""
INLINE_COMPARED = 4_000
"""The same of those that are compared."""
LOADED_BY_SEARCH = 500
"""Documents that a search waits for. More are read by who works beside."""
DESERTED = 0.3
"""With more passages of documents that are gone, these are left behind: they cost each search as much as others."""
_TOGETHER = 2_000
"""Documents that are read by one statement."""
_TURNED_INLINE = 64
_PAUSE_SECONDS = 0.5
_TOLD = 10_000
"""New passages that are worth a line in the log."""


class Memory:
    """At most `megabytes`."""

    def __init__(self, megabytes: int) -> None:
        self._bytes = megabytes * 1024 * 1024
        self._held: _Held | None = None

    async def run(self, sessions: db.Sessions, serving: Serving) -> None:
        """Until it is cancelled: read what searches would wait for."""
        while True:
            index = serving.live
            async with sessions() as session:
                await self._of(index).keep_up(session, index)
            await asyncio.sleep(_PAUSE_SECONDS)

    def _of(self, index: Index) -> "_Held":
        if self._held is None or self._held.index != index.id:
            # Of the indexes only the live one is asked; the one before it is not asked again.
            capacity = max(1, self._bytes // bytes_of_passage(index.dimensions))
            self._held = _Held(index.id, Store(index.dimensions, capacity))
        return self._held

    async def holds(self, session: AsyncSession, index: Index, known: Known) -> bool:
        """Whether all of `known` is here, once the little that was missing has been read."""
        return await self._of(index).has(session, index, known, LOADED_BY_SEARCH)

    async def nearest(self, index: Index, vector: Vector, most: int) -> Compared:
        """About the `most` nearest of the passages that are here, in order."""
        store = self._of(index).store
        turned = store.turned(vector)
        if len(store) <= INLINE:
            return store.nearest(turned, most)
        return await offload.in_thread(store.nearest, turned, most)

    async def nearest_of(
        self, session: AsyncSession, index: Index, versions: Versions, vector: Vector, most: int
    ) -> Compared:
        """The same of the passages of `versions`."""
        found = []
        for store in await self._of(index).holding(session, index, versions):
            turned = store.turned(vector)
            if len(versions) <= INLINE_COMPARED:
                found.append(store.compared(versions, turned).best(most))
            else:
                found.append(await offload.in_thread(store.nearest, turned, most, versions))
        return joined(found).best(most)

    async def vectors(
        self, session: AsyncSession, index: Index, versions: Versions, vector: Vector
    ) -> tuple[Compared, Floats]:
        """Every passage of `versions` that the index has, and the vectors (n, d): in a basis of their own, with inner
        products among them as they were."""
        found, vectors = [], []
        for store in await self._of(index).holding(session, index, versions):
            compared, kept = store.kept(versions, store.turned(vector))
            found.append(compared)
            vectors.append(kept)
        return joined(found), np.concatenate(vectors)


class _Held:
    def __init__(self, index: int, store: Store) -> None:
        self.index = index
        self.store = store
        self._runs: set[int] = set()
        """Whose documents are here."""
        self._gone: set[int] = set()
        """Versions without passages: their documents were removed, and they are still in a run."""
        self._loading = asyncio.Lock()
        self._told = False

    async def has(self, session: AsyncSession, index: Index, known: Known, most: int | None) -> bool:
        """Whether all of `known` is here, once at most `most` documents have been read."""
        if self.store.forgotten:
            return False
        for run in known.runs:
            if run not in self._runs:
                versions = await postings.versions_of_run(session, run)
                if versions is None or not await self._has(session, index, versions, most):
                    return False
                self._runs.add(run)
        return await self._has(session, index, known.fresh, most)

    async def _has(self, session: AsyncSession, index: Index, versions: Versions, most: int | None) -> bool:
        missing = self._missing(versions)
        if most is not None and len(missing) > most:
            return False
        if len(missing):
            await self.load(session, index, missing)
        return not self.store.forgotten

    def _missing(self, versions: Versions) -> Versions:
        missing = self.store.missing(versions)
        if not len(missing) or not self._gone:
            return missing
        return np.array([version for version in missing.tolist() if version not in self._gone], np.int32)

    async def load(self, session: AsyncSession, index: Index, versions: Versions) -> None:
        """Read what is missing of `versions`."""
        missing = self._missing(versions)
        while len(missing):
            async with self._loading:
                part = self._missing(missing[:_TOGETHER])
                if len(part):
                    await self._put(part, await repository.all_passages(session, index, part))
            missing = missing[_TOGETHER:]

    async def holding(self, session: AsyncSession, index: Index, versions: Versions) -> list[Store]:
        """Stores that hold all passages of `versions` among them, each in one."""
        await self.load(session, index, versions)
        store = self.store
        if not store.forgotten:
            return [store]
        # There is no room for all of them.
        missing = self._missing(versions)
        stores = [store]
        for start in range(0, len(missing), _TOGETHER):
            passages = await repository.all_passages(session, index, missing[start : start + _TOGETHER])
            beside = Store(index.dimensions, len(passages.versions))
            await offload.in_thread(beside.put, passages)
            stores.append(beside)
        return stores

    async def _put(self, versions: Versions, passages: Passages) -> None:
        if len(passages.versions) <= _TURNED_INLINE:
            self.store.put(passages)
        else:
            await offload.in_thread(self.store.put, passages)
        self._gone.update(versions[~np.isin(versions, passages.versions)].tolist())

    async def keep_up(self, session: AsyncSession, index: Index) -> None:
        """Read all that is missing, and leave behind what is gone."""
        known = await postings.known(session, index.slot)
        before = len(self.store)
        if not await self.has(session, index, known, None):
            if self.store.forgotten and not self._told:
                log.warning(
                    "%.0f MB do not hold the vectors of all passages: searches ask pgvector's index, which is slower;"
                    " raise PLUMBLINE_SEARCH_VECTORS_IN_MEMORY_MB",
                    self.store.megabytes,
                )
                self._told = True
            return
        if len(self.store) - before > _TOLD:
            log.info("%d passages are in memory, %.0f MB", len(self.store), self.store.megabytes)
        if gone := self._runs - set(known.runs):
            self._runs -= gone
            await self._leave_behind(session, known.fresh)

    async def _leave_behind(self, session: AsyncSession, fresh: Versions) -> None:
        """What is in no run any more."""
        runs = set(self._runs)
        parts = [await postings.versions_of_run(session, run) for run in runs]
        there = [part for part in parts if part is not None]
        if len(there) < len(runs):
            return  # they have been merged meanwhile
        alive = np.concatenate([fresh, *there])
        async with self._loading:
            versions = self.store.versions()
            if np.count_nonzero(~np.isin(versions, alive)) > DESERTED * len(versions):
                # Runs that a search has seen since are looked at again.
                self._runs &= runs
                self.store = await offload.in_thread(self.store.only, alive)
                self._gone = set()
                log.info("%d passages are in memory, %d before", len(self.store), len(versions))
