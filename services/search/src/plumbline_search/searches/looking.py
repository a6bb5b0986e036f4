"""What a search takes the index to have, and how it is known whether that is so."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search.indexes.repository import Index
from plumbline_search.postings import repository as postings
from plumbline_search.postings.repository import Known


class Outdated(Exception):
    """The index has something else than it was taken to have."""


@dataclass
class Look:
    """What a search takes `index` to have.

    Until it `is_checked` that is what another search saw. A statement that asks for `columns` besides what it is for
    tells whether it is so still: none is needed for that alone.
    """

    index: Index
    known: Known
    snapshot: str
    """PostgreSQL's: what was seen is as of it or later."""
    is_checked: bool = True
    was_right: bool = True

    @property
    def columns(self) -> str:
        return postings.columns(self.index.slot)

    def see(self, row: Any) -> None:
        """From now on it is what a row with `columns` says."""
        self.is_checked, self.snapshot = True, row["snapshot"]
        if (row["runs"], row["fresh"]) != self.known.packed:
            self.known, self.was_right = Known.of(row["runs"], row["fresh"]), False

    def check(self, row: Any) -> None:
        """The same for who has used what was taken to be there. Raises `Outdated`."""
        self.see(row)
        if not self.was_right:
            raise Outdated


async def look(session: AsyncSession, index: Index) -> Look:
    """At what `index` has now."""
    [row] = await db.fetch(session, f"SELECT {postings.columns(index.slot)}")
    return Look(index, Known.of(row["runs"], row["fresh"]), row["snapshot"])


class Looks:
    """What searches saw last, by index."""

    def __init__(self) -> None:
        self._last: dict[int, Look] = {}

    async def look(self, session: AsyncSession, index: Index) -> Look:
        """As it was seen last, to be checked; where that had just become wrong, as it is now."""
        last = self._last.get(index.id)
        if last is not None and last.was_right:
            return Look(index, last.known, last.snapshot, is_checked=False)
        found = await look(session, index)
        found.was_right = last is None or found.known.packed == last.known.packed
        return found

    def remember(self, look: Look) -> None:
        if look.is_checked:
            self._last[look.index.id] = look
            while len(self._last) > 2:
                del self._last[min(self._last)]
