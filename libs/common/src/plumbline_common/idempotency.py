"""Idempotency-Key on POST: the first answer is kept for 24 hours and given again to who repeats the request."""

import hashlib
from dataclasses import dataclass
from typing import Annotated

import sqlalchemy as sa
from fastapi import Header, Request, Response
from sqlalchemy import Column, LargeBinary, MetaData, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_common.errors import Invalid, PlumblineError

KEEP_HOURS = 24

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
_CLAIM = text(
    "INSERT INTO idempotency_keys (subject, key, request)"  # noqa: S608 - own names
    " VALUES (:subject, :key, :request)"
    " ON CONFLICT (subject, key) DO UPDATE SET request = excluded.request, status = NULL, body = NULL,"
    "  created_at = clock_timestamp()"
    f" WHERE {_PAST} RETURNING 1"
)
_FIND = text("SELECT request, status, headers, body FROM idempotency_keys WHERE subject = :subject AND key = :key")
_KEEP = text(
    "UPDATE idempotency_keys SET status = :status, headers = :headers, body = :body"
    " WHERE subject = :subject AND key = :key"
).bindparams(sa.bindparam("headers", type_=JSONB))
_RELEASE = text("DELETE FROM idempotency_keys WHERE subject = :subject AND key = :key")
_FORGET = text(f"DELETE FROM idempotency_keys WHERE {_PAST}")  # noqa: S608 - own names


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
            kept = {name: value for name, value in response.headers.items() if name in ("etag", "location")}
            kept["content-type"] = response.headers["content-type"]
            await self.session.execute(
                _KEEP,
                {
                    "subject": self.subject,
                    "key": self.key,
                    "status": response.status_code,
                    "headers": kept,
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
    body = await request.body()
    seal = hashlib.sha256(b"%b %b\n" % (request.method.encode(), str(request.url.path).encode()) + body).digest()
    names = {"subject": subject, "key": key}
    if (await session.execute(_CLAIM, names | {"request": seal})).first() is not None:
        return Claim(session, subject, key, None)
    found = (await session.execute(_FIND, names)).one()
    if found.request != seal:
        raise KeyReused("the same Idempotency-Key came with another request; take a new key")
    if found.status is None:
        raise PlumblineError("the first request with this key has left no answer")
    headers = {**found.headers, "Idempotency-Replayed": "true"}
    return Claim(session, subject, key, Response(found.body, found.status, headers))


async def recall(session: AsyncSession, subject: str, key: str, request: bytes) -> bytes | None:
    """Take a key for one part of a request; what that part was answered, where it was done before.

    Raises `KeyReused` where another part had it.
    """
    seal = hashlib.sha256(request).digest()
    names = {"subject": subject, "key": key}
    if (await session.execute(_CLAIM, names | {"request": seal})).first() is not None:
        return None
    found = (await session.execute(_FIND, names)).one()
    if found.request != seal:
        raise KeyReused("the same Idempotency-Key came with another request; take a new key")
    return bytes(found.body)


async def remember(session: AsyncSession, subject: str, key: str, answer: bytes) -> None:
    """Keep the answer of a part whose key was taken."""
    values = {"subject": subject, "key": key, "status": 200, "headers": {}, "body": answer}
    await session.execute(_KEEP, values)


async def release(session: AsyncSession, subject: str, key: str) -> None:
    """Give a key back: the part failed and may be sent again."""
    await session.execute(_RELEASE, {"subject": subject, "key": key})


async def forget_old(session: AsyncSession) -> None:
    """Delete the keys that are past their time."""
    await session.execute(_FORGET)
