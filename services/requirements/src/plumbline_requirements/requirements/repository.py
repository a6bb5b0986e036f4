"""The SQL of requirements. A write is one statement: row, revision, audit entry, counts and events."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    Integer,
    SmallInteger,
    Text,
    TextClause,
    Uuid,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import audit, db, idempotency, outbox, telemetry
from plumbline_common.errors import NotFound
from plumbline_common.events import Event, RequirementJudged
from plumbline_common.openslo import slos
from plumbline_common.openslo.objects import SLI
from plumbline_common.schemas import Indicator, RequirementSnapshot
from plumbline_requirements.models import Link, OpenSloObject, Requirement, Review, ReviewPolicy, Revision

FACETS = ("status", "type", "priority", "service", "owner_team")
"""What requirements are counted by."""

# On the table, not on the class, and built once: the ORM's own work would cost more than the query.
_TABLE = Requirement.__table__
_COLUMNS = [column for column in _TABLE.columns if column.name != "id"]
_BOOKKEEPING = ("id", "revision", "fingerprint", "in_force", "created_at", "created_by", "updated_at", "updated_by")
SUSPECTS = "(SELECT count(*) FROM links WHERE source_id = requirements.id AND suspect_since IS NOT NULL)"
DOCUMENT = "CASE WHEN suspects = 0 THEN document ELSE left(document, -2) || suspects || '}' END"
"""The API's answer for a row: the kept document ends in the number of suspect links, 0; told is what it is now."""
_DOCUMENTS = select(
    _TABLE.c.id, _TABLE.c.revision, _TABLE.c.document, literal_column(SUSPECTS).label("suspects")
).where(_TABLE.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))))


def missing(id: UUID) -> NotFound:
    """What to raise where `id` leads nowhere."""
    return NotFound(f"no requirement has the id {id}")


# --- Reading --------------------------------------------------------------------------------------------


async def documents(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, tuple[int, str]]:
    """The revision and the rendered document of each of `ids` that there is."""
    rows = await session.execute(_DOCUMENTS, {"ids": ids})
    return {
        row.id: (row.revision, row.document if row.suspects == 0 else f"{row.document[:-2]}{row.suspects}}}")
        for row in rows
    }


async def locked(session: AsyncSession, id: UUID) -> Requirement:
    """The row, held against other writers until the transaction ends. Raises `NotFound`."""
    requirement = await find_locked(session, id)
    if requirement is None:
        raise missing(id)
    return requirement


async def find_locked(session: AsyncSession, id: UUID) -> Requirement | None:
    """Like `locked`, for those who expect that it may be gone."""
    requirement = await session.get(Requirement, id, with_for_update=True)
    if requirement is not None:
        session.expunge(requirement)  # what is written into it goes to the table by `save` alone
    return requirement


