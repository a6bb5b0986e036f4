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
from plumbline_search.embedding.model_store import DIMENSIONS
from plumbline_search.models import SearchDocument

# One round trip decides and writes. Of one revision the later change wins, and its deletion over every change;
# after a deletion only a higher revision comes back. Equal ones change nothing, so a double has no effect.
# The version that was proposed, which every call draws, is taken where the text is another than before.
_PUT = text(
    "INSERT INTO search_documents AS d (kind, entity_id, external_id, revision, deleted, key, title, body, service,"
    " team, state, facets, url, readers, updated_at, indexed)"
    " VALUES (:kind, :entity_id, :external_id, :revision, :deleted, :key, :title, :body, :service,"
    " :team, :state, :facets, :url, :readers, :updated_at, :indexed)"
    " ON CONFLICT (kind, entity_id) DO UPDATE SET revision = excluded.revision, deleted = excluded.deleted,"
    " key = excluded.key, title = excluded.title, body = excluded.body, service = excluded.service,"
    " team = excluded.team, state = excluded.state, facets = excluded.facets, updated_at = excluded.updated_at,"
    " external_id = excluded.external_id, url = excluded.url, readers = excluded.readers,"
    " indexed = excluded.indexed, version = CASE WHEN NOT d.deleted AND NOT excluded.deleted"
    "  AND (d.key, d.title, d.body, d.indexed)"
    "   IS NOT DISTINCT FROM (excluded.key, excluded.title, excluded.body, excluded.indexed)"
    "  THEN d.version ELSE excluded.version END"
    " WHERE d.revision < excluded.revision OR (d.revision = excluded.revision AND NOT d.deleted"
    "  AND (excluded.deleted OR d.updated_at < excluded.updated_at))"
    " RETURNING id, version, version = currval('search_versions') AS rewritten"
).bindparams(
    bindparam("entity_id", type_=sa.Uuid),
    bindparam("revision", type_=sa.BigInteger),
    bindparam("deleted", type_=sa.Boolean),
    *(
        bindparam(name, type_=Text)
        for name in ("kind", "key", "title", "body", "service", "team", "state", "indexed")
    ),
    *(bindparam(name, type_=Text) for name in ("external_id", "url")),
    bindparam("facets", type_=JSONB),
    bindparam("readers", type_=ARRAY(Text)),
    bindparam("updated_at", type_=db.timestamp()),
)
# Vectors travel as one float4[], which asyncpg sends in binary; PostgreSQL cuts it into halfvecs.
_INDEX = text(
    "WITH gone AS (DELETE FROM search_passages WHERE document = :document AND version <> :version),"
    " stale AS (DELETE FROM search_fresh WHERE document = :document AND version <> :version),"
    " fresh AS (INSERT INTO search_fresh (version, document, length, terms, counts, words)"
    "  VALUES (:version, :document, :length, :terms, :counts, :words))"
    " INSERT INTO search_passages (version, place, document, start, stop, kind, service, team, state, facets,"
    "  updated_at, readers, model, embedding)"
    " SELECT :version, place - 1, d.id, start, stop, kind, service, team, state, facets, updated_at,"
    "  readers, :model,"
    "  ((:vectors)[(place - 1) * :dimensions + 1 : place * :dimensions])::halfvec"
    " FROM search_documents d, unnest(:starts, :stops) WITH ORDINALITY AS given (start, stop, place)"
    " WHERE d.id = :document"
).bindparams(
    bindparam("document", type_=sa.BigInteger),
    bindparam("version", type_=sa.Integer),
    bindparam("length", type_=sa.Integer),
    bindparam("terms", type_=BYTEA),
    bindparam("counts", type_=BYTEA),
    bindparam("words", type_=ARRAY(Text)),
    bindparam("vectors", type_=ARRAY(REAL)),
    bindparam("model", type_=Text),
    bindparam("dimensions", type_=sa.Integer),
    *(bindparam(name, type_=ARRAY(sa.Integer)) for name in ("starts", "stops")),
)
_REFILTER = text(
    "UPDATE search_passages p SET state = d.state, service = d.service, team = d.team, facets = d.facets,"
    " updated_at = d.updated_at, readers = d.readers"
    " FROM search_documents d WHERE d.id = :document AND p.document = d.id"
)
_FORGET = (
    text("DELETE FROM search_passages WHERE document = :document"),
    text("DELETE FROM search_fresh WHERE document = :document"),
)
_OUTDATED = text(
    "SELECT id, version, key, title, body, kind FROM search_documents"
    " WHERE NOT deleted AND (indexed < :indexed OR indexed > :indexed) LIMIT :most"
)
_RENUMBER = text(
    "UPDATE search_documents SET version = nextval('search_versions'), indexed = :indexed"
    " WHERE id = :document AND version = :version AND NOT deleted RETURNING version"
)


async def put(session: AsyncSession, document: Document, indexed: str) -> tuple[int, int, bool] | None:
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
                "indexed": indexed,
            },
        )
    ).first()
    return None if row is None else (row.id, row.version, row.rewritten)


async def index(session: AsyncSession, document: int, version: int, content: Content, model: str) -> None:
    """Make the row `document` found by `content`, and by nothing that it was found by before."""
    counts = content.counts
    await session.execute(
        _INDEX,
        {
            "document": document,
            "version": version,
            "length": sum(counts.values()),
            "terms": np.array(content.term_ids, "<i8").tobytes(),
            "counts": np.minimum(list(counts.values()), 65_535).astype("<u2").tobytes(),
            "words": list(counts),
            "starts": [passage.start for passage in content.passages],
            "stops": [passage.stop for passage in content.passages],
            "vectors": content.vectors.ravel().tolist(),
            "model": model,
            "dimensions": DIMENSIONS,
        },
    )


async def refilter(session: AsyncSession, document: int) -> None:
    """Its text is the same; what it is filtered by is not."""
    await session.execute(_REFILTER, {"document": document})


async def bury(session: AsyncSession, kind: str, entity_id: UUID, revision: int, at: datetime) -> bool:
    """Remove the content for good and remember which revision was deleted. Returns whether anything changed."""
    values: dict[str, Any] = dict.fromkeys(("key", "service", "team", "state", "external_id", "url", "readers"))
    values |= {"kind": kind, "entity_id": entity_id, "revision": revision, "deleted": True, "title": "", "body": ""}
    row = (await session.execute(_PUT, values | {"facets": {}, "updated_at": at, "indexed": ""})).first()
    if row is None:
        return False
    for statement in _FORGET:
        await session.execute(statement, {"document": row.id})
    return True


async def outdated(session: AsyncSession, indexed: str, most: int) -> Sequence[sa.Row[Any]]:
    """Documents that are indexed as something else than `indexed`."""
    return (await session.execute(_OUTDATED, {"indexed": indexed, "most": most})).all()


async def renumber(session: AsyncSession, document: int, version: int, indexed: str) -> int | None:
    """A new version for a text that is indexed anew; None where it has changed or gone since."""
    found = await session.execute(_RENUMBER, {"document": document, "version": version, "indexed": indexed})
    return found.scalar_one_or_none()


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
