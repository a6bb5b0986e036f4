"""The comparison of schemas that holds each service's newest migration to expand and contract."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from expansion import Catalogue, Column, Constraint, Table, broken

BEFORE: Catalogue = {
    "jobs": Table(
        {
            "id": Column("uuid", required=True),
            "kind": Column("character varying(20)", required=True),
            "made": Column("timestamp with time zone", required=True, filled=True),
            "note": Column("text"),
            "tries": Column("integer"),
        },
        {"ck_kind": Constraint(frozenset({"kind"}), "CHECK (kind = ANY (ARRAY['a', 'b']))")},
    )
}


def new(column: Column) -> Callable[[Any], Any]:
    return lambda after: after["jobs"].columns.update(more=column)


def other(name: str, column: Column) -> Callable[[Any], Any]:
    return lambda after: after["jobs"].columns.update({name: column})


def constraint(name: str, columns: set[str], definition: str) -> Callable[[Any], Any]:
    return lambda after: after["jobs"].constraints.update({name: Constraint(frozenset(columns), definition)})


@pytest.mark.parametrize(
    "expanding",
    [
        lambda after: after.update(more=Table()),
        new(Column("text")),
        new(Column("text", required=True, filled=True)),
        other("kind", Column("character varying(40)", required=True)),
        other("kind", Column("text", required=True)),
        other("tries", Column("bigint")),
        other("id", Column("uuid")),
        constraint("ck_kind", {"kind"}, "CHECK (kind = ANY (ARRAY['a', 'b', 'c']))"),
        constraint("ck_more", {"more"}, "CHECK (more > 0)"),
        lambda after: after["jobs"].constraints.clear(),
    ],
)
def test_what_only_expands_breaks_nothing(expanding: Callable[[Any], Any]) -> None:
    after = copy.deepcopy(BEFORE)
    expanding(after)
    assert list(broken(BEFORE, after)) == []


@pytest.mark.parametrize(
    ("breaking", "found"),
    [
        (lambda after: after.pop("jobs"), "jobs is gone"),
        (lambda after: after["jobs"].columns.pop("note"), "jobs.note is gone"),
        (new(Column("text", required=True)), "jobs.more is new, required and has no default"),
        (other("note", Column("text", required=True)), "jobs.note has become required"),
        (other("note", Column("integer")), "jobs.note was text and is integer"),
        (
            other("kind", Column("character varying(10)", True)),
            "jobs.kind was character varying(20) and is character varying(10)",
        ),
        (other("made", Column("timestamp with time zone", True)), "jobs.made has lost its default"),
        (constraint("uq_note", {"note"}, "UNIQUE (note)"), "jobs: uq_note is new: UNIQUE (note)"),
        (constraint("uq_lower", set(), "UNIQUE (lower(note))"), "jobs: uq_lower is new: UNIQUE (lower(note))"),
        (
            constraint("ck_kind", {"kind"}, "CHECK (kind = 'a')"),
            "jobs: ck_kind was CHECK (kind = ANY (ARRAY['a', 'b'])) and is CHECK (kind = 'a')",
        ),
    ],
)
def test_what_the_release_before_cannot_live_with_is_found(breaking: Callable[[Any], Any], found: str) -> None:
    after = copy.deepcopy(BEFORE)
    breaking(after)
    assert list(broken(BEFORE, after)) == [found]


@pytest.mark.parametrize("contracts", [("jobs.note", "jobs"), ("jobs.note", "jobs.kind")])
def test_what_a_migration_says_that_nobody_uses_may_go(contracts: tuple[str, ...]) -> None:
    after = copy.deepcopy(BEFORE)
    del after["jobs"].columns["note"]
    if "jobs.kind" not in contracts:
        del after["jobs"]
    assert list(broken(BEFORE, after, contracts)) == []
