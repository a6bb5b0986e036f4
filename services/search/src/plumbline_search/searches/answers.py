"""Answers that were given lately. One is given again as long as nothing that it was made from has changed."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_search.postings.repository import Known
from plumbline_search.searches import repository
from plumbline_search.searches.looking import Look

_SECONDS = 60.0
"""Ages of documents count in days, and other processes may repair an index."""


@dataclass(frozen=True)
class Answer:
    body: bytes
    known: Known
    snapshot: str
    until: float


class Answers:
    """At most so many `megabytes`, the latest used ones."""

    def __init__(self, megabytes: int = 16) -> None:
        self._most = megabytes * 1024 * 1024
        self._bytes = 0
        self._kept: OrderedDict[object, Answer] = OrderedDict()

    async def get(self, session: AsyncSession, key: object, look: Look) -> bytes | None:
        """The answer to `key`, where it is the same by what is committed. Where there is one, it checks `look`."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until > time.monotonic() and await repository.still(session, look, kept.known, kept.snapshot):
            if key in self._kept:
                self._kept.move_to_end(key)
            return kept.body
        self._drop(key)
        return None

    def put(self, key: object, body: bytes, look: Look) -> None:
        """An answer that was made from what there was at `look` or later."""
        self._drop(key)
        self._kept[key] = Answer(body, look.known, look.snapshot, time.monotonic() + _SECONDS)
        self._bytes += len(body)
        while self._bytes > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: object) -> None:
        if (dropped := self._kept.pop(key, None)) is not None:
            self._bytes -= len(dropped.body)
