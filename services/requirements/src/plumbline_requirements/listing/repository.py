"""The SQL of pages and counts.

Totals and facets by status, type, priority, service and owner team are kept: every write adds a delta in its own
transaction, and a task folds the deltas into `requirement_counts`, so that a total costs the same for a thousand
requirements and for a million. Other filters are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Boolean, Text, TextClause, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from plumbline_common import db
from plumbline_requirements.listing.rules import SORTABLE, Gap, Order
from plumbline_requirements.requirements.repository import DOCUMENT, FACETS, SUSPECTS

# The bits of GROUPING(status, type, priority, service, owner_team): 1 where a facet does not count.
_ALL, _NONE = 0, 31
_ONE = {name: _NONE - (1 << (len(FACETS) - 1 - place)) for place, name in enumerate(FACETS)}

GAPS: Mapping[Gap, str] = {
    "sli": "slos = '[]'::jsonb",
    "owner": "owner_team IS NULL",
    "verification": (
        "NOT EXISTS (SELECT FROM links WHERE target_id = requirements.id AND type = 'verifies'"
        " AND suspect_since IS NULL AND evidence ->> 'result' = 'passed')"
    ),
    "verdict": (
        "(in_force IS NOT NULL AND (verdict IS NULL OR verdict ->> 'state' = 'NO_DATA'"
        " OR (verdict ->> 'revision')::int <> in_force))"
    ),
}
"""What a requirement lacks that has this gap, as SQL."""

# Each filter by its name: an SQL condition and the type of its parameter.
_CONDITIONS: dict[str, tuple[str, Any]] = {
    "id": ("id = ANY(:id)", ARRAY(Uuid)),
    "key": ("number = ANY(:key)", ARRAY(BigInteger)),
    **{name: (f"{name} = :{name}", Text) for name in FACETS},
    **{f"{name}s": (f"{name} = ANY(:{name}s)", ARRAY(Text)) for name in FACETS},
    "created_by": ("created_by = ANY(:created_by)", ARRAY(Text)),
    "updated_by": ("updated_by = ANY(:updated_by)", ARRAY(Text)),
    "reviewer": ("status = 'in_review' AND reviewers && :reviewer", ARRAY(Text)),
    "verdict": ("verdict ->> 'state' = ANY(:verdict)", ARRAY(Text)),
    "suspect": (
        "EXISTS (SELECT FROM links WHERE source_id = requirements.id AND suspect_since IS NOT NULL) = :suspect",
        Boolean,
    ),
    "gap": (
        "(" + " OR ".join(f"('{name}' = ANY(:gap) AND {lacks})" for name, lacks in GAPS.items()) + ")",
        ARRAY(Text),
    ),
    "in_force": ("(in_force IS NOT NULL) = :in_force", Boolean),
    "fingerprint": ("fingerprint = ANY(:fingerprint)", ARRAY(Text)),
    "labels": ("labels @> :labels", JSONB),
    "label_names": ("labels ?& :label_names", ARRAY(Text)),
    "created_after": ("created_at >= :created_after", db.timestamp()),
    "created_before": ("created_at < :created_before", db.timestamp()),
    "updated_after": ("updated_at >= :updated_after", db.timestamp()),
    "updated_before": ("updated_at < :updated_before", db.timestamp()),
    "words": ("to_tsvector('simple', title) @@ to_tsquery('simple', :words)", Text),
    "words_or_number": (
        "(to_tsvector('simple', title) @@ to_tsquery('simple', :words_or_number) OR number = :number)",
        Text,
    ),
    "nothing": ("false", None),
}


@dataclass(frozen=True)
class Filters:
    """Parameters by the names of `_CONDITIONS`, and those that a condition takes beside its own."""

    values: Mapping[str, Any]
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[str, ...]:
        return tuple(name for name in _CONDITIONS if name in self.values)

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: value for name, value in self.values.items() if name != "nothing"} | dict(self.beside)

    def without(self, facet: str) -> "Filters":
        """The same without the filter by this facet."""
        kept = {name: value for name, value in self.values.items() if name not in (facet, f"{facet}s")}
        return Filters(kept, self.beside)


def _facets_of(shape: Sequence[str]) -> list[str] | None:
    """The facets that a shape filters by; None where it filters by something else too."""
    facets = [name.removesuffix("s") if name not in FACETS else name for name in shape]
    return facets if all(name in FACETS for name in facets) else None


def where(shape: Sequence[str], *more: str) -> str:
    """The condition of filters of this shape."""
    return " AND ".join([*(_CONDITIONS[name][0] for name in shape), *more]) or "true"


def typed(statement: str, shape: Sequence[str]) -> TextClause:
    """The statement with the parameters that filters of this shape have."""
    params = [bindparam(name, type_=_CONDITIONS[name][1]) for name in shape if _CONDITIONS[name][1] is not None]
    if ":number" in statement:
        params.append(bindparam("number", type_=BigInteger))
    return text(statement).bindparams(*params)


def _after(order: Sequence[Order]) -> str:
    """The rows behind a cursor's place: one comparison of rows where all go one way, else step by step."""
    columns = [SORTABLE[each.name] for each in order]
    values = [f"CAST(CAST(:after{n} AS text) AS {column.kind})" for n, column in enumerate(columns)]
    if len({each.descending for each in order}) == 1:
        sign = "<" if order[0].descending else ">"
        return f"({', '.join(column.expression for column in columns)}) {sign} ({', '.join(values)})"
    steps = []
    for n, each in enumerate(order):
        equal = [f"{columns[m].expression} = {values[m]}" for m in range(n)]
        steps.append(" AND ".join([*equal, f"{columns[n].expression} {'<' if each.descending else '>'} {values[n]}"]))
    return f"({' OR '.join(steps)})"


