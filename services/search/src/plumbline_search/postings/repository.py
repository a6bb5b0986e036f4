"""SQL on the inverted index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search.postings import scoring
from plumbline_search.postings.scoring import Fresh, Postings, Run, Versions

_BIGINTS = ARRAY(sa.BigInteger)
_INTS = ARRAY(sa.Integer)

# An index has the documents of its runs, and the fresh ones. One statement has one snapshot: a document is in one of
# them, whatever a merge does meanwhile.
_HAS = (
    "(SELECT string_agg(int4send(id), '' ORDER BY id) FROM search_runs WHERE slot = {slot}) AS runs,"
    " (SELECT string_agg(int4send(version), '' ORDER BY version) FROM search_fresh WHERE slot = {slot}) AS fresh,"
    " pg_current_snapshot()::text AS snapshot"
)
_LISTS = (
    "SELECT run, term, postings FROM search_postings WHERE term = ANY($1::bigint[]) AND run = ANY($2::int[])"
    " UNION ALL SELECT id, NULL, NULL FROM search_runs WHERE id = ANY($2::int[])"
)
_FRESH = "SELECT version, length, terms, counts FROM search_fresh WHERE slot = $1 AND version = ANY($2::int[])"
_VERSIONS_OF_RUN = "SELECT versions FROM search_runs WHERE id = $1"
_RUNS = text("SELECT id, versions, lengths FROM search_runs WHERE id = ANY(:ids)").bindparams(
    bindparam("ids", type_=_INTS)
)


@dataclass(frozen=True)
class Known:
    """What an index has: the documents of its `runs`, and the fresh ones."""

    runs: Sequence[int]
    fresh: Versions
    packed: tuple[bytes | None, bytes | None]

    @classmethod
    def of(cls, runs: bytes | None, fresh: bytes | None) -> Self:
        """Of packed big-endian numbers, four bytes each."""
        return cls(_numbers(runs).tolist(), _numbers(fresh), (runs, fresh))


def columns(slot: int) -> str:
    """What a statement selects to tell what the index in `slot` has: `runs` and `fresh`, packed, and `snapshot`."""
    return _HAS.format(slot=int(slot))


def _numbers(packed: bytes | None) -> npt.NDArray[np.int32]:
    return np.frombuffer(packed or b"", ">i4").astype(np.int32)


async def known(session: AsyncSession, slot: int) -> Known:
    """What the index in `slot` has now."""
    [row] = await db.fetch(session, f"SELECT {columns(slot)}")
    return Known.of(row["runs"], row["fresh"])


async def lists(
    session: AsyncSession, runs: Sequence[int], terms: Sequence[int]
) -> tuple[dict[tuple[int, int], Postings], set[int]]:
    """The postings of `terms` in `runs`, by run and term; and which of `runs` there are."""
    postings, there = {}, set()
    for run, term, packed in await db.fetch(session, _LISTS, list(terms), list(runs)):
        if term is None:
            there.add(run)
        else:
            postings[run, term] = scoring.unpack(run, term, packed)
    return postings, there


async def fresh(session: AsyncSession, slot: int, versions: Sequence[int]) -> list[Fresh]:
    """Those of `versions` that are fresh."""
    return [_fresh(*row) for row in await db.fetch(session, _FRESH, slot, list(versions))]


async def versions_of_run(session: AsyncSession, run: int) -> Versions | None:
    """None where the run has been merged into another."""
    rows = await db.fetch(session, _VERSIONS_OF_RUN, run)
    return np.frombuffer(rows[0]["versions"], "<i4") if rows else None


def _fresh(version: int, length: int, terms: bytes, counts: bytes) -> Fresh:
    return Fresh(version, length, np.frombuffer(terms, "<i8"), np.frombuffer(counts, "<u2"))


async def runs(session: AsyncSession, ids: Sequence[int]) -> list[Run]:
    """Those of `ids` that are there."""
    rows = await session.execute(_RUNS, {"ids": list(ids)})
    return [Run(id, np.frombuffer(versions, "<i4"), np.frombuffer(lengths, "<i4")) for id, versions, lengths in rows]


# --- The lexicon ----------------------------------------------------------------------------------------

_BEGINNING = text(
    "SELECT term FROM (SELECT term, documents FROM search_terms WHERE slot = :slot AND term LIKE :pattern"
    " UNION ALL SELECT word, 1 FROM search_fresh, unnest(words) AS word WHERE slot = :slot AND word LIKE :pattern"
    ") AS known"
    " GROUP BY term ORDER BY sum(documents) DESC, term LIMIT :most"
)
_LIKE = text(
    "SELECT term FROM (SELECT term, documents FROM search_terms WHERE slot = :slot AND term % :word"
    " UNION ALL SELECT word, 1 FROM search_fresh, unnest(words) AS word WHERE slot = :slot AND word % :word) AS known"
    " WHERE abs(length(term) - length(:word)) <= 2 AND term <> :word"
    " GROUP BY term ORDER BY similarity(term, :word) DESC, sum(documents) DESC, term LIMIT :most"
).bindparams(bindparam("word", type_=sa.Text))


async def beginning(session: AsyncSession, slot: int, start: str, most: int) -> list[str]:
    """Terms that begin with `start`, the most frequent first."""
    escaped = start.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rows = await session.execute(_BEGINNING, {"slot": slot, "pattern": f"{escaped}%", "most": most})
    return list(rows.scalars())


async def like(session: AsyncSession, slot: int, word: str, most: int) -> list[str]:
    """Terms that are spelt about as `word`, the nearest first (shared trigrams, Kukich 1992)."""
    return list((await session.execute(_LIKE, {"slot": slot, "word": word, "most": most})).scalars())


# --- Merging --------------------------------------------------------------------------------------------

# "runs" in ASCII: whoever merges holds it, so that there is one at a time.
_ALONE = text("SELECT pg_try_advisory_xact_lock(0x72756e73)")
_FRESHEST = text("SELECT slot, count(*) FROM search_fresh GROUP BY slot ORDER BY count(*) DESC LIMIT 1")
_TAKEN = text(
    "DELETE FROM search_fresh WHERE slot = :slot AND version IN"
    " (SELECT version FROM search_fresh WHERE slot = :slot ORDER BY version LIMIT :most)"
    " RETURNING version, length, terms, counts, words"
)
_LEVELS = text("SELECT id, slot, level, documents FROM search_runs ORDER BY slot, level, id")
_ALIVE = text("SELECT string_agg(int4send(version), ''::bytea) FROM search_documents WHERE NOT deleted")
_NEW_RUN = text(
    "INSERT INTO search_runs (slot, level, documents, versions, lengths) VALUES (:slot, :level, 0, '', '')"
    " RETURNING id"
)
_WRITE_RUN = text(
    "UPDATE search_runs SET documents = :documents, versions = :versions, lengths = :lengths WHERE id = :id"
).bindparams(bindparam("versions", type_=BYTEA), bindparam("lengths", type_=BYTEA))
_WRITE_POSTINGS = text(
    "INSERT INTO search_postings (term, run, postings)"
    " SELECT term, :run, postings FROM unnest(:terms, :postings) AS given (term, postings)"
).bindparams(
    bindparam("run", type_=sa.Integer), bindparam("terms", type_=_BIGINTS), bindparam("postings", type_=ARRAY(BYTEA))
)
# In the order of ids, so that two who write the same terms do not wait for each other in a circle.
_WRITE_TERMS = text(
    "INSERT INTO search_terms AS t (slot, id, term, documents)"
    " SELECT :slot, id, min(term), count(*) FROM unnest(:ids, :words) AS given (id, term) GROUP BY id ORDER BY id"
    " ON CONFLICT (slot, id) DO UPDATE SET documents = t.documents + excluded.documents"
).bindparams(
    bindparam("slot", type_=sa.SmallInteger),
    bindparam("ids", type_=_BIGINTS),
    bindparam("words", type_=ARRAY(sa.Text)),
)
_PAGE = text(
    "WITH page AS (SELECT DISTINCT term FROM search_postings WHERE run = ANY(:runs) AND term > :after"
    "  ORDER BY term LIMIT :most)"
    " SELECT run, term, postings FROM search_postings WHERE run = ANY(:runs)"
    "  AND term > :after AND term <= (SELECT max(term) FROM page) ORDER BY term, run"
).bindparams(bindparam("runs", type_=_INTS), bindparam("after", type_=sa.BigInteger))
_DROP = (
    text("DELETE FROM search_postings WHERE run = ANY(:ids)").bindparams(bindparam("ids", type_=_INTS)),
    text("DELETE FROM search_runs WHERE id = ANY(:ids)").bindparams(bindparam("ids", type_=_INTS)),
)


async def alone(session: AsyncSession) -> bool:
    """Whether this transaction may merge; nobody else may until it ends. Its statements may take their time."""
    await session.execute(text("SET LOCAL statement_timeout = '10min'"))
    return bool((await session.execute(_ALONE)).scalar_one())


async def waiting(session: AsyncSession) -> tuple[int, int]:
    """The slot that has the most fresh documents, and how many."""
    row = (await session.execute(_FRESHEST)).first()
    return (0, 0) if row is None else (row[0], row[1])


async def take_fresh(session: AsyncSession, slot: int, most: int) -> tuple[list[Fresh], list[tuple[int, str]]]:
    """Remove the oldest fresh documents; also their terms, by id, with repetitions."""
    fresh: list[Fresh] = []
    words: list[tuple[int, str]] = []
    for version, length, terms, counts, spelt in await session.execute(_TAKEN, {"slot": slot, "most": most}):
        each = _fresh(version, length, terms, counts)
        fresh.append(each)
        words += zip(each.terms.tolist(), spelt, strict=True)
    return fresh, words


async def levels(session: AsyncSession) -> list[sa.Row[Any]]:
    """Each run's id, slot, level and number of documents, the lowest level of a slot first."""
    return list((await session.execute(_LEVELS)).all())


