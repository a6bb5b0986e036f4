"""The SQL of OpenSLO's shared objects, and of the way from names to requirements."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, BigInteger, Boolean, Row, Text, Uuid, bindparam, delete, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common.errors import NotFound
from plumbline_common.schemas import Slo
from plumbline_requirements.models import OpenSloObject, key_of
from plumbline_requirements.openslo.rules import Key, Pinning
from plumbline_requirements.openslo.schemas import SharedKind, SharedObject, Which

_MEMBERS = tuple(SharedObject.model_fields)


def missing(kind: str, name: str) -> NotFound:
    """What to raise where kind and name lead nowhere."""
    return NotFound(f"there is no {kind} called {name}")


_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('imports of OpenSLO of ' || current_user))")


async def lock(session: AsyncSession) -> None:
    """Imports go one after the other: two of the same SLO would make two requirements of it."""
    await session.execute(_LOCK)


async def objects(session: AsyncSession, keys: Collection[Key]) -> dict[Key, OpenSloObject]:
    rows = await session.scalars(
        select(OpenSloObject).where(tuple_(OpenSloObject.kind, OpenSloObject.name).in_(list(keys)))
    )
    return {(row.kind, row.name): row for row in rows}


async def one(session: AsyncSession, kind: str, name: str, *, lock: bool = False) -> OpenSloObject:
    """One object. Raises `NotFound`."""
    row = await session.get(OpenSloObject, (kind, name), with_for_update=lock)
    if row is None:
        raise missing(kind, name)
    return row


async def page(
    session: AsyncSession, kind: SharedKind | None, skip: int, limit: int
) -> tuple[Sequence[OpenSloObject], int]:
    """By kind and name, and how many there are."""
    wanted = [OpenSloObject.kind == kind] if kind is not None else []
    total = await session.scalar(select(func.count()).select_from(OpenSloObject).where(*wanted))
    rows = await session.scalars(
        select(OpenSloObject)
        .where(*wanted)
        .order_by(OpenSloObject.kind, OpenSloObject.name)
        .offset(skip)
        .limit(limit)
    )
    return rows.all(), total or 0


async def after(session: AsyncSession, kinds: Sequence[str], last: Key, limit: int) -> Sequence[OpenSloObject]:
    """The next objects of some kinds behind `last`, by kind and name."""
    key = tuple_(OpenSloObject.kind, OpenSloObject.name)
    rows = await session.scalars(
        select(OpenSloObject)
        .where(OpenSloObject.kind.in_(kinds), key > last)
        .order_by(OpenSloObject.kind, OpenSloObject.name)
        .limit(limit)
    )
    return rows.all()


_SAVE = text(
    "INSERT INTO openslo_objects (kind, name, document, revision, created_at, created_by, updated_at, updated_by)"
    " SELECT kind, name, document::jsonb, 1, :at, :actor, :at, :actor FROM unnest(:kinds, :names, :documents)"
    "  AS given (kind, name, document)"
    " ON CONFLICT (kind, name) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at,"
    "  updated_by = excluded.updated_by, revision = openslo_objects.revision + 1"
    " RETURNING kind, name, revision"
).bindparams(
    bindparam("at", type_=OpenSloObject.__table__.c.created_at.type),
    bindparam("actor", type_=Text),
    *(bindparam(name, type_=ARRAY(Text)) for name in ("kinds", "names", "documents")),
)


async def save(
    session: AsyncSession, documents: dict[Key, dict[str, Any]], actor: str, at: datetime
) -> dict[Key, int]:
    """Write objects. The revision of each."""
    values = {
        "kinds": [kind for kind, _ in documents],
        "names": [name for _, name in documents],
        "documents": [orjson.dumps(each).decode() for each in documents.values()],
    }
    rows = await session.execute(_SAVE, values | {"at": at, "actor": actor})
    return {(row.kind, row.name): row.revision for row in rows}


async def remove(session: AsyncSession, kind: str, name: str) -> None:
    await session.execute(delete(OpenSloObject).where(OpenSloObject.kind == kind, OpenSloObject.name == name))


_PINNED = "id, number, revision, title, status, owner_team, service, slos"
_NAMES = "slos <> '[]'::jsonb AND jsonb_path_query_array(slos, '$[*].name') ?| :slos"
_REFERENCES = (
    "jsonb_path_exists(slos, '$.**.indicatorRef') AND jsonb_path_query_array(slos, '$.**.indicatorRef') ?| :slis"
)
# Each part by an index of its own; what is retired or rejected has no SLO that a file could mean.
_PINNING = text(
    f"SELECT {_PINNED} FROM requirements WHERE status NOT IN ('rejected', 'retired') AND id IN ("  # noqa: S608
    f" SELECT id FROM requirements WHERE {_NAMES}"
    f" UNION SELECT id FROM requirements WHERE {_REFERENCES}"
    " UNION SELECT id FROM requirements WHERE number = ANY(:numbers)) ORDER BY id"
).bindparams(
    bindparam("slos", type_=ARRAY(Text)),
    bindparam("slis", type_=ARRAY(Text)),
    bindparam("numbers", type_=ARRAY(BigInteger)),
)


async def pinning(
    session: AsyncSession, slos: Collection[str], slis: Collection[str], numbers: Collection[int]
) -> list[Pinning]:
    """The requirements that pin an SLO of these names, refer to an SLI of these, or have one of these numbers."""
    rows = await session.execute(_PINNING, {"slos": list(slos), "slis": list(slis), "numbers": list(numbers)})
    return [_pinning(row) for row in rows]


_USERS = text(
    f"SELECT number FROM requirements WHERE {_REFERENCES} ORDER BY number LIMIT 5"  # noqa: S608 - own names
).bindparams(bindparam("slis", type_=ARRAY(Text)))


async def users(session: AsyncSession, sli: str) -> Sequence[int]:
    """The numbers of some requirements that refer to an SLI."""
    return (await session.scalars(_USERS, {"slis": [sli]})).all()


_IN_FORCE = (
    "CASE WHEN in_force = revision THEN slos ELSE (SELECT (document::jsonb) -> 'slos' FROM requirement_revisions"
    " WHERE requirement_id = requirements.id AND requirement_revisions.revision = requirements.in_force) END AS slos"
)


def _export(which: Which) -> Any:
    columns = _PINNED if which == "present" else _PINNED.replace("slos", _IN_FORCE)
    taken = "status NOT IN ('rejected', 'retired')" if which == "present" else "in_force IS NOT NULL"
    return text(
        f"SELECT {columns} FROM requirements WHERE id > :last AND slos <> '[]'::jsonb AND {taken}"  # noqa: S608
        " AND (:any_service OR service = :service) AND (:any_team OR owner_team = :owner_team)"
        " ORDER BY id LIMIT :limit"
    ).bindparams(
        bindparam("last", type_=Uuid),
        *(bindparam(name, type_=Boolean) for name in ("any_service", "any_team")),
        *(bindparam(name, type_=Text) for name in ("service", "owner_team")),
        bindparam("limit", type_=BigInteger),
    )


_EXPORTS: dict[Which, Any] = {"present": _export("present"), "in_force": _export("in_force")}


async def with_slos(
    session: AsyncSession, which: Which, service: str | None, owner_team: str | None, last: UUID, limit: int
) -> list[Pinning]:
    """The next requirements behind `last` that have SLOs, as they are or as production is held against them."""
    rows = await session.execute(
        _EXPORTS[which],
        {
            "last": last,
            "any_service": service is None,
            "service": service,
            "any_team": owner_team is None,
            "owner_team": owner_team,
            "limit": limit,
        },
    )
    return [_pinning(row) for row in rows]


def _pinning(row: Row[Any]) -> Pinning:
    members = row._asdict() | {"slos": [Slo.model_validate(slo) for slo in row.slos]}
    return Pinning(key=key_of(members.pop("number")), **members)


def shown(row: OpenSloObject) -> SharedObject:
    return SharedObject.model_validate({name: getattr(row, name) for name in _MEMBERS})
