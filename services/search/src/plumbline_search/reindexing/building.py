"""Builds an index beside the live one, swaps it in, and keeps the live one complete.

Every process with the index's model takes part. Nothing is lost with one that dies: what an index lacks is seen by
comparing it with the documents, before it becomes the live one and every few minutes afterwards.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from plumbline_common import db
from plumbline_search.documents import indexing
from plumbline_search.documents import repository as documents
from plumbline_search.embedding.embedder import Embedder, Urgency
from plumbline_search.indexes import repository
from plumbline_search.indexes.repository import Index
from plumbline_search.indexes.serving import HEARD_SECONDS, Serving
from plumbline_search.text import analysis

log = logging.getLogger(__name__)

KEPT_SECONDS = 10 * HEARD_SECONDS
"""How long an index is kept that is not live any more: by then every process knows."""
CHECK_SECONDS = 300.0
_BATCH = 16
_PAUSE_SECONDS = 2.0


class Builder:
    def __init__(self, sessions: db.Sessions, serving: Serving) -> None:
        self._sessions = sessions
        self._serving = serving
        self._awake = asyncio.Event()
        self._checked_at = 0.0

    def wake(self) -> None:
        """Look at once, also whether the live index is complete."""
        self._checked_at = 0.0
        self._awake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if not await self.step():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._awake.wait(), _PAUSE_SECONDS)
                self._awake.clear()

    async def step(self) -> bool:
        """Some of what is due. Returns whether more may be."""
        async with self._sessions() as session:
            indexes = {index.state: index for index in await repository.every(session)}
        building, old = indexes.get("building"), indexes.get("old")
        if old is not None and (datetime.now(UTC) - old.changed_at).total_seconds() > KEPT_SECONDS:
            async with self._sessions.begin() as session:
                await repository.drop(session, old)
            log.info("dropped the index %d of %s", old.id, old.model)
            return True
        if building is not None and building.model in self._serving.models:
            return await self._build(building)
        return await self._check(indexes.get("live"))

    async def _build(self, building: Index) -> bool:
        async with self._sessions.begin() as session:
            rows = await repository.claim(session, building, _BATCH)
        if not rows:
            async with self._sessions.begin() as session:
                rows = await repository.missing(session, building, _BATCH)
        if rows:
            return bool(await self._put_in(building, rows))
        async with self._sessions.begin() as session:
            swapped = await repository.swap(session, building)
        if swapped:
            log.info("the index %d of %s is live", building.id, building.model)
            await self._serving.refresh()
        return swapped

    async def _check(self, live: Index | None) -> bool:
        """Every few minutes: whether the live index has all documents, and no more."""
        now = asyncio.get_running_loop().time()
        if live is None or live.model not in self._serving.models or now - self._checked_at < CHECK_SECONDS:
            return False
        async with self._sessions.begin() as session:
            rows = await repository.missing(session, live, _BATCH)
        if rows:
            log.warning("the live index lacks documents: putting them in", extra={"documents": len(rows)})
            return bool(await self._put_in(live, rows))
        async with self._sessions.begin() as session:
            orphans = await repository.remove_orphans(session, live)
        if orphans:
            log.warning("the live index had passages of no document", extra={"passages": orphans})
        self._checked_at = now
        return False

    async def _put_in(self, index: Index, rows: Sequence[Row[Any]]) -> int:
        """What of `rows` nobody writes just now; returns how many."""
        contents = await asyncio.gather(
            *(
                indexing.read(
                    self._serving, row.key, row.title, row.body, indexes=[index], urgency=Urgency.BACKGROUND
                )
                for row in rows
            )
        )
        async with self._sessions.begin() as session:
            ids = await repository.lock(session, [row.version for row in rows])
            for row, content in zip(rows, contents, strict=True):
                if row.version in ids:
                    await documents.index(session, ids[row.version], row.version, content, index)
            await repository.count_done(session, index, len(ids))
        return len(ids)


async def begin_where_due(sessions: db.Sessions, configured: Embedder) -> None:
    """Begin to build where the live index is of another model or analysis than what is configured.

    At the start of a process only: while old and new processes run beside each other, they must not take turns.
    """
    async with sessions.begin() as session:
        indexes = {index.state: index for index in await repository.every(session)}
        live = indexes.get("live")
        if live is None or "building" in indexes:
            return
        if (live.model, live.analysis) == (configured.model, analysis.VERSION):
            return
        begun = await repository.begin(
            session, configured.model, configured.dimensions, analysis.VERSION, "configuration"
        )
    if begun is not None:
        log.info("building the index %d of %s beside that of %s", begun, configured.model, live.model)
