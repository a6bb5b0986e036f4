"""Answers that were given lately. One is given again as long as nothing that it was made from has changed.

Each process keeps those that it gave, and leaves them for the others in `search_answers`.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search.postings.repository import Known
from plumbline_search.searches import repository
from plumbline_search.searches.looking import Look

_SECONDS = 60.0
"""Ages of documents count in days, and other processes may repair an index."""
_GATHER = 0.05
"""Answers that come within so many seconds are left together."""
_LEFT_AT_ONCE = 200


@dataclass(frozen=True)
class Answer:
    """`until` by the monotonic clock."""

    body: bytes
    known: Known
    snapshot: str
    until: float


class Answers:
    """At most so many `megabytes`, the latest used ones. Keys are digests of all that an answer depends on."""

    def __init__(self, megabytes: int = 16) -> None:
        self._most = megabytes * 1024 * 1024
        self._bytes = 0
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._to_leave: dict[bytes, Answer] = {}
        self._came = asyncio.Event()

    async def get(self, session: AsyncSession, key: bytes, look: Look) -> bytes | None:
        """The answer that this process gave to `key`, where it is the same by what is committed. Where there is one,
        it checks `look`."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until > time.monotonic() and await repository.still(session, look, kept.known, kept.snapshot):
            if key in self._kept:
                self._kept.move_to_end(key)
            return kept.body
        self._drop(key)
        return None

    async def left(self, session: AsyncSession, key: bytes, look: Look) -> bytes | None:
        """The answer that another process gave, likewise. It checks `look`."""
        found = await repository.left(session, look, key)
        if found is None or found.known != _digest(look.known):
            return None
        self._keep(key, Answer(found.body, look.known, found.snapshot, time.monotonic() + found.seconds))
        return found.body

    def put(self, key: bytes, body: bytes, look: Look) -> None:
        """An answer that was made from what there was at `look` or later."""
        answer = Answer(body, look.known, look.snapshot, time.monotonic() + _SECONDS)
        self._keep(key, answer)
        if len(self._to_leave) < _LEFT_AT_ONCE:
            self._to_leave[key] = answer
            self._came.set()

    async def run(self, sessions: db.Sessions) -> None:
        """For ever, leave what was put for other processes, and remove what is too old to be given."""
        while True:
            try:
                await asyncio.wait_for(self._came.wait(), _SECONDS)
                await asyncio.sleep(_GATHER)
            except TimeoutError:
                pass
            self._came.clear()
            given, self._to_leave = self._to_leave, {}
            now = time.monotonic()
            async with sessions.begin() as session:
                await repository.leave(
                    session,
                    [
                        repository.Left(key, each.body, _digest(each.known), each.snapshot, each.until - now)
                        for key, each in given.items()
                    ],
                )

    def _keep(self, key: bytes, answer: Answer) -> None:
        self._drop(key)
        self._kept[key] = answer
        self._bytes += len(answer.body)
        while self._bytes > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        if (dropped := self._kept.pop(key, None)) is not None:
            self._bytes -= len(dropped.body)


def _digest(known: Known) -> bytes:
    runs, fresh = known.packed
    return hashlib.blake2b(repr((runs, fresh)).encode(), digest_size=16).digest()
