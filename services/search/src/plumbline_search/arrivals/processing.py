"""What happens to a document once it is found: duplicates are suspected, saved searches told.

Each arrival is written with its document and taken with the commit of what it led to: a crash loses none and tells
none twice. Whatever two documents came at the same time, the one that is taken later meets the other.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, offload, outbox
from plumbline_common.events import DuplicateSuspected, SearchMatched, SuspectedDuplicate
from plumbline_search.arrivals import repository
from plumbline_search.saved import matching
from plumbline_search.saved import repository as saved
from plumbline_search.saved.matching import Wanted
from plumbline_search.searches import duplicates, similar
from plumbline_search.searches import repository as searches
from plumbline_search.searches.filters import AllOf, IsIn, NotThis
from plumbline_search.searches.legs import Tools
from plumbline_search.searches.repository import Gate

log = logging.getLogger(__name__)

TOGETHER = 32
PAIRS = 20
_PAUSE_SECONDS = 0.25
_OVER = ("retired", "rejected")
_DEMANDS = Gate(
    AllOf.model_construct(
        all=[
            IsIn.model_validate({"facet": "kind", "in": ["requirement"]}),
            NotThis.model_validate({"not": {"facet": "state", "in": list(_OVER)}}),
        ]
    )
)


class Arrivals:
    def __init__(self, sessions: db.Sessions, tools: Tools) -> None:
        self._sessions = sessions
        self._tools = tools

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if not await self.step():
                await asyncio.sleep(_PAUSE_SECONDS)

    async def step(self) -> bool:
        """Some arrivals. Returns whether there were any."""
        try:
            return await self._taken(TOGETHER) > 0
        except Exception as error:
            if db.is_transient(error):
                raise
            log.warning("arrivals failed together, and are taken one by one: %r", error)
        for _ in range(TOGETHER):
            try:
                if not await self._taken(1):
                    break
            except Exception as error:
                if db.is_transient(error):
                    raise
                # It would stop all others for good. Its document is found all the same.
                async with self._sessions.begin() as session:
                    lost = await repository.take(session, 1)
                log.error("no duplicates and no saved searches for %s: %r", lost, error, exc_info=error)
        return True

    async def _taken(self, most: int) -> int:
        async with self._sessions.begin() as session:
            taken = await repository.take(session, most)
            rows = await repository.documents(session, list(taken))
            for row in rows:
                if row.kind == "requirement" and taken[row.id] and row.state not in _OVER:
                    await self._suspect(session, row)
            await self._tell(session, rows)
        return len(taken)

    async def _suspect(self, session: AsyncSession, row: Row[Any]) -> None:
        index = self._tools.serving.live
        found = await similar.alike(session, self._tools, index, row.version, _DEMANDS)
        near = {each.version: each for each in found if duplicates.is_suspected(each.similarity, same_service=True)}
        pairs = []
        for other in await searches.whole(session, list(near)):
            same = row.service is not None and row.service == other.service
            similarity = near[other.version].similarity
            if duplicates.is_suspected(similarity, same_service=same):
                words = duplicates.shared_words(f"{row.title}\n{row.body}", f"{other.title}\n{other.body}")
                pairs.append(
                    SuspectedDuplicate(
                        requirement_id=other.entity_id,
                        requirement_key=other.key,
                        title=other.title,
                        service=other.service,
                        same_service=same,
                        similarity=round(similarity, 4),
                        shared_words=words,
                    )
                )
        if pairs:
            pairs.sort(key=lambda pair: -pair.similarity)
            event = DuplicateSuspected(
                requirement_id=row.entity_id,
                requirement_key=row.key,
                requirement_revision=row.revision,
                service=row.service,
                pairs=pairs[:PAIRS],
                model=index.model,
                at=datetime.now(UTC),
            )
            await outbox.stage(session, event)

    async def _tell(self, session: AsyncSession, rows: Sequence[Row[Any]]) -> None:
        wanted = await saved.wanted(session) if rows else []
        if not wanted:
            return
        candidates = await offload.in_thread(_candidates, wanted, rows)
        by_id = {row.id: row for row in rows}
        for each, ids in candidates:
            passing = await searches.passing_ids(session, ids, Gate(each.condition, [each.team]))
            for id in await repository.told(session, each.id, passing) if passing else ():
                row = by_id[id]
                event = SearchMatched(
                    saved_search_id=each.id,
                    name=each.name,
                    team=each.team,
                    kind=row.kind,
                    entity_id=row.entity_id,
                    revision=row.revision,
                    document_key=row.key,
                    external_id=row.external_id,
                    service=row.service,
                    at=datetime.now(UTC),
                )
                await outbox.stage(session, event)


def _candidates(wanted: Sequence[Wanted], rows: Sequence[Row[Any]]) -> list[tuple[Wanted, list[int]]]:
    """Of each saved search the documents that hold what its query asks for."""
    texts = [(row, matching.Text.of(row.key, row.title, row.body)) for row in rows]
    found = [
        (each, [row.id for row, text in texts if row.version > each.since and matching.holds(text, each.question)])
        for each in wanted
    ]
    return [(each, ids) for each, ids in found if ids]
