"""The SQL of coverage."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_requirements.coverage.schemas import SETTLED, Incomplete, UnrequiredService
from plumbline_requirements.listing.repository import GAPS, Filters, typed, where
from plumbline_requirements.listing.schemas import FacetName
from plumbline_requirements.models import key_of

_SETTLED = ", ".join(f"'{status.value}'" for status in SETTLED)
_GAPS = ", ".join(f"{lacks} AS no_{name}" for name, lacks in GAPS.items())
_ANY = " OR ".join(f"no_{name}" for name in GAPS)
_SUMS = ", ".join(("total", "in_force", "complete", *GAPS))


def _wanted(shape: Sequence[str]) -> str:
    asked = any(name in ("status", "statuss") for name in shape)
    return where(shape, *([] if asked else [f"status NOT IN ({_SETTLED})"]))


@lru_cache(maxsize=128)
def _counts(shape: tuple[str, ...], by: FacetName) -> TextClause:
    columns = ", ".join(f"count(*) FILTER (WHERE no_{name}) AS {name}" for name in GAPS)
    sums = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _SUMS.split(", "))
    return typed(
        f"WITH judged AS (SELECT {by} AS value, in_force IS NOT NULL AS in_force, {_GAPS} FROM requirements"  # noqa: S608
        f"  WHERE {_wanted(shape)}),"
        " groups AS (SELECT value, count(*) AS total, count(*) FILTER (WHERE in_force) AS in_force,"
        f"  count(*) FILTER (WHERE NOT ({_ANY})) AS complete, {columns} FROM judged GROUP BY value)"
        f" SELECT (SELECT row_to_json(whole) FROM (SELECT {sums} FROM groups) AS whole) AS whole,"
        " (SELECT count(*) FROM groups) AS count,"
        " (SELECT coalesce(json_agg(page), '[]') FROM (SELECT * FROM groups"
        "  ORDER BY total - complete DESC, value NULLS FIRST OFFSET :skip LIMIT :limit) AS page) AS page",
        shape,
    )


async def counts(session: AsyncSession, filters: Filters, by: FacetName, skip: int, limit: int) -> Any:
    """One row: `whole`, the sums; `count` of the groups; `page`, some of them, those with most gaps first."""
    return (
        await session.execute(_counts(filters.shape, by), {**filters.parameters, "skip": skip, "limit": limit})
    ).one()


@lru_cache(maxsize=128)
def _incomplete(shape: tuple[str, ...]) -> TextClause:
    return typed(
        "SELECT number, title, service, owner_team, in_force IS NOT NULL AS in_force,"  # noqa: S608
        f" {', '.join(f'no_{name}' for name in GAPS)}"
        f" FROM (SELECT *, {_GAPS} FROM requirements WHERE {_wanted(shape)}) AS judged WHERE {_ANY}"
        " ORDER BY in_force IS NULL, number LIMIT :limit",
        shape,
    )


async def incomplete(session: AsyncSession, filters: Filters, limit: int) -> list[Incomplete]:
    """Requirements that lack something, those in force first."""
    rows = await session.execute(_incomplete(filters.shape), {**filters.parameters, "limit": limit})
    return [
        Incomplete(
            key=key_of(row.number),
            title=row.title,
            service=row.service,
            owner_team=row.owner_team,
            in_force=row.in_force,
            gaps=[name for name in GAPS if getattr(row, f"no_{name}")],
        )
        for row in rows
    ]


_UNREQUIRED = text(
    "SELECT name, document -> 'metadata' ->> 'displayName' AS display_name,"  # noqa: S608 - own names
    " document -> 'spec' ->> 'description' AS description, count(*) OVER () AS total FROM openslo_objects"
    " WHERE kind = 'Service' AND NOT EXISTS (SELECT FROM requirements"
    f"  WHERE service = openslo_objects.name AND status NOT IN ({_SETTLED}))"
    " ORDER BY name OFFSET :skip LIMIT :limit"
)


async def unrequired(session: AsyncSession, skip: int, limit: int) -> tuple[list[UnrequiredService], int]:
    """Services without requirements, by name, and how many there are."""
    rows = (await session.execute(_UNREQUIRED, {"skip": skip, "limit": limit})).all()
    if not rows and skip:
        return [], (await unrequired(session, 0, 1))[1]
    members = tuple(UnrequiredService.model_fields)
    found = [UnrequiredService.model_validate({name: getattr(row, name) for name in members}) for row in rows]
    return found, rows[0].total if rows else 0
