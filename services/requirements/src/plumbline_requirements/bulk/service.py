"""Many changes, each decided as if it came alone."""

import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from typing import Any

import orjson
from fastapi import Response
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, idempotency, problems
from plumbline_common.auth import UserInfo
from plumbline_common.errors import Conflict, Forbidden, Invalid, PlumblineError
from plumbline_requirements.bulk.schemas import (
    ITEM,
    BulkResponse,
    CreateItem,
    ItemResult,
    TransitionItem,
    UpdateItem,
)
from plumbline_requirements.requirements import repository, service
from plumbline_requirements.requirements.schemas import RequirementResponse

BATCH = 100
"""Lines of a stream that are done in one transaction."""
BATCH_BYTES = 4 * 1024 * 1024
LONGEST_LINE = 1024 * 1024
"""In bytes."""


Parsed = CreateItem | UpdateItem | TransitionItem | PlumblineError


class BulkFailed(Conflict):
    slug = "bulk-failed"
    title = "Not all of the changes can be made, so none was"


async def run(session: AsyncSession, items: Sequence[Any], atomic: bool, actor: UserInfo) -> BulkResponse:
    """Do what can be done, in the order of the request. Raises `BulkFailed` where all was wanted or nothing."""
    results = await _batch(session, list(enumerate(items)), actor)
    failed = [result for result in results if result.problem is not None]
    if failed and atomic:
        shown = [result.model_dump(mode="json", exclude_none=True) for result in failed]
        raise BulkFailed(f"{len(failed)} of {len(results)} changes cannot be made", items=shown)
    return BulkResponse(items=results, succeeded=len(results) - len(failed), failed=len(failed))


async def run_lines(
    sessions: db.Sessions, lines: AsyncIterator[bytes], key: str | None, actor: UserInfo
) -> AsyncIterator[bytes]:
    """A result line for each line, and a last one with the sums. What has its result is durable.

    With `key`, lines that were done in an earlier try of the same request are answered and not done again.
    """
    succeeded = failed = 0
    batch: list[tuple[int, Any]] = []

    async def done() -> bytes:
        nonlocal succeeded, failed
        async with sessions.begin() as session:
            results = await _batch(session, batch, actor, key)
        bad = sum(result.problem is not None for result in results)
        failed += bad
        succeeded += len(results) - bad
        batch.clear()
        return b"".join(result.model_dump_json(exclude_none=True).encode() + b"\n" for result in results)

    index = size = 0
    async for line in lines:
        batch.append((index, line))
        index, size = index + 1, size + len(line)
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield await done()
            size = 0
    if batch:
        yield await done()
    yield orjson.dumps({"succeeded": succeeded, "failed": failed}, option=orjson.OPT_APPEND_NEWLINE)


async def _batch(
    session: AsyncSession, items: Sequence[tuple[int, Any]], actor: UserInfo, key: str | None = None
) -> list[ItemResult]:
    # A change is refused before its one statement writes, so a refusal leaves nothing behind in the transaction.
    parsed = [(index, _parsed(raw)) for index, raw in items]
    # In one order, so that two bulks wait for each other and never in a circle.
    ids = {item.id for _, item in parsed if isinstance(item, UpdateItem | TransitionItem)}
    await repository.lock_all(session, sorted(ids))
    results = await _recalled(session, items, parsed, key, actor) if key else {}
    # What is created knows nothing of the rest: one statement for all of it.
    results |= await _created(session, items, parsed, results.keys(), key, actor)
    for (index, raw), (_, item) in zip(items, parsed, strict=True):
        if index in results:
            continue
        line_key = f"{key}/{index}" if key else None
        try:
            if line_key is not None and (kept := await _kept(session, actor, line_key, raw)):
                results[index] = kept
                continue
            if not isinstance(item, UpdateItem | TransitionItem):
                raise item if isinstance(item, PlumblineError) else PlumblineError("nothing came of it")
            response = await _one(session, item, actor)
            results[index] = ItemResult(index=index, status=200, id=response.id, revision=response.revision)
            if line_key is not None:
                answer = results[index].model_dump_json().encode()
                await idempotency.remember(session, actor.subject, line_key, answer)
        except PlumblineError as error:
            results[index] = _failed(index, item, error)
            if line_key is not None and not isinstance(error, idempotency.KeyReused):
                await idempotency.release(session, actor.subject, line_key)
    return [results[index] for index, _ in items]


