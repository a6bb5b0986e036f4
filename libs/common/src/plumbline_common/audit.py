"""The audit log: append-only, and a hash chain, so that what was tampered with is found.

An entry is canonical JSON. Its digest is stored with it by who writes it; the sealer gives each committed entry the
next position, and a hash over the hash before it, the position and the digest. Who changes, removes, inserts or moves
a byte of what is sealed breaks the chain from there on; who keeps a head (position and hash) elsewhere also sees when
the whole chain was written anew.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Identity, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db, problems, telemetry
from plumbline_common.schemas import utc

log = logging.getLogger(__name__)

BATCH = 1000
SEAL_SECONDS = 1.0

GENESIS = bytes(32)
"""What stands before position 1."""


def canonical(entry: Mapping[str, Any]) -> str:
    """JSON with sorted members and no blanks (RFC 8785 for what entries hold: strings, integers, lists, null)."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def link(previous: bytes, position: int, entry_digest: bytes) -> bytes:
    """The hash of `position`."""
    return hashlib.sha256(previous + position.to_bytes(8) + entry_digest).digest()


class Chain:
    """Verifies a log from its beginning, entry by entry."""

    def __init__(self) -> None:
        self.position = 0
        self.hash = GENESIS

    def check(self, position: int | None, entry: str, entry_digest: bytes, sealed: bytes | None) -> str | None:
        """What is wrong with the next entry; None where it is as it was written.

        An entry that is not sealed yet (no position) stands at the end and has only its digest.
        """
        if digest(entry) != entry_digest:
            return "the entry is not what was written"
        if position is None:
            return None
        if position != self.position + 1:
            return f"after position {self.position} comes {position}: entries are missing or doubled"
        self.position = position
        self.hash = link(self.hash, position, entry_digest)
        if self.hash != sealed:
            return "the hash does not follow from the entries before it"
        return None


# --- The table ------------------------------------------------------------------------------------------


def add_table(metadata: MetaData) -> None:
    """Declare `audit_entries`. Its migration also runs `GUARD`, which forbids to change or delete entries."""
    Table(
        "audit_entries",
        metadata,
        Column("seq", BigInteger, Identity(always=True), primary_key=True),
        Column("entry", Text, nullable=False),
        Column("digest", LargeBinary, nullable=False),
        Column("entity_id", Text, nullable=False),
        Column("actor", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("at", db.timestamp(), nullable=False),
        Column("position", BigInteger, unique=True),
        Column("hash", LargeBinary),
        sa.Index("ix_audit_entries_unsealed", "seq", postgresql_where=text("position IS NULL")),
        sa.Index("ix_audit_entries_entity_id_seq", "entity_id", "seq"),
        sa.Index("ix_audit_entries_actor_seq", "actor", "seq"),
    )


GUARD = (
    """
CREATE FUNCTION audit_entries_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.position IS NULL AND NEW.position IS NOT NULL
       AND (OLD.seq, OLD.entry, OLD.digest, OLD.entity_id, OLD.actor, OLD.action, OLD.at)
         = (NEW.seq, NEW.entry, NEW.digest, NEW.entity_id, NEW.actor, NEW.action, NEW.at) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$
""",
    """
CREATE TRIGGER audit_entries_guard BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION audit_entries_guard()
""",
    """
CREATE TRIGGER audit_entries_guard_truncate BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_guard()
""",
)


def row_of(
    action: str,
    entity: str,
    entity_id: str,
    actor: str,
    at: datetime,
    *,
    revision: int | None = None,
    reason: str = "",
    changed: Sequence[str] = (),
    document: str | None = None,
) -> dict[str, Any]:
    """The values of one entry, with the request and the trace at work. `document` is what was written, as JSON."""
    entry = canonical(
        {
            "action": action,
            "actor": actor,
            "at": utc(at),
            "changed": sorted(changed),
            "document": None if document is None else digest(document).hex(),
            "entity": entity,
            "entity_id": entity_id,
            "reason": reason,
            "request_id": telemetry.request_id.get(),
            "revision": revision,
            "trace_id": problems.current_trace_id(None) or "",
        }
    )
    return {
        "entry": entry,
        "digest": digest(entry),
        "entity_id": entity_id,
        "actor": actor,
        "action": f"{entity}.{action}",
        "at": at,
    }


TYPES: dict[str, Any] = {
    "entry": Text,
    "digest": LargeBinary,
    "entity_id": Text,
    "actor": Text,
    "action": Text,
    "at": db.timestamp(),
}
"""Of the parameters of `INSERT`."""
INSERT = (
    "INSERT INTO audit_entries (entry, digest, entity_id, actor, action, at)"
    " SELECT :entry, :digest, :entity_id, :actor, :action, :at"
)
_STAGE = text(INSERT).bindparams(*(sa.bindparam(name, type_=kind) for name, kind in TYPES.items()))


async def stage(session: AsyncSession, row: Mapping[str, Any]) -> None:
    """Write an entry (`row_of`) in the caller's transaction."""
    await session.execute(_STAGE, row)


# --- The sealer -----------------------------------------------------------------------------------------

_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('audit sealer of ' || current_user))")
_HEAD = text("SELECT position, hash FROM audit_entries WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1")
_UNSEALED = text("SELECT seq, digest FROM audit_entries WHERE position IS NULL ORDER BY seq LIMIT :batch")
_SEAL = text(
    "UPDATE audit_entries SET position = sealed.position, hash = sealed.hash"
    " FROM unnest(:seqs, :positions, :hashes) AS sealed (seq, position, hash) WHERE audit_entries.seq = sealed.seq"
).bindparams(
    sa.bindparam("seqs", type_=sa.ARRAY(BigInteger)),
    sa.bindparam("positions", type_=sa.ARRAY(BigInteger)),
    sa.bindparam("hashes", type_=sa.ARRAY(LargeBinary)),
)


async def seal(session: AsyncSession) -> int:
    """Chain up to `BATCH` entries, in the caller's transaction. Returns how many; 0 where another process does it."""
    if not (await session.execute(_LOCK)).scalar_one():
        return 0
    rows = (await session.execute(_UNSEALED, {"batch": BATCH})).all()
    if not rows:
        return 0
    head = (await session.execute(_HEAD)).one_or_none()
    position, hash = (head.position, head.hash) if head else (0, GENESIS)
    positions, hashes = [], []
    for row in rows:
        position += 1
        hash = link(hash, position, row.digest)
        positions.append(position)
        hashes.append(hash)
    await session.execute(_SEAL, {"seqs": [row.seq for row in rows], "positions": positions, "hashes": hashes})
    return len(rows)


async def keep_sealing(sessions: db.Sessions) -> None:
    """Seal what is committed, once a second, until cancelled."""
    while True:
        try:
            async with sessions.begin() as session:
                sealed = await seal(session)
        except Exception as error:
            log.warning("the audit log could not be sealed: %r", error)
            sealed = 0
        if sealed < BATCH:
            await asyncio.sleep(SEAL_SECONDS)