def _counted(shape: Sequence[str]) -> str:
    """How many match, from the counts where they tell it."""
    facets = _facets_of(shape)
    if facets is None:
        return f"(SELECT count(*) FROM requirements WHERE {where(shape)})"  # noqa: S608 - own names
    grouping = {0: _NONE, 1: _ONE[facets[0]] if facets else _NONE}.get(len(facets), _ALL)
    return (
        "(SELECT coalesce((SELECT sum(total) FROM requirement_counts"  # noqa: S608 - own names
        f" WHERE {where(shape, f'grouping = {grouping}')}), 0)"
        f" + coalesce((SELECT sum(change) FROM requirement_count_deltas WHERE {where(shape)}), 0))::bigint"
    )


@lru_cache(maxsize=512)
def _page(shape: tuple[str, ...], order: tuple[Order, ...], behind: bool) -> TextClause:
    """One statement, one snapshot, one round trip; the documents come as bytes, as they are sent."""
    by = ", ".join(f"{SORTABLE[each.name].expression} {'DESC' if each.descending else 'ASC'}" for each in order)
    place = ", ".join(SORTABLE[each.name].expression for each in order)
    wanted = where(shape, *([_after(order)] if behind else []))
    return typed(
        f"SELECT convert_to(coalesce(string_agg({DOCUMENT}, ','), ''), 'UTF8') AS documents, count(*) AS size,"  # noqa: S608
        f" (array_agg(place))[count(*)::int]::text AS last, {_counted(shape)} AS total"
        f" FROM (SELECT document, {SUSPECTS} AS suspects, jsonb_build_array({place}) AS place"
        f"  FROM requirements WHERE {wanted} ORDER BY {by} OFFSET :skip LIMIT :limit) AS page",
        shape,
    )


async def page(
    session: AsyncSession, filters: Filters, order: tuple[Order, ...], after: Sequence[Any], skip: int, limit: int
) -> Any:
    """One row: `documents` joined with commas, `size`, sort values of the `last`, `total` of all that match."""
    statement = _page(filters.shape, order, bool(after))
    places = {f"after{n}": str(value) for n, value in enumerate(after)}
    return (await session.execute(statement, {**filters.parameters, **places, "skip": skip, "limit": limit})).one()


@lru_cache(maxsize=512)
def _facet(shape: tuple[str, ...], facet: str) -> TextClause:
    facets = _facets_of(shape)
    if facets is None:
        source = f"SELECT {facet}, count(*) AS part FROM requirements WHERE {where(shape)} GROUP BY 1"  # noqa: S608
    else:
        grouping = _ALL if facets else _ONE[facet]
        source = (
            f"SELECT {facet}, total AS part FROM requirement_counts"  # noqa: S608 - own names
            f" WHERE {where(shape, f'grouping = {grouping}')}"
            f" UNION ALL SELECT {facet}, change FROM requirement_count_deltas WHERE {where(shape)}"
        )
    return typed(
        f"SELECT {facet} AS value, sum(part)::bigint AS count FROM ({source}) AS parts"  # noqa: S608 - own names
        " GROUP BY 1 HAVING sum(part) > 0 ORDER BY 2 DESC, 1 LIMIT 100",
        shape,
    )


async def facet(session: AsyncSession, filters: Filters, name: str) -> list[tuple[str | None, int]]:
    """The values of one facet and how many have each, the most frequent first, at most 100."""
    others = filters.without(name)
    rows = await session.execute(_facet(others.shape, name), others.parameters)
    return [(row[0], row[1]) for row in rows]


_FOLD = text(
    "WITH gone AS (DELETE FROM requirement_count_deltas WHERE seq IN"
    "  (SELECT seq FROM requirement_count_deltas ORDER BY seq LIMIT :limit FOR UPDATE SKIP LOCKED)"
    "  RETURNING change, status, type, priority, service, owner_team),"
    " folded AS (SELECT GROUPING(status, type, priority, service, owner_team) AS grouping, status, type, priority,"
    "   service, owner_team, sum(change) AS total FROM gone GROUP BY GROUPING SETS"
    "   ((status, type, priority, service, owner_team), (status), (type), (priority), (service), (owner_team), ())),"
    " kept AS (INSERT INTO requirement_counts (grouping, status, type, priority, service, owner_team, total)"
    "  SELECT * FROM folded WHERE total <> 0"
    "  ON CONFLICT (grouping, status, type, priority, service, owner_team)"
    "  DO UPDATE SET total = requirement_counts.total + excluded.total)"
    " SELECT count(*) FROM gone"
)
_LEAD = text("SELECT pg_try_advisory_xact_lock(hashtext('folder of counts of ' || current_user))")


async def fold(session: AsyncSession, limit: int) -> int:
    """Fold up to `limit` deltas into the counts. Returns how many; 0 where another process does it."""
    if not (await session.execute(_LEAD)).scalar_one():
        return 0
    folded: int = (await session.execute(_FOLD, {"limit": limit})).scalar_one()
    return folded
