"""Runbooks and postmortems as people give them: kept elsewhere, found here."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, problems
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Invalid, NotFound, PlumblineError
from plumbline_search.documents import indexing, repository, rules
from plumbline_search.documents.content import Content, Document
from plumbline_search.documents.indexing import Swapped
from plumbline_search.documents.schemas import (
    LINE,
    DeleteLine,
    DocumentContent,
    DocumentList,
    DocumentResponse,
    DocumentSummary,
    LineResult,
    PutLine,
)
from plumbline_search.embedding.embedder import Urgency
from plumbline_search.indexes.serving import Serving

AHEAD = 32
"""Lines of a stream that are read and embedded before the first of them is written."""
TOGETHER = 16
"""Lines that are written in one transaction."""
LONGEST_LINE = 2 * 1024 * 1024
"""In bytes."""
_ATTEMPTS = 3

Result = Literal["created", "updated", "unchanged", "deleted"]
_STATUS: dict[Result, int] = {"created": 201, "updated": 200, "unchanged": 200, "deleted": 204}


class NoSuchDocument(NotFound):
    slug = "document-not-found"
    title = "There is no such document"


class ChangedMeanwhile(Conflict):
    slug = "document-changed"
    title = "The document was changed at the same time"


@dataclass(frozen=True)
class Done:
    result: Result
    revision: int
    document: Document


@dataclass(frozen=True)
class Prepared:
    """A document that may be written, with what it is found by; None where it was there as it is."""

    document: Document
    dated: bool
    """Whether its source said when it was changed."""
    found_by: Content | None
    if_match: str | None


async def prepare(
    sessions: db.Sessions,
    serving: Serving,
    kind: str,
    external_id: str,
    content: DocumentContent,
    actor: UserInfo,
    if_match: str | None = None,
    *,
    patient: bool,
) -> Prepared:
    """All that needs no transaction. Raises `NotYourTeam`, `Stale` and `TooBusy`."""
    document = _document(kind, external_id, content)
    async with sessions() as session:
        row = await repository.given(session, kind, document.entity_id)
    _check(row, document, actor, if_match)
    dated = content.updated_at is not None
    if row is not None and not row.deleted and _is_as(row, document, dated=dated):
        return Prepared(document, dated, None, if_match)
    # Who is patient gives many: a single document need not wait for them.
    urgency = Urgency.BACKGROUND if patient else Urgency.DOCUMENT
    found_by = await indexing.read(serving, None, content.title, content.body, urgency=urgency, patient=patient)
    return Prepared(document, dated, found_by, if_match)


async def put(session: AsyncSession, serving: Serving, prepared: Prepared, actor: UserInfo) -> Done:
    """Write what was prepared. Raises `ChangedMeanwhile` where that cannot be decided any more, and `Swapped`."""
    document = prepared.document
    row = await repository.given(session, document.kind, document.entity_id, lock=True)
    _check(row, document, actor, prepared.if_match)
    if row is not None and not row.deleted and _is_as(row, document, dated=prepared.dated):
        return Done("unchanged", row.revision, replace(document, updated_at=row.updated_at))
    if row is not None:
        document = replace(document, revision=row.revision + 1)
    if prepared.found_by is None or not await indexing.index(session, serving, document, prepared.found_by):
        raise ChangedMeanwhile("read it and decide anew")
    return Done("created" if row is None or row.deleted else "updated", document.revision, document)


async def put_now(
    sessions: db.Sessions,
    serving: Serving,
    kind: str,
    external_id: str,
    content: DocumentContent,
    actor: UserInfo,
    if_match: str | None = None,
    *,
    patient: bool,
) -> Done:
    """Prepare and write. Raises `ChangedMeanwhile` where others write all the time, and `Swapped`."""
    for attempt in range(_ATTEMPTS):
        prepared = await prepare(sessions, serving, kind, external_id, content, actor, if_match, patient=patient)
        try:
            async with sessions.begin() as session:
                return await put(session, serving, prepared, actor)
        except (ChangedMeanwhile, Swapped):
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _check(row: Row[Any] | None, document: Document, actor: UserInfo, if_match: str | None) -> None:
    there = row is not None and not row.deleted
    rules.check_match(row.revision if row is not None and there else 0, if_match)
    rules.check_team(document.team, actor)
    if row is not None and there:
        rules.check_team(row.team, actor)


async def delete(
    session: AsyncSession, kind: str, external_id: str, actor: UserInfo, if_match: str | None = None
) -> Done:
    """Remove the document for good. Raises `NoSuchDocument`, `NotYourTeam` and `Stale`."""
    id = rules.id_of(kind, external_id)
    row = await repository.given(session, kind, id, lock=True)
    if row is None or row.deleted or not _may_read(row, actor):
        raise NoSuchDocument(f"there is no {kind} {external_id}")
    rules.check_team(row.team, actor)
    rules.check_match(row.revision, if_match)
    await indexing.remove(session, kind, id, row.revision, datetime.now(UTC))
    gone = Document(kind, id, row.revision, datetime.now(UTC), "", "", external_id=external_id)
    return Done("deleted", row.revision, gone)


async def one(session: AsyncSession, kind: str, external_id: str, actor: UserInfo) -> DocumentResponse:
    """Raises `NoSuchDocument`, also where the caller may not read it."""
    row = await repository.given(session, kind, rules.id_of(kind, external_id))
    if row is None or row.deleted or not _may_read(row, actor):
        raise NoSuchDocument(f"there is no {kind} {external_id}")
    return DocumentResponse(**_summary(row).model_dump(), body=row.body)


async def page(
    session: AsyncSession, actor: UserInfo, filters: dict[str, str | None], skip: int, limit: int
) -> DocumentList:
    """Those that the caller may read, the latest changed first."""
    rows, total = await repository.page(session, filters, rules.teams_of(actor), skip, limit)
    return DocumentList(items=[_summary(row) for row in rows], total=total)


# --- Many at once ---------------------------------------------------------------------------------------


async def run_lines(
    sessions: db.Sessions, serving: Serving, lines: AsyncIterator[bytes], actor: UserInfo
) -> AsyncIterator[bytes]:
    """A result line for each line, and a last one with the sums. What has its result is durable.

    What a line says is decided as if it came alone. While some are written the next are embedded.
    """
    sums: dict[str, int] = {"created": 0, "updated": 0, "unchanged": 0, "deleted": 0, "failed": 0}
    waiting: deque[asyncio.Task[_Read]] = deque()

    async def written(most: int) -> bytes:
        batch = [await waiting.popleft() for _ in range(most)]
        results = await _write(sessions, serving, batch, actor)
        for result in results:
            sums[result.result or "failed"] += 1
        return b"".join(result.model_dump_json(exclude_none=True).encode() + b"\n" for result in results)

    try:
        index = 0
        async for line in lines:
            waiting.append(asyncio.create_task(_read(sessions, serving, index, line, actor)))
            index += 1
            if len(waiting) == AHEAD:
                yield await written(TOGETHER)
        while waiting:
            yield await written(min(TOGETHER, len(waiting)))
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    yield orjson.dumps(sums, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True)
class _Read:
    index: int
    line: PutLine | DeleteLine | None
    prepared: Prepared | None = None
    refusal: PlumblineError | None = None


async def _read(sessions: db.Sessions, serving: Serving, index: int, raw: bytes, actor: UserInfo) -> _Read:
    line = None
    try:
        line = _parsed(raw)
        if isinstance(line, DeleteLine):
            return _Read(index, line)
        prepared = await prepare(sessions, serving, line.kind, line.external_id, line.content, actor, patient=True)
        return _Read(index, line, prepared)
    except PlumblineError as refusal:
        return _Read(index, line, refusal=refusal)


def _parsed(raw: bytes) -> PutLine | DeleteLine:
    if len(raw) > LONGEST_LINE:
        raise Invalid(f"the line is longer than {LONGEST_LINE} bytes", pointer="")
    try:
        return LINE.validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        detail = first["msg"].removeprefix("Value error, ")
        raise Invalid(detail, pointer=problems.pointer(first["loc"])[:500]) from None


async def _write(
    sessions: db.Sessions, serving: Serving, batch: Sequence[_Read], actor: UserInfo
) -> list[LineResult]:
    # In one order, so that two streams wait for each other and never in a circle; of one document as they came.
    order = sorted(batch, key=lambda read: (_name(read), read.index))
    try:
        async with sessions.begin() as session:
            results = {read.index: await _written(session, serving, read, actor) for read in order}
    except Swapped:
        # None of it was written.
        results = {}
        for read in order:
            async with sessions.begin() as session:
                is_put = read.prepared is not None
                results[read.index] = None if is_put else await _written(session, serving, read, actor)
    for read in order:
        if results[read.index] is None:
            results[read.index] = await _again(sessions, serving, read, actor)
    return [result for read in batch if (result := results[read.index]) is not None]


def _name(read: _Read) -> tuple[str, str]:
    return ("", "") if read.line is None else (read.line.kind, read.line.external_id)


async def _written(session: AsyncSession, serving: Serving, read: _Read, actor: UserInfo) -> LineResult | None:
    """None where the document was changed since it was read. What is refused has written nothing."""
    try:
        if read.refusal is not None:
            raise read.refusal
        if isinstance(read.line, DeleteLine):
            return _line(read.index, await delete(session, read.line.kind, read.line.external_id, actor))
        assert read.prepared is not None
        return _line(read.index, await put(session, serving, read.prepared, actor))
    except ChangedMeanwhile:
        return None
    except PlumblineError as refusal:
        problem = problems.content_of(refusal)
        external_id = None if read.line is None else read.line.external_id
        return LineResult(index=read.index, status=problem["status"], external_id=external_id, problem=problem)


async def _again(sessions: db.Sessions, serving: Serving, read: _Read, actor: UserInfo) -> LineResult:
    assert isinstance(read.line, PutLine)
    try:
        line = read.line
        done = await put_now(sessions, serving, line.kind, line.external_id, line.content, actor, patient=True)
    except PlumblineError as refusal:
        problem = problems.content_of(refusal)
        return LineResult(
            index=read.index, status=problem["status"], external_id=read.line.external_id, problem=problem
        )
    return _line(read.index, done)


def _line(index: int, done: Done) -> LineResult:
    return LineResult(
        index=index,
        status=_STATUS[done.result],
        result=done.result,
        external_id=done.document.external_id,
        id=done.document.entity_id,
        revision=done.revision,
    )


# --- Between rows and what is answered ------------------------------------------------------------------


def _document(kind: str, external_id: str, content: DocumentContent) -> Document:
    return Document(
        kind=kind,
        entity_id=rules.id_of(kind, external_id),
        revision=1,
        updated_at=content.updated_at or datetime.now(UTC),
        title=content.title,
        body=content.body,
        service=content.service,
        team=content.team,
        state=content.state,
        facets=content.facets,
        external_id=external_id,
        url=content.url,
        readers=content.readers,
    )


_COMPARED = ("title", "body", "service", "team", "state", "facets", "url", "readers")


def _is_as(row: Row[Any], document: Document, *, dated: bool) -> bool:
    """Whether the row says what the document says; the time counts where the source gave one."""
    same = all(getattr(row, name) == getattr(document, name) for name in _COMPARED)
    return same and (not dated or row.updated_at == document.updated_at)


def _may_read(row: Row[Any], actor: UserInfo) -> bool:
    teams = rules.teams_of(actor)
    return teams is None or row.readers is None or not set(teams).isdisjoint(row.readers)


def answer(done: Done) -> DocumentResponse:
    """The document as it was written."""
    document = done.document
    return DocumentResponse(
        id=document.entity_id,
        kind=document.kind,
        external_id=document.external_id or "",
        revision=done.revision,
        title=document.title,
        body=document.body,
        url=document.url,
        service=document.service,
        team=document.team,
        state=document.state,
        facets=document.facets,
        readers=None if document.readers is None else list(document.readers),
        updated_at=document.updated_at,
    )


def _summary(row: Row[Any]) -> DocumentSummary:
    return DocumentSummary(
        id=row.entity_id,
        kind=row.kind,
        external_id=row.external_id,
        revision=row.revision,
        title=row.title,
        url=row.url,
        service=row.service,
        team=row.team,
        state=row.state,
        facets=row.facets,
        readers=row.readers,
        updated_at=row.updated_at,
    )
