"""Many changes, each decided as if it came alone."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
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
    results = []
    for (index, raw), (_, item) in zip(items, parsed, strict=True):
        line_key = f"{key}/{index}" if key else None
        try:
            if line_key is not None and (kept := await _kept(session, actor, line_key, raw)):
                results.append(kept)
                continue
            if isinstance(item, PlumblineError):
                raise item
            response, status = await _one(session, item, actor)
            result = ItemResult(index=index, status=status, id=response.id, revision=response.revision)
            if line_key is not None:
                await idempotency.remember(session, actor.subject, line_key, result.model_dump_json().encode())
        except PlumblineError as error:
            problem = problems.content_of(error)
            id = item.id if isinstance(item, UpdateItem | TransitionItem) else None
            result = ItemResult(index=index, status=problem["status"], id=id, problem=problem)
            if line_key is not None and not isinstance(error, idempotency.KeyReused):
                await idempotency.release(session, actor.subject, line_key)
        results.append(result)
    return results


async def _kept(session: AsyncSession, actor: UserInfo, key: str, line: bytes) -> ItemResult | None:
    kept = await idempotency.recall(session, actor.subject, key, line)
    return None if kept is None else ItemResult.model_validate_json(kept)


def _parsed(raw: Any) -> CreateItem | UpdateItem | TransitionItem | PlumblineError:
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
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
        return Invalid(first["msg"].removeprefix("Value error, "), pointer=pointer[:500])


async def _one(
    session: AsyncSession, item: CreateItem | UpdateItem | TransitionItem, actor: UserInfo
) -> tuple[RequirementResponse, int]:
    if isinstance(item, CreateItem):
        if not actor.may("editor"):
            raise Forbidden("an editor creates requirements")
        created = await service.create(session, item.content, actor, item.reason)
        assert created is not None
        return created, 201
    if isinstance(item, UpdateItem):
        return await service.change(session, item.id, item.patch, item.if_match, actor, item.reason), 200
    return (
        await service.transition(session, item.id, item.to, item.if_match, actor, item.reason, item.reviewers),
        200,
    )
