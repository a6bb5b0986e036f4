"""Idempotency-Key on POST: the first answer is kept for 24 hours and given again to who repeats the request."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Header, Request, Response
from sqlalchemy import Column, LargeBinary, MetaData, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_common.errors import Invalid, PlumblineError

log = logging.getLogger(__name__)

KEEP_HOURS = 24
FORGET_BATCH = 5000

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description=f"The same key and body within {KEEP_HOURS} h answer what the first request was answered",
    ),
]


class KeyReused(Invalid):
    slug = "idempotency-key-reused"
    title = "The Idempotency-Key was used for another request"


def add_table(metadata: MetaData) -> None:
    """Declare `idempotency_keys`."""
    Table(
        "idempotency_keys",
        metadata,
        Column("subject", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("request", LargeBinary, nullable=False),
        Column("status", SmallInteger),
        Column("headers", JSONB, nullable=False, server_default="{}"),
        Column("body", LargeBinary),
        Column("created_at", db.timestamp(), nullable=False, server_default=sa.func.clock_timestamp(), index=True),
    )


_PAST = f"idempotency_keys.created_at < clock_timestamp() - interval '{KEEP_HOURS} hours'"
_INSERT = "INSERT INTO idempotency_keys (subject, key, request, status, headers, body)"
_UNLESS_TAKEN = (
    " ON CONFLICT (subject, key) DO UPDATE SET request = excluded.request, status = excluded.status,"
    "  headers = excluded.headers, body = excluded.body, created_at = clock_timestamp()"
    f" WHERE {_PAST} RETURNING subject, key"
)
COLUMNS = {
    "idempotency_subject": "text",
    "idempotency_key": "text",
    "idempotency_request": "bytea",
    "idempotency_status": "smallint",
    "idempotency_headers": "jsonb",
    "idempotency_body": "bytea",
}
"""The names and types of what `row_of` gives."""


def claim_from(relation: str) -> str:
    """SQL that takes the keys in `relation`, which has `COLUMNS`, each key once. It gives those that were free."""
    # In one order, so that two statements wait for each other and never in a circle.
    return (
        f"{_INSERT} SELECT {', '.join(COLUMNS)} FROM {relation} WHERE idempotency_key IS NOT NULL"  # noqa: S608
        f" ORDER BY 1, 2{_UNLESS_TAKEN}"
    )


_REUSED = "the same Idempotency-Key came with another request; take a new key"
_CLAIM = text(f"{_INSERT} VALUES (:subject, :key, :request, NULL, '{{}}', NULL){_UNLESS_TAKEN}")
_FIND = text("SELECT request, status, headers, body FROM idempotency_keys WHERE subject = :subject AND key = :key")
_FIND_ALL = text(
    "SELECT key, request, body FROM idempotency_keys"  # noqa: S608 - own names
    f" WHERE subject = :subject AND key = ANY(:keys) AND body IS NOT NULL AND NOT {_PAST}"
)
_KEEP = text(
    "UPDATE idempotency_keys SET status = :status, headers = :headers, body = :body"
    " WHERE subject = :subject AND key = :key"
).bindparams(sa.bindparam("headers", type_=JSONB))
_RELEASE = text("DELETE FROM idempotency_keys WHERE subject = :subject AND key = :key")
_FORGET = text(
    "DELETE FROM idempotency_keys WHERE (subject, key) IN"  # noqa: S608 - own names
    f" (SELECT subject, key FROM idempotency_keys WHERE {_PAST} ORDER BY created_at LIMIT {FORGET_BATCH}"
    "  FOR UPDATE SKIP LOCKED)"
)


@dataclass(frozen=True)
class Claim:
    """A key in the caller's transaction: two requests with one key are served one after the other."""

    session: AsyncSession
    subject: str
    key: str | None
    answered: Response | None
    """What the first request was answered, where this is not the first."""

    async def keep(self, response: Response) -> Response:
        """Keep the answer for who comes again, in the transaction that does the work."""
        if self.key is not None:
            await self.session.execute(
                _KEEP,
                {
                    "subject": self.subject,
                    "key": self.key,
                    "status": response.status_code,
                    "headers": _kept_headers(response),
                    "body": response.body,
                },
            )
        return response