async def alive(session: AsyncSession) -> Versions:
    """The versions of all documents."""
    packed = (await session.execute(_ALIVE)).scalar_one() or b""
    return np.frombuffer(packed, ">i4").astype(np.int32)


async def new_run(session: AsyncSession, slot: int, level: int) -> int:
    return int((await session.execute(_NEW_RUN, {"slot": slot, "level": level})).scalar_one())


async def write_run(session: AsyncSession, run: Run) -> None:
    await session.execute(
        _WRITE_RUN,
        {
            "id": run.id,
            "documents": len(run.versions),
            "versions": run.versions.astype("<i4").tobytes(),
            "lengths": run.lengths.astype("<i4").tobytes(),
        },
    )


async def write_postings(session: AsyncSession, run: int, packed: dict[int, bytes]) -> None:
    if packed:
        await session.execute(_WRITE_POSTINGS, {"run": run, "terms": list(packed), "postings": list(packed.values())})


async def write_terms(session: AsyncSession, slot: int, words: Sequence[tuple[int, str]]) -> None:
    ids, spelt = [id for id, _ in words], [word for _, word in words]
    await session.execute(_WRITE_TERMS, {"slot": slot, "ids": ids, "words": spelt})


async def page(session: AsyncSession, runs: Sequence[int], after: int, most: int) -> list[Postings]:
    """The postings of the next `most` terms in the order of terms; empty after the last."""
    rows = await session.execute(_PAGE, {"runs": list(runs), "after": after, "most": most})
    return [scoring.unpack(run, term, packed) for run, term, packed in rows]


async def drop(session: AsyncSession, runs: Sequence[int]) -> None:
    for statement in _DROP:
        await session.execute(statement, {"ids": list(runs)})
