"""Indexes anew what another analysis or another model has indexed, in the background, a few documents at a time.

Until its turn comes a document is found by what it was indexed with before, where that can still be compared.
"""

import asyncio
import logging

from plumbline_common import db
from plumbline_search.documents import indexing, repository
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.embedding.model_store import MODEL

log = logging.getLogger(__name__)

_BATCH = 16
_PAUSE_SECONDS = 30.0


class Refresher:
    def __init__(self, sessions: db.Sessions, embedder: Embedder) -> None:
        self._sessions = sessions
        self._embedder = embedder

    async def run(self) -> None:
        """Until it is cancelled."""
        done = 0
        while True:
            if count := await self.step():
                done += count
                continue
            if done:
                log.info("indexed %d documents anew as %s", done, indexing.INDEXED)
                done = 0
            await asyncio.sleep(_PAUSE_SECONDS)

    async def step(self) -> int:
        """Some documents; returns how many."""
        async with self._sessions() as session:
            rows = await repository.outdated(session, indexing.INDEXED, _BATCH)
        for row in rows:
            found_by = await indexing.read(self._embedder, row.key, row.title, row.body)
            async with self._sessions.begin() as session:
                version = await repository.renumber(session, row.id, row.version, indexing.INDEXED)
                # None: it changed meanwhile, and who changed it has indexed it.
                if version is not None:
                    await repository.index(session, row.id, version, found_by, MODEL)
        return len(rows)