async def claim(session: AsyncSession, request: Request, subject: str, key: str | None) -> Claim:
    """Take `key` for this request. Raises `KeyReused` where another request of the caller's had it.

    A request that fails keeps nothing: its transaction is undone, and it may be sent again.
    """
    if key is None:
        return Claim(session, subject, None, None)
    row = {"subject": subject, "key": key, "request": await seal(request)}
    if (await session.execute(_CLAIM, row)).first() is not None:
        return Claim(session, subject, key, None)
    return Claim(session, subject, key, await replay(session, request, subject, key))


async def replay(session: AsyncSession, request: Request, subject: str, key: str) -> Response:
    """What the request was answered that had `key` first. Raises `KeyReused` where that was another."""
    found = (await session.execute(_FIND, {"subject": subject, "key": key})).one()
    if found.request != await seal(request):
        raise KeyReused(_REUSED)
    if found.status is None:
        raise PlumblineError("the first request with this key has left no answer")
    return Response(found.body, found.status, {**found.headers, "Idempotency-Replayed": "true"})


def row_of(subject: str, key: str, request: bytes, response: Response) -> dict[str, Any]:
    """`COLUMNS` as JSON, for who takes the key, does the work and keeps the answer in one statement."""
    return {
        "idempotency_subject": subject,
        "idempotency_key": key,
        "idempotency_request": db.json_bytes(request),
        "idempotency_status": response.status_code,
        "idempotency_headers": _kept_headers(response),
        "idempotency_body": db.json_bytes(bytes(response.body)),
    }


def _kept_headers(response: Response) -> dict[str, str]:
    names = ("content-type", "etag", "location")
    return {name: response.headers[name] for name in names if name in response.headers}


async def seal(request: Request) -> bytes:
    """What two requests have in common that are the same: 32 bytes. The query counts too: it may hold a reason."""
    place = f"{request.method} {request.url.path}?{request.url.query}\n"
    return hashlib.sha256(place.encode() + await request.body()).digest()


async def recall_all(
    session: AsyncSession, subject: str, requests: Mapping[str, bytes]
) -> dict[str, bytes | KeyReused]:
    """What the parts of a request were answered that were done before, by their keys, and which were others."""
    rows = await session.execute(_FIND_ALL, {"subject": subject, "keys": list(requests)})
    return {
        row.key: bytes(row.body) if row.request == hashlib.sha256(requests[row.key]).digest() else KeyReused(_REUSED)
        for row in rows
    }


async def recall(session: AsyncSession, subject: str, key: str, request: bytes) -> bytes | None:
    """Take a key for one part of a request; what that part was answered, where it was done before.

    Raises `KeyReused` where another part had it.
    """
    sealed = hashlib.sha256(request).digest()
    row = {"subject": subject, "key": key, "request": sealed}
    if (await session.execute(_CLAIM, row)).first() is not None:
        return None
    found = (await session.execute(_FIND, {"subject": subject, "key": key})).one()
    if found.request != sealed:
        raise KeyReused(_REUSED)
    return bytes(found.body)


async def remember(session: AsyncSession, subject: str, key: str, answer: bytes) -> None:
    """Keep the answer of a part whose key was taken."""
    values = {"subject": subject, "key": key, "status": 200, "headers": {}, "body": answer}
    await session.execute(_KEEP, values)


async def release(session: AsyncSession, subject: str, key: str) -> None:
    """Give a key back: the part failed and may be sent again."""
    await session.execute(_RELEASE, {"subject": subject, "key": key})


async def keep_forgetting(sessions: db.Sessions) -> None:
    """Delete the keys that are past their time, some each minute, until cancelled."""
    while True:
        try:
            async with sessions.begin() as session:
                gone = (await session.execute(_FORGET)).rowcount  # type: ignore[attr-defined]
        except Exception as error:
            log.warning("old idempotency keys could not be deleted: %r", error)
            gone = 0
        if gone < FORGET_BATCH:
            await asyncio.sleep(60)
