"""The lexical leg: a query's terms in, scored documents out, of the index in a slot."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import offload
from plumbline_search.postings import repository, scoring
from plumbline_search.postings.repository import Known
from plumbline_search.postings.scoring import NOTHING, Fresh, Matches, Postings, Run, Versions

_INLINE = 500_000
"""Postings that are scored on the event loop: about a millisecond. More go to a thread, which runs beside."""

_OVERHEAD = 500
"""Bytes of a list beside its postings."""


class Reader:
    """Keeps what it has read of runs, which never change: 20 bytes a document, and the postings that were asked for
    last, at most `megabytes` of them."""

    def __init__(self, megabytes: int = 128) -> None:
        self._runs: dict[int, Run] = {}
        self._fresh: dict[tuple[int, int], Fresh] = {}
        self._lists = _Lists(megabytes * 1024 * 1024)

    async def matches(
        self, session: AsyncSession, slot: int, query: Mapping[int, float], known: Known | None = None
    ) -> Matches:
        """What holds any of the terms, by what is committed; `known`, where it has just been asked for.

        `session` must be in autocommit.
        """
        if not query:
            return NOTHING
        runs, postings, fresh = await self._read(session, slot, list(query), known)
        if sum(len(each.documents) for each in postings) <= _INLINE:
            return scoring.score(query, runs, postings, fresh)
        return await offload.in_thread(scoring.score, query, runs, postings, fresh)

    async def holding(
        self, session: AsyncSession, slot: int, terms: Collection[int], known: Known | None = None
    ) -> Versions:
        """What holds each of the terms, at least one; `known` as for `matches`."""
        return scoring.holding(terms, *await self._read(session, slot, list(terms), known))

    async def _read(
        self, session: AsyncSession, slot: int, terms: Sequence[int], known: Known | None
    ) -> tuple[list[Run], list[Postings], list[Fresh]]:
        while True:
            if known is None:
                known = await repository.known(session, slot)
            # A merge may have ended between two statements: then the first is out of date.
            runs = await self._held(session, known.runs)
            postings = None if runs is None else await self._postings(session, known.runs, terms)
            fresh = None if postings is None else await self._fresh_ones(session, slot, known)
            if runs is not None and postings is not None and fresh is not None:
                return runs, postings, fresh
            known = None

    async def _held(self, session: AsyncSession, ids: Sequence[int]) -> list[Run] | None:
        """The runs `ids`; None where one of them is gone."""
        if missing := [id for id in ids if id not in self._runs]:
            read = await repository.runs(session, missing)
            self._runs |= {run.id: run for run in read}
            if not all(id in self._runs for id in ids):
                return None
            runs = [self._runs[id] for id in ids]
            self._runs = {run.id: run for run in runs}
            self._lists.keep(self._runs)
            return runs
        return [self._runs[id] for id in ids]

    async def _postings(
        self, session: AsyncSession, runs: Sequence[int], terms: Sequence[int]
    ) -> list[Postings] | None:
        """Of `terms` in `runs`; None where one of them is gone."""
        wanted = [(run, term) for run in runs for term in terms]
        found = {key: kept for key in wanted if (kept := self._lists.get(key)) is not None}
        if unread := [key for key in wanted if key not in found]:
            of, which = list({run for run, _ in unread}), list({term for _, term in unread})
            read, there = await repository.lists(session, of, which)
            if there != set(of):
                return None
            for run, term in unread:
                found[run, term] = read.get((run, term)) or scoring.unpack(run, term, b"")
                self._lists.put(found[run, term])
        return [each for each in found.values() if len(each.documents)]

    async def _fresh_ones(self, session: AsyncSession, slot: int, known: Known) -> list[Fresh] | None:
        """None where one of them is not fresh any more."""
        versions = known.fresh.tolist()
        if unread := [version for version in versions if (slot, version) not in self._fresh]:
            for each in await repository.fresh(session, slot, unread):
                self._fresh[slot, each.version] = each
        found = {(slot, version): self._fresh.get((slot, version)) for version in versions}
        there = {key: each for key, each in found.items() if each is not None}
        if len(there) < len(found):
            return None
        if len(self._fresh) > 2 * len(there):
            self._fresh = there
        return list(there.values())


class _Lists:
    """Postings by run and term, the latest used ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, int], Postings] = OrderedDict()

    def get(self, key: tuple[int, int]) -> Postings | None:
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, postings: Postings) -> None:
        key = (postings.run, postings.term)
        if key not in self._kept:
            self._bytes += _size(postings)
        self._kept[key] = postings
        while self._bytes > self._most:
            self._bytes -= _size(self._kept.popitem(last=False)[1])

    def keep(self, runs: Collection[int]) -> None:
        for key in [key for key in self._kept if key[0] not in runs]:
            self._bytes -= _size(self._kept.pop(key))


def _size(postings: Postings) -> int:
    return 6 * len(postings.documents) + _OVERHEAD
