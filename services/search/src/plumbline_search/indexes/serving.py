"""Which indexes this process asks and writes, and by which models."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from plumbline_common import db
from plumbline_common.errors import Unavailable
from plumbline_search.embedding.embedder import Embedder
from plumbline_search.indexes import repository
from plumbline_search.indexes.repository import Index

log = logging.getLogger(__name__)

HEARD_SECONDS = 1.0
"""After so long every process knows of a swap."""


async def found(sessions: db.Sessions) -> Sequence[Index]:
    """Which indexes there are. A database that is down, or has not been migrated, is waited for."""
    while True:
        try:
            async with sessions() as session:
                return await repository.every(session)
        except (DBAPIError, PoolTimeout, Unavailable) as error:
            log.warning("the start waits for the database: %s", error)
            await asyncio.sleep(HEARD_SECONDS)


class NoIndex(Unavailable):
    slug = "no-index"
    title = "There is no index yet, or this process cannot write it"


class Serving:
    """The indexes as they were a second ago, none before the first `refresh`.

    `models` are those that this process can embed by, by their names.
    """

    def __init__(self, sessions: db.Sessions, models: Mapping[str, Embedder]) -> None:
        self._sessions = sessions
        self._indexes: Sequence[Index] = ()
        self.models = models

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(HEARD_SECONDS)
            try:
                await self.refresh()
            except Exception as error:
                log.warning("could not see which indexes there are: %r", error)

    async def refresh(self) -> None:
        async with self._sessions() as session:
            self._indexes = await repository.every(session)

    async def check(self) -> None:
        """For `/readyz`: raises `NoIndex`."""
        _ = self.live

    @property
    def live(self) -> Index:
        """What searches ask. Raises `NoIndex`."""
        for index in self._indexes:
            if index.state == "live":
                return index
        raise NoIndex("this process has not seen one in the database yet; try again")

    @property
    def building(self) -> Index | None:
        return next((index for index in self._indexes if index.state == "building"), None)

    @property
    def written(self) -> list[Index]:
        """What documents are put into: the live one, and one that is built. Raises `NoIndex`."""
        known = [index for index in self._indexes if index.state != "old" and index.model in self.models]
        if not any(index.state == "live" for index in known):
            raise NoIndex(f"it is of the model {self.live.model}, which this process does not have")
        return known

    def embedder(self, index: Index) -> Embedder | None:
        """None where this process does not have its model."""
        return self.models.get(index.model)