async def lock_all(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """Hold several rows against other writers, taken in the order of ids."""
    if ids:
        await session.execute(select(_TABLE.c.id).where(_TABLE.c.id.in_(ids)).order_by(_TABLE.c.id).with_for_update())


async def snapshot(session: AsyncSession, id: UUID, revision: int) -> RequirementSnapshot:
    """One revision. Raises `NotFound`, also for that of a deletion."""
    found = await session.scalar(
        select(Revision.document).where(Revision.requirement_id == id, Revision.revision == revision)
    )
    if not found:
        raise NotFound(f"the requirement {id} has no revision {revision}")
    return RequirementSnapshot.model_validate_json(found)


async def document_at(session: AsyncSession, id: UUID, at: datetime) -> tuple[int, str] | None:
    """The revision that was the present one at `at`, and its snapshot; None where there was none yet."""
    row = (
        await session.execute(
            select(Revision.revision, Revision.document)
            .where(Revision.requirement_id == id, Revision.at <= at)
            .order_by(Revision.revision.desc())
            .limit(1)
        )
    ).one_or_none()
    return None if row is None else (row.revision, row.document)


async def approved_by(session: AsyncSession, id: UUID, revision: int) -> set[str]:
    """Who has approved this revision."""
    statement = select(Review.reviewer).where(
        Review.requirement_id == id, Review.revision == revision, Review.decision == "approve"
    )
    return set(await session.scalars(statement))


async def required_approvals(session: AsyncSession, team: str | None) -> int:
    """How many approvals the team asks for."""
    if team is None:
        return 1
    statement = select(ReviewPolicy.required_approvals).where(ReviewPolicy.team == team)
    return await session.scalar(statement) or 1


_NUMBERS = text("SELECT nextval(pg_get_serial_sequence('requirements', 'number')) FROM generate_series(1, :count)")


async def draw_numbers(session: AsyncSession, count: int) -> Sequence[int]:
    """The numbers of the next requirements. Beforehand, so that a row is written once, with its document."""
    return (await session.scalars(_NUMBERS, {"count": count})).all()


async def suspect_links(session: AsyncSession, id: UUID) -> int:
    """How many of its links are suspect."""
    statement = select(func.count()).where(Link.source_id == id, Link.suspect_since.is_not(None))
    return await session.scalar(statement) or 0


async def indicators(session: AsyncSession, names: Collection[str]) -> dict[str, Indicator]:
    """The SLIs of these names, as SLOs pin them."""
    statement = select(OpenSloObject.name, OpenSloObject.document).where(
        OpenSloObject.kind == "SLI", OpenSloObject.name.in_(names)
    )
    rows = await session.execute(statement)
    return {row.name: slos.indicator_of(SLI.model_validate(row.document)) for row in rows}


# --- Writing --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What is told of a write beside the row itself."""

    snapshot: RequirementSnapshot
    action: str
    actor: str
    reason: str
    changed: Sequence[str]
    events: Sequence[Event]


_OUTBOX = (
    "INSERT INTO outbox (id, subject, key, data, trace) SELECT event.id, subject, event.key, event.data, trace"
    " FROM unnest(:event_ids, :event_subjects, :event_keys, :event_data, :event_traces)"
    " WITH ORDINALITY AS event (id, subject, key, data, trace, place) ORDER BY place"
)
_BESIDE = (
    ", revision AS (INSERT INTO requirement_revisions"  # noqa: S608 - own names
    "  (requirement_id, revision, at, actor, reason, status, changed, document)"
    "  SELECT :id, :new_revision, :at, :actor, :reason, :new_status, :changed, :snapshot),"
    f" audited AS ({audit.INSERT}),"
    " counted AS (INSERT INTO requirement_count_deltas (change, status, type, priority, service, owner_team)"
    "  SELECT delta.* FROM unnest(:count_changes, :count_statuses, :count_types, :count_priorities, :count_services,"
    "   :count_owner_teams) AS delta),"
    f" staged AS ({_OUTBOX})"
    f" SELECT {outbox.NOTIFY}"
)
_TYPES: dict[str, Any] = {
    "id": Uuid,
    "new_revision": Integer,
    **dict.fromkeys(("reason", "new_status", "snapshot"), Text),
    "changed": ARRAY(Text),
    **audit.TYPES,
    "event_ids": ARRAY(Uuid),
    **dict.fromkeys(("event_subjects", "event_keys", "event_data", "event_traces"), ARRAY(Text)),
    "count_changes": ARRAY(SmallInteger),
    **dict.fromkeys(
        ("count_statuses", "count_types", "count_priorities", "count_services", "count_owner_teams"), ARRAY(Text)
    ),
}


def _typed(statement: str, columns: Sequence[Any] = ()) -> TextClause:
    used = set(re.findall(r"(?<!:):(\w+)", statement))
    types = {**_TYPES, **{column.name: column.type for column in columns}}
    return text(statement).bindparams(*(bindparam(name, type_=types[name]) for name in sorted(used)))


_DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
# New rows and all that goes with each come as one document: many may be written at once. Those go on whose
# Idempotency-Key was free.
_GIVEN = {
    **{column.name: column.type.compile(_DIALECT) for column in _TABLE.columns},
    **dict.fromkeys(("reason", "snapshot", "entry"), "text"),
    "changed": "text[]",
    "digest": "bytea",
    "event_id": "uuid",
    **dict.fromkeys(("event_subject", "event_key", "event_data", "event_trace"), "text"),
    **idempotency.COLUMNS,
}
_INSERT = (
    text(
        "WITH given AS (SELECT * FROM json_to_recordset(:given)"  # noqa: S608 - own names
        f"  AS given ({', '.join(f'{name} {kind}' for name, kind in _GIVEN.items())})),"
        f" claimed AS ({idempotency.claim_from('given')}),"
        " go AS (SELECT given.* FROM given LEFT JOIN claimed"
        "  ON claimed.subject = idempotency_subject AND claimed.key = idempotency_key"
        "  WHERE idempotency_key IS NULL OR claimed.key IS NOT NULL),"
        f" written AS (INSERT INTO requirements ({', '.join(_TABLE.columns.keys())}) OVERRIDING SYSTEM VALUE"
        f"  SELECT {', '.join(_TABLE.columns.keys())} FROM go),"
        " revised AS (INSERT INTO requirement_revisions"
        "  (requirement_id, revision, at, actor, reason, status, changed, document)"
        "  SELECT id, revision, created_at, created_by, reason, status, changed, snapshot FROM go),"
        " audited AS (INSERT INTO audit_entries (entry, digest, entity_id, actor, action, at)"
        "  SELECT entry, digest, id::text, created_by, 'requirement.created', created_at FROM go ORDER BY number),"
        " counted AS (INSERT INTO requirement_count_deltas (change, status, type, priority, service, owner_team)"
        "  SELECT 1, status, type, priority, service, owner_team FROM go),"
        " staged AS (INSERT INTO outbox (id, subject, key, data, trace)"
        "  SELECT event_id, event_subject, event_key, event_data, event_trace FROM go ORDER BY number)"
        f" SELECT id, {outbox.NOTIFY} FROM go"
    )
    .bindparams(bindparam("given", type_=JSON))
    .execution_options(**{telemetry.SUMMARY: "INSERT requirements"})
)
_WRITTEN = [column for column in _COLUMNS if column.name not in ("number", "created_at", "created_by", "verdict")]
_UPDATE = _typed(
    "WITH written AS (UPDATE requirements SET "  # noqa: S608 - own names
    + ", ".join(f"{column.name} = :{column.name}" for column in _WRITTEN)
    + " WHERE id = :id)"
    + _BESIDE,
    _WRITTEN,
)
_GONE = "WITH written AS (DELETE FROM requirements WHERE id = :id)"
_DELETE = _typed(_GONE + _BESIDE)
_VERDICT = _typed(
    "WITH written AS"  # noqa: S608 - own names
    " (UPDATE requirements SET verdict = :verdict, document = :document WHERE id = :id),"
    f" staged AS ({_OUTBOX}) SELECT {outbox.NOTIFY}",
    [_TABLE.c.verdict, _TABLE.c.document],
)


async def insert(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> set[UUID]:
    """Write new requirements (`row_of_new`) in one statement. The ids of those whose Idempotency-Key was free."""
    return {row.id for row in await session.execute(_INSERT, {"given": rows})}


def row_of_new(
    snapshot: RequirementSnapshot,
    number: int,
    content: Mapping[str, Any],
    document: str,
    event: Event,
    *,
    reason: str,
    changed: Sequence[str],
) -> dict[str, Any]:
    """One row for `insert` as JSON; `content` is what people wrote, `document` the API's answer.

    With `idempotency.row_of` in it, it is written only where that key is free.
    """
    written = snapshot.model_dump_json()
    entry = audit.row_of(
        "created",
        "requirement",
        str(snapshot.id),
        snapshot.created_by,
        snapshot.created_at,
        revision=snapshot.revision,
        reason=reason,
        changed=changed,
        document=written,
    )
    return {
        **content,
        **{name: getattr(snapshot, name) for name in _BOOKKEEPING},
        "number": number,
        "authors": [snapshot.created_by],
        "reviewers": [],
        "document": document,
        "reason": reason,
        "changed": changed,
        "snapshot": written,
        "entry": entry["entry"],
        "digest": db.json_bytes(entry["digest"]),
        **{f"event_{name}": value for name, value in outbox.row_of(event).items()},
    }


async def save(session: AsyncSession, requirement: Requirement, before: Mapping[str, Any], change: Change) -> None:
    """Write the next revision of a locked requirement and all that goes with it."""
    after = {name: getattr(requirement, name) for name in FACETS}
    values = {column.name: getattr(requirement, column.name) for column in _WRITTEN}
    await session.execute(_UPDATE, values | _beside(change, before, after))


_SUSPECT = text(
    "UPDATE links SET suspect_since = CASE WHEN reviewed_fingerprint = :fingerprint THEN NULL ELSE :at END"
    " FROM requirements AS source WHERE target_id = :id"
    " AND (suspect_since IS NULL) = (reviewed_fingerprint <> :fingerprint) AND source.id = source_id"
    " RETURNING links.id, links.type, source_id, suspect_since, source.service, source.owner_team"
).bindparams(
    bindparam("id", type_=Uuid), bindparam("fingerprint", type_=Text), bindparam("at", type_=_TABLE.c.updated_at.type)
)


async def doubt(session: AsyncSession, id: UUID, fingerprint: str, at: datetime) -> Sequence[Any]:
    """Make the links to a requirement suspect that were reviewed for another fingerprint, and the others not.

    Returns those that became suspect.
    """
    rows = await session.execute(_SUSPECT, {"id": id, "fingerprint": fingerprint, "at": at})
    return [row for row in rows if row.suspect_since is not None]


async def remove(session: AsyncSession, before: Mapping[str, Any], change: Change) -> None:
    """Delete a locked requirement; its deletion is a revision without a document."""
    await session.execute(_DELETE, _beside(change, before, None))


async def save_verdict(session: AsyncSession, requirement: Requirement, judged: RequirementJudged) -> None:
    """Write the verdict, which is no part of a revision."""
    values = {"id": requirement.id, "verdict": requirement.verdict, "document": requirement.document}
    await session.execute(_VERDICT, values | _events([judged]))


_TELL = _typed(f"WITH staged AS ({_OUTBOX}) SELECT {outbox.NOTIFY}")


async def tell(session: AsyncSession, events: Sequence[Event]) -> None:
    """Stage events in one statement."""
    await session.execute(_TELL, _events(events))


def _events(events: Sequence[Event]) -> dict[str, Any]:
    rows = [outbox.row_of(event) for event in events]
    return {
        "event_ids": [row["id"] for row in rows],
        "event_subjects": [row["subject"] for row in rows],
        "event_keys": [row["key"] for row in rows],
        "event_data": [row["data"] for row in rows],
        "event_traces": [row["trace"] for row in rows],
    }


def _beside(change: Change, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any]:
    snapshot = change.snapshot
    document = "" if after is None else snapshot.model_dump_json()
    entry = audit.row_of(
        change.action,
        "requirement",
        str(snapshot.id),
        change.actor,
        snapshot.updated_at,
        revision=snapshot.revision,
        reason=change.reason,
        changed=change.changed,
        document=document,
    )
    moved = [(-1, before), (1, after)] if _facets(before) != _facets(after) else []
    counts = [(sign, facets) for sign, facets in moved if facets is not None]
    return (
        _events(change.events)
        | entry
        | {
            "id": snapshot.id,
            "new_revision": snapshot.revision,
            "new_status": "deleted" if after is None else snapshot.status.value,
            "reason": change.reason,
            "changed": list(change.changed),
            "snapshot": document,
            "count_changes": [sign for sign, _ in counts],
            "count_statuses": [facets["status"] for _, facets in counts],
            "count_types": [facets["type"] for _, facets in counts],
            "count_priorities": [facets["priority"] for _, facets in counts],
            "count_services": [facets["service"] for _, facets in counts],
            "count_owner_teams": [facets["owner_team"] for _, facets in counts],
        }
    )


def _facets(content: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
    return None if content is None else tuple(content[name] for name in FACETS)
