"""The passages of the live index in memory, complete by what is committed: the vector leg compares with all of them.

What an index has, the inverted index tells: the documents of immutable runs, and the fresh ones. A search asks which
there are, and reads what is not here yet. Where that is much, at a start or where memory does not suffice, the search
asks pgvector's index instead.
"""

import asyncio
import copy
import logging
import time

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, offload
from plumbline_search.embedding.embedder import Vector
from plumbline_search.indexes.repository import Index
from plumbline_search.indexes.serving import Serving
from plumbline_search.passages import repository, scoring
from plumbline_search.passages.store import Compared, Kept, Store, bytes_of_passage, joined, together
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
LOOK_SECONDS = 60.0
"""Now and then: whether removed documents are still without passages, and whether all fit again."""
ROOMY = 0.8
_PAUSE_SECONDS = 0.5
_TOLD = 10_000
"""New passages that are worth a line in the log."""


class Memory:
    """At most `megabytes`, but for the moments in which what is gone is left behind."""

    def __init__(self, megabytes: int) -> None:
        self._bytes = megabytes * 1024 * 1024
        self._held: dict[int, _Held] = {}

    async def run(self, sessions: db.Sessions, serving: Serving) -> None:
        """Until it is cancelled: read what searches would wait for."""
        while True:
            index = serving.live
            held = await self._of(index)
            async with sessions() as session:
                await held.keep_up(session, index)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _of(self, index: Index) -> "_Held":
        if index.id not in self._held:
            # Seconds, for a model of another size.
            await offload.in_thread(scoring.compile_all, index.dimensions)
            capacity = max(1, self._bytes // bytes_of_passage(index.dimensions))
            self._held.setdefault(index.id, _Held(Store(index.dimensions, capacity)))
            # Searches that began before a swap still ask the index before.
            newest = sorted(self._held)[-2:]
            self._held = {id: self._held[id] for id in {*newest, index.id}}
        return self._held[index.id]

    async def holds(self, session: AsyncSession, index: Index, known: Known) -> bool:
        """Whether all of `known` is here, once the little that was missing has been read."""
        return await (await self._of(index)).has(session, index, known, LOADED_BY_SEARCH)

    async def nearest(self, index: Index, vector: Vector, most: int) -> Compared:
        """About the `most` nearest of the passages that are here, in order."""
        store = (await self._of(index)).store
        turned = store.turned(vector)
        if len(store) <= INLINE:
            return store.nearest(turned, most)
        return await offload.in_thread(store.nearest, turned, most)

    async def nearest_of(
        self, session: AsyncSession, index: Index, versions: Versions, vector: Vector, most: int
    ) -> Compared:
        """The same of the passages of `versions`."""
        found = []
        for store in await (await self._of(index)).holding(session, index, versions):
            turned = store.turned(vector)
            if len(versions) <= INLINE_COMPARED:
                found.append(store.compared(versions, turned).best(most))
            else:
                found.append(await offload.in_thread(store.nearest, turned, most, versions))
        return joined(found).best(most)

    async def kept(self, session: AsyncSession, index: Index, versions: Versions, vector: Vector) -> Kept:
        """Every passage of `versions` that the index has."""
        stores = await (await self._of(index)).holding(session, index, versions)
        return together([store.kept(versions, store.turned(vector)) for store in stores])


class _Held:
    """Of one index."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._runs: set[int] = set()
        """Whose documents are here."""
        self._gone: set[int] = set()
        """Versions of the index without passages: their documents were removed, and they are still in a run."""
        self._loading = asyncio.Lock()
        self._told = False
        self._looked_at = time.monotonic()

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
        for start in range(0, len(missing), _TOGETHER):
            self._gone |= await self._load(session, index, missing[start : start + _TOGETHER])
        return not self.store.forgotten

    def _missing(self, versions: Versions) -> Versions:
        missing = self.store.missing(versions)
        if not len(missing) or not self._gone:
            return missing
        return np.array([version for version in missing.tolist() if version not in self._gone], np.int32)

    async def _load(self, session: AsyncSession, index: Index, versions: Versions) -> set[int]:
        """Read what is missing of `versions`. Returns those without passages."""
        async with self._loading:
            missing = self._missing(versions)
            if not len(missing):
                return set()
            passages = await repository.all_passages(session, index, missing)
            if len(passages.versions) <= _TURNED_INLINE:
                self.store.put(passages)
            else:
                await offload.in_thread(self.store.put, passages)
            return set(missing[~np.isin(missing, passages.versions)].tolist())

    async def holding(self, session: AsyncSession, index: Index, versions: Versions) -> list[Store]:
        """Stores that hold all passages of `versions` among them, each in one."""
        missing = self._missing(versions)
        for start in range(0, len(missing), _TOGETHER):
            # What has no passages may be about to be repaired: only of what the index has that is remembered.
            await self._load(session, index, missing[start : start + _TOGETHER])
        # As it is now: others may add to it, and forget.
        stores = [copy.copy(self.store)]
        if self.store.forgotten:
            # There is no room for all of them.
            missing = self._missing(versions)
            for start in range(0, len(missing), _TOGETHER):
                passages = await repository.all_passages(session, index, missing[start : start + _TOGETHER])
                beside = Store(index.dimensions, len(passages.versions))
                await offload.in_thread(beside.put, passages)
                stores.append(beside)
        return stores

    async def keep_up(self, session: AsyncSession, index: Index) -> None:
        """Read all that is missing, and leave behind what is gone."""
        is_time = time.monotonic() - self._looked_at >= LOOK_SECONDS
        if is_time:
            self._looked_at = time.monotonic()
            self._gone = set()
        if self.store.forgotten:
            if not self._told:
                log.warning(
                    "%.0f MB do not hold the vectors of all passages: searches ask pgvector's index, which is slower;"
                    " raise PLUMBLINE_SEARCH_VECTORS_IN_MEMORY_MB",
                    self.store.megabytes,
                )
                self._told = True
            if not is_time or await repository.count(session, index) > ROOMY * self.store.capacity:
                return
            async with self._loading:
                self.store, self._runs, self._told = Store(index.dimensions, self.store.capacity), set(), False
        before = self.store.versions()
        known = await postings.known(session, index.slot)
        if not await self.has(session, index, known, None):
            return
        if len(self.store) - len(before) > _TOLD:
            log.info("%d passages are in memory, %.0f MB", len(self.store), self.store.megabytes)
        if self._runs - set(known.runs):
            self._runs &= set(known.runs)
            await self._leave_behind(session, before, known)

    async def _leave_behind(self, session: AsyncSession, before: Versions, known: Known) -> None:
        """What was here `before` and is not `known` any more: a version does not come back."""
        parts = [await postings.versions_of_run(session, run) for run in known.runs]
        there = [part for part in parts if part is not None]
        if len(there) < len(parts):
            return  # they have been merged meanwhile
        dead = before[~np.isin(before, np.concatenate([known.fresh, *there]))]
        if len(dead) <= DESERTED * len(before):
            return
        async with self._loading:
            versions = self.store.versions()
            self.store = await offload.in_thread(self.store.only, versions[~np.isin(versions, dead)])
        log.info("%d passages are in memory, %d before", len(self.store), len(versions))
