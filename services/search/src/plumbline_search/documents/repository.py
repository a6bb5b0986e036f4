"""SQL on the documents: the write that keeps the newest revision, with what it is found by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, REAL
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_search.documents.content import Content, Document
from plumbline_search.indexes.repository import WRITING, Index
from plumbline_search.models import SearchDocument

# One round trip decides and writes. Of one revision the later change wins, and its deletion over every change;
# after a deletion only a higher revision comes back. Equal ones change nothing, so a double has no effect.
# The version that was proposed, which every call draws, is taken where the text is another than before.
_PUT = text(
    "INSERT INTO search_documents AS d"  # noqa: S608 - own names
    " (kind, entity_id, external_id, revision, deleted, key, title, body, service,"
    " team, state, facets, url, readers, updated_at)"
    " VALUES (:kind, :entity_id, :external_id, :revision, :deleted, :key, :title, :body, :service,"
    " :team, :state, :facets, :url, :readers, :updated_at)"
    " ON CONFLICT (kind, entity_id) DO UPDATE SET revision = excluded.revision, deleted = excluded.deleted,"
    " key = excluded.key, title = excluded.title, body = excluded.body, service = excluded.service,"
    " team = excluded.team, state = excluded.state, facets = excluded.facets, updated_at = excluded.updated_at,"
    " external_id = excluded.external_id, url = excluded.url, readers = excluded.readers,"
    " version = CASE WHEN NOT d.deleted AND NOT excluded.deleted"
    "  AND (d.key, d.title, d.body) IS NOT DISTINCT FROM (excluded.key, excluded.title, excluded.body)"
    "  THEN d.version ELSE excluded.version END"
    " WHERE d.revision < excluded.revision OR (d.revision = excluded.revision AND NOT d.deleted"
    "  AND (excluded.deleted OR d.updated_at < excluded.updated_at))"
    " RETURNING id, version, version = currval('search_versions') AS rewritten,"
    f" pg_advisory_xact_lock_shared({WRITING})::text AS writing"
).bindparams(
    bindparam("entity_id", type_=sa.Uuid),
    bindparam("revision", type_=sa.BigInteger),
    bindparam("deleted", type_=sa.Boolean),
    *(bindparam(name, type_=Text) for name in ("kind", "key", "title", "body", "service", "team", "state")),
    *(bindparam(name, type_=Text) for name in ("external_id", "url")),
    bindparam("facets", type_=JSONB),
    bindparam("readers", type_=ARRAY(Text)),
    bindparam("updated_at", type_=db.timestamp()),
)
# What the text was before is found in no index any more, also in one that this process does not write.
_OUTDATED = (
    "WITH gone_0 AS (DELETE FROM search_passages_0 WHERE document = :document AND version <> :version),"
    " gone_1 AS (DELETE FROM search_passages_1 WHERE document = :document AND version <> :version),"
    " stale AS (DELETE FROM search_fresh WHERE document = :document AND version <> :version)"
)
# Vectors travel as one float4[], which asyncpg sends in binary; PostgreSQL cuts it into halfvecs.
_INDEX = (
    f"{_OUTDATED},"  # noqa: S608 - own names
    " chosen AS (SELECT slot, model FROM search_indexes WHERE id = :index AND state <> 'old'),"
    " arrival AS (INSERT INTO search_arrivals (document, rewritten) SELECT :document, true WHERE :arrives),"
    " fresh AS (INSERT INTO search_fresh (slot, version, document, length, terms, counts, words)"
    "  SELECT slot, :version, :document, :length, :terms, :counts, :words FROM chosen ON CONFLICT DO NOTHING),"
    " passages AS (INSERT INTO search_passages_{slot} (version, place, document, start, stop, kind, service, team,"
    "  state, facets, updated_at, readers, model, embedding)"
    " SELECT :version, place - 1, d.id, start, stop, kind, service, team, d.state, facets, updated_at,"
    "  readers, model,"
    "  ((:vectors)[(place - 1) * :dimensions + 1 : place * :dimensions])::halfvec"
    " FROM chosen, search_documents d, unnest(:starts, :stops) WITH ORDINALITY AS given (start, stop, place)"
    " WHERE d.id = :document ON CONFLICT DO NOTHING)"
    " SELECT id FROM search_indexes WHERE state = 'live'"
)
_INDEX_PARAMETERS: tuple[sa.BindParameter[Any], ...] = (
    bindparam("document", type_=sa.BigInteger),
    bindparam("version", type_=sa.Integer),
    bindparam("length", type_=sa.Integer),
    bindparam("terms", type_=BYTEA),
    bindparam("counts", type_=BYTEA),
    bindparam("words", type_=ARRAY(Text)),
    bindparam("vectors", type_=ARRAY(REAL)),
    bindparam("index", type_=sa.Integer),
    bindparam("arrives", type_=sa.Boolean),
    bindparam("dimensions", type_=sa.Integer),
    *(bindparam(name, type_=ARRAY(sa.Integer)) for name in ("starts", "stops")),
)
_INDEX_BY_SLOT = [text(_INDEX.replace("{slot}", str(slot))).bindparams(*_INDEX_PARAMETERS) for slot in (0, 1)]
_SET = (
    "UPDATE search_passages_{slot} p SET state = d.state, service = d.service, team = d.team, facets = d.facets,"
    " updated_at = d.updated_at, readers = d.readers"
    " FROM search_documents d WHERE d.id = :document AND p.document = d.id"
)
_REFILTER = text(
    f"WITH first AS ({_SET.format(slot=0)}),"  # noqa: S608 - own names
    " arrival AS (INSERT INTO search_arrivals (document, rewritten) VALUES (:document, false))"
    f" {_SET.format(slot=1)}"
)
_FORGET = text(f"{_OUTDATED} SELECT 1")


async def put(session: AsyncSession, document: Document) -> tuple[int, int, bool] | None:
    """Store `document` unless a revision as new is there: None then.

    Returns its row's id, the version of its text, and whether that is new: then `index` must follow.
    """
    row = (
        await session.execute(
            _PUT,
            {
                "kind": document.kind,
                "entity_id": document.entity_id,
                "revision": document.revision,
                "deleted": False,
                "key": document.key,
                "title": document.title,
                "body": document.body,
                "service": document.service,
                "team": document.team,
                "state": document.state,
                "facets": document.facets,
                "external_id": document.external_id,
                "url": document.url,
                "readers": None if document.readers is None else list(document.readers),
                "updated_at": document.updated_at,
            },
        )
    ).first()
    return None if row is None else (row.id, row.version, row.rewritten)


async def index(
    session: AsyncSession, document: int, version: int, content: Content, index: Index, *, arrives: bool = False
) -> int | None:
    """Make the row `document` found by `content`, and by nothing that it was found by before.

    It `arrives` where it is a text that was not there. Nothing is put into `index` where it has ceased to be written.
    Returns the id of the live one.
    """
    counts, vectors = content.counts, content.vectors[index.id]
    live = await session.execute(
        _INDEX_BY_SLOT[index.slot],
        {
            "index": index.id,
            "arrives": arrives,
            "document": document,
            "version": version,
            "length": sum(counts.values()),
            "terms": np.array(content.term_ids, "<i8").tobytes(),
            "counts": np.minimum(list(counts.values()), 65_535).astype("<u2").tobytes(),
            "words": list(counts),
            "starts": [passage.start for passage in content.passages],
            "stops": [passage.stop for passage in content.passages],
            "vectors": vectors.ravel().tolist(),
            "dimensions": index.dimensions,
        },
    )
    return live.scalar_one_or_none()


async def refilter(session: AsyncSession, document: int) -> None:
    """Its text is the same; what it is filtered by is not."""
    await session.execute(_REFILTER, {"document": document})


async def bury(session: AsyncSession, kind: str, entity_id: UUID, revision: int, at: datetime) -> bool:
    """Remove the content for good and remember which revision was deleted. Returns whether anything changed."""
    values: dict[str, Any] = dict.fromkeys(("key", "service", "team", "state", "external_id", "url", "readers"))
    values |= {"kind": kind, "entity_id": entity_id, "revision": revision, "deleted": True, "title": "", "body": ""}
    row = (await session.execute(_PUT, values | {"facets": {}, "updated_at": at})).first()
    if row is None:
        return False
    # No text has this version.
    await session.execute(_FORGET, {"document": row.id, "version": 0})
    return True


_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))").bindparams(bindparam("name", type_=Text))
_GIVEN = (
    SearchDocument.id,
    SearchDocument.kind,
    SearchDocument.entity_id,
    SearchDocument.external_id,
    SearchDocument.revision,
    SearchDocument.deleted,
    SearchDocument.title,
    SearchDocument.url,
    SearchDocument.service,
    SearchDocument.team,
    SearchDocument.state,
    SearchDocument.facets,
    SearchDocument.readers,
    SearchDocument.updated_at,
)


async def given(session: AsyncSession, kind: str, entity_id: UUID, *, lock: bool = False) -> sa.Row[Any] | None:
    """The document, also where it is deleted; `lock` keeps others from writing it until the transaction ends."""
    asked = select(*_GIVEN, SearchDocument.body).where(
        SearchDocument.kind == kind, SearchDocument.entity_id == entity_id
    )
    row = (await session.execute(asked.with_for_update() if lock else asked)).first()
    if row is None and lock:
        # There is no row to lock: who creates it is alone by its name, and looks again.
        await session.execute(_ALONE, {"name": f"{kind}:{entity_id}"})
        row = (await session.execute(asked.with_for_update())).first()
    return row


async def page(
    session: AsyncSession, filters: dict[str, str | None], teams: Sequence[str] | None, skip: int, limit: int
) -> tuple[Sequence[sa.Row[Any]], int]:
    """What came by the API and the `teams` may read (None: all), the latest changed first; and how many there are."""
    where: list[sa.ColumnElement[bool]] = [~SearchDocument.deleted, SearchDocument.external_id.is_not(None)]
    where += [getattr(SearchDocument, name) == value for name, value in filters.items() if value is not None]
    where += readable(SearchDocument, teams)
    rows = await session.execute(
        select(*_GIVEN)
        .where(*where)
        .order_by(SearchDocument.updated_at.desc(), SearchDocument.id.desc())
        .offset(skip)
        .limit(limit)
    )
    counted = await session.execute(select(func.count()).select_from(SearchDocument).where(*where))
    return rows.all(), counted.scalar_one()


def readable(table: Any, teams: Sequence[str] | None) -> list[sa.ColumnElement[bool]]:
    """What a caller of these teams may read; None: everything."""
    if teams is None:
        return []
    shared = table.readers.op("&&")(sa.cast(list(teams), ARRAY(Text)))
    return [sa.or_(table.readers.is_(None), shared)]


async def name_of_requirement(session: AsyncSession, id: UUID) -> str | None:
    """Its key and title, such as "REQ-42 Checkout answers fast"; None while it is not indexed."""
    found = await session.execute(
        select(func.concat_ws(" ", SearchDocument.key, SearchDocument.title)).where(
            SearchDocument.kind == "requirement", SearchDocument.entity_id == id, ~SearchDocument.deleted
        )
    )
    return found.scalar_one_or_none()