async def _recalled(
    session: AsyncSession,
    items: Sequence[tuple[int, Any]],
    parsed: Sequence[tuple[int, Parsed]],
    key: str,
    actor: UserInfo,
) -> dict[int, ItemResult]:
    """What came of those that were done in an earlier try."""
    known = await idempotency.recall_all(session, actor.subject, {f"{key}/{index}": line for index, line in items})
    results = {}
    for index, item in parsed:
        kept = known.get(f"{key}/{index}")
        if isinstance(kept, bytes):
            results[index] = ItemResult.model_validate_json(kept)
        elif kept is not None:
            results[index] = _failed(index, item, kept)
    return results


async def _created(
    session: AsyncSession,
    items: Sequence[tuple[int, Any]],
    parsed: Sequence[tuple[int, Parsed]],
    known: Collection[int],
    key: str | None,
    actor: UserInfo,
) -> dict[int, ItemResult]:
    """What came of those that create, but for the `known`. One is missing where another did its line meanwhile."""
    results: dict[int, ItemResult] = {}
    wanted: dict[service.Creation, int] = {}
    for (index, raw), (_, item) in zip(items, parsed, strict=True):
        if index in known or not isinstance(item, CreateItem):
            continue
        once = None if key is None else partial(_line_done, index, raw, f"{key}/{index}", actor)
        try:
            if not actor.may("editor"):
                raise Forbidden("an editor creates requirements")
            wanted[service.Creation(item.content, actor, item.reason, once)] = index
        except PlumblineError as error:
            results[index] = _failed(index, item, error)
    for creation, outcome in (await service.create(session, list(wanted))).items() if wanted else ():
        index = wanted[creation]
        results[index] = (
            _done(index, outcome) if isinstance(outcome, service.Created) else _failed(index, None, outcome)
        )
    return results


def _done(index: int, created: service.Created) -> ItemResult:
    return ItemResult(index=index, status=201, id=created.id, revision=1)


def _line_done(index: int, line: bytes, key: str, actor: UserInfo, created: service.Created) -> dict[str, Any]:
    answer = Response(_done(index, created).model_dump_json())
    return idempotency.row_of(actor.subject, key, hashlib.sha256(line).digest(), answer)


def _failed(index: int, item: Parsed | None, error: PlumblineError) -> ItemResult:
    problem = problems.content_of(error)
    id = item.id if isinstance(item, UpdateItem | TransitionItem) else None
    return ItemResult(index=index, status=problem["status"], id=id, problem=problem)


async def _kept(session: AsyncSession, actor: UserInfo, key: str, line: bytes) -> ItemResult | None:
    kept = await idempotency.recall(session, actor.subject, key, line)
    return None if kept is None else ItemResult.model_validate_json(kept)


def _parsed(raw: Any) -> Parsed:
    try:
        if isinstance(raw, bytes):
            if len(raw) > LONGEST_LINE:
                return Invalid(f"a line is at most {LONGEST_LINE} bytes long")
            return ITEM.validate_json(raw)
        return ITEM.validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        # The discriminator stands second in the path of a union's member.
        path = [part for part in first["loc"] if part not in ("create", "update", "transition")]
        return Invalid(first["msg"].removeprefix("Value error, "), pointer=problems.pointer(path)[:500])


async def _one(session: AsyncSession, item: UpdateItem | TransitionItem, actor: UserInfo) -> RequirementResponse:
    if isinstance(item, UpdateItem):
        return await service.change(session, item.id, item.patch, item.if_match, actor, item.reason)
    return await service.transition(session, item.id, item.to, item.if_match, actor, item.reason, item.reviewers)
