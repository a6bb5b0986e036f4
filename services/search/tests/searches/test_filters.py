from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from indexed import NOW, Put, document
from plumbline_common import db
from plumbline_search.models import FirstPassage, SearchDocument
from plumbline_search.searches import filters, repository
from plumbline_search.searches.filters import Condition, Filter
from plumbline_search.searches.repository import Gate

ADAPTER: TypeAdapter[Filter] = TypeAdapter(Condition)


def parsed(given: Any) -> Filter:
    return ADAPTER.validate_python(given)


FACETS: list[dict[str, Any]] = [
    {"severity": "critical", "score": 7.5, "tags": ["db", "disk"]},
    {"severity": "warning", "score": 2, "paged": True},
    {"severity": "critical", "tags": ["disk"]},
    {},
]


async def found(session: AsyncSession, given: Any) -> list[int]:
    """The numbers of the documents that the filter lets through: by the documents, and by their passages."""
    by_table = []
    for table in (SearchDocument, FirstPassage):
        values: list[Any] = []
        where = repository.where(Gate(parsed(given)), values)
        rows = await db.fetch(session, f"SELECT team FROM {table.__tablename__} WHERE {where}", *values)
        by_table.append(sorted(int(row["team"]) for row in rows))
    assert by_table[0] == by_table[1]
    return by_table[0]


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ({"facet": "severity", "in": ["critical"]}, [1, 3]),
        ({"facet": "severity", "in": ["critical", "warning"]}, [1, 2, 3]),
        ({"facet": "tags", "in": ["disk"]}, [1, 3]),
        ({"facet": "tags", "in": ["db", "net"]}, [1]),
        ({"facet": "paged", "in": [True]}, [2]),
        ({"facet": "score", "in": [2]}, [2]),
        ({"facet": "score", "gt": 2}, [1]),
        ({"facet": "score", "gte": 2, "lt": 7.5}, [2]),
        ({"facet": "severity", "gt": "d"}, [2]),
        ({"facet": "severity", "gte": 1}, []),
        ({"facet": "tags", "exists": True}, [1, 3]),
        ({"facet": "severity", "exists": False}, [4]),
        ({"facet": "kind", "in": ["requirement", "anomaly"]}, [1, 2, 3, 4]),
        ({"facet": "kind", "in": [7, True]}, []),
        ({"facet": "service", "in": ["checkout"]}, [1, 2]),
        ({"facet": "service", "exists": False}, [3, 4]),
        ({"not": {"facet": "service", "in": ["checkout"]}}, [3, 4]),
        ({"not": {"facet": "severity", "in": ["critical"]}}, [2, 4]),
        ({"facet": "updated_at", "gte": "2026-03-02T12:00:00Z"}, [2, 3, 4]),
        ({"facet": "updated_at", "gt": "2026-03-02T12:00:00Z", "lt": "2026-03-04T13:00:00+01:00"}, [3]),
        ({"facet": "updated_at", "in": ["2026-03-02T12:00:00Z", "2026-03-03T13:00:00+01:00"]}, [2, 3]),
        ({"facet": "team", "gt": "2"}, [3, 4]),
        (
            {
                "and": [
                    {"or": [{"facet": "severity", "in": ["warning"]}, {"facet": "tags", "in": ["disk"]}]},
                    {"not": {"facet": "score", "exists": True}},
                ]
            },
            [3],
        ),
        ({"facet": "no' OR true --", "in": ["' OR true --", "{}", "\\"]}, []),
    ],
)
async def test_what_a_filter_lets_through(put: Put, reading: AsyncSession, given: Any, numbers: list[int]) -> None:
    for number, facets in enumerate(FACETS, 1):
        await put(
            document(
                number,
                team=str(number),
                facets=facets,
                service="checkout" if number < 3 else None,
                updated_at=NOW + timedelta(days=number - 1),
            )
        )
    assert await found(reading, given) == numbers


@pytest.mark.parametrize(
    "given",
    [
        {},
        [],
        "service",
        {"facet": "service"},
        {"facet": "service", "in": []},
        {"facet": "service", "in": ["a"] * 101},
        {"facet": "", "in": ["a"]},
        {"facet": "service", "in": [None]},
        {"facet": "service", "in": ["a\x00b"]},
        {"facet": "service", "in": ["a"], "surprise": 1},
        {"facet": "score", "gt": float("nan")},
        {"facet": "updated_at", "gt": "yesterday"},
        {"facet": "updated_at", "gt": 5},
        {"facet": "updated_at", "in": ["2026-03-02"]},
        {"facet": "service", "exists": "perhaps"},
        {"and": []},
        {"and": [{"facet": "a", "exists": True}], "or": [{"facet": "a", "exists": True}]},
        {"or": "x"},
        {"not": None},
        {"and": [{"facet": "a", "exists": True}] * 101},
    ],
)
def test_a_malformed_filter_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        parsed(given)


@pytest.mark.parametrize("depth", [filters.DEEPEST, 5_000])
def test_a_filter_that_is_too_deep_is_refused_before_anything_descends(depth: int) -> None:
    given: Any = {"facet": "a", "exists": True}
    for _ in range(depth):
        given = {"not": given}
    with pytest.raises(ValidationError, match="must not be nested deeper than 10"):
        parsed(given)


leaves = st.sampled_from(
    [{"facet": "a", "in": ["x", 1, True]}, {"facet": "b", "exists": False}, {"facet": "c", "lt": 3}]
)
trees: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"and": each}),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"or": each}),
        inner.map(lambda each: {"not": each}),
    ),
    max_leaves=8,
).filter(lambda tree: _depth(tree) <= filters.DEEPEST)


def _depth(tree: Any) -> int:
    return 1 + max(map(_depth, _inner(tree)), default=0)


def _inner(tree: Any) -> Iterator[Any]:
    for member in ("and", "or"):
        yield from tree.get(member, [])
    if "not" in tree:
        yield tree["not"]


@given(trees)
def test_a_filter_is_written_as_it_was_read(tree: Any) -> None:
    assert parsed(tree).model_dump(mode="json", exclude_none=True) == tree
    assert set(filters.facets_of(parsed(tree))) <= {"a", "b", "c"}
