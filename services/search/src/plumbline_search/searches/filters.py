"""What a hit must be: conditions on facets, nested with `and`, `or` and `not`."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from plumbline_common.schemas import Instant, Name, Schema, Storable

DEEPEST = 10
MOST = 100
"""Conditions of one filter."""

COLUMNS = ("kind", "service", "team", "state", "updated_at")
"""Facets that every document may have; the others are its own."""

Word = Annotated[str, Field(max_length=1000), Storable]


# The brackets: a tag is no member of what was sent, and no pointer to a fault names it.
def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "[boolean]"
    return "[number]" if isinstance(value, int | float) else "[text]"


Value = Annotated[
    Annotated[Word, Tag("[text]")] | Annotated[float, Tag("[number]")] | Annotated[bool, Tag("[boolean]")],
    Discriminator(_type),
]
Bound = Annotated[Annotated[Word, Tag("[text]")] | Annotated[float, Tag("[number]")], Discriminator(_type)]


class _Nested(Schema):
    model_config = ConfigDict(serialize_by_alias=True)


class AllOf(_Nested):
    """A hit meets every one of these."""

    all: Annotated[list["Filter"], Field(alias="and", min_length=1, max_length=MOST)]


class AnyOf(_Nested):
    """A hit meets at least one of these."""

    any: Annotated[list["Filter"], Field(alias="or", min_length=1, max_length=MOST)]


class NotThis(_Nested):
    """A hit does not meet this."""

    inner: Annotated["Filter", Field(alias="not")]


class IsIn(_Nested):
    """The facet has one of these values, or holds one of them where it is a list."""

    facet: Name
    values: Annotated[list[Value], Field(alias="in", min_length=1, max_length=MOST)]

    @model_validator(mode="after")
    def _comparable(self) -> "IsIn":
        if self.facet == "updated_at":
            _ = self.instants
        return self

    @property
    def instants(self) -> list[datetime]:
        """The values of `updated_at`. Raises `ValueError` where one is no instant."""
        return [_instant(value) for value in self.values]


class Exists(Schema):
    """The facet has a value."""

    facet: Name
    exists: bool


class Between(Schema):
    """The facet lies between these. A number is compared with numbers, a text with texts."""

    facet: Name
    gt: Bound | None = None
    gte: Bound | None = None
    lt: Bound | None = None
    lte: Bound | None = None

    @model_validator(mode="after")
    def _comparable(self) -> "Between":
        if not self.bounds:
            raise ValueError("one of in, exists, gt, gte, lt and lte must be given")
        return self

    @property
    def bounds(self) -> dict[str, Any]:
        """By the name of the comparison; of `updated_at` as instants. Raises `ValueError` where it is none."""
        given = {name: getattr(self, name) for name in ("gt", "gte", "lt", "lte")}
        found = {name: bound for name, bound in given.items() if bound is not None}
        if self.facet != "updated_at":
            return found
        return {name: _instant(bound) for name, bound in found.items()}


_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


def _instant(value: Any) -> datetime:
    try:
        return _INSTANT.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        raise ValueError("updated_at is compared with an RFC 3339 date and time, with its zone") from None


def _form(value: Any) -> str:
    if isinstance(value, dict):
        return next(
            (f"[{member}]" for member in ("and", "or", "not", "in", "exists") if member in value), "[between]"
        )
    forms = ((AllOf, "[and]"), (AnyOf, "[or]"), (NotThis, "[not]"), (IsIn, "[in]"), (Exists, "[exists]"))
    return next((name for form, name in forms if isinstance(value, form)), "[between]")


Filter = Annotated[
    Annotated[AllOf, Tag("[and]")]
    | Annotated[AnyOf, Tag("[or]")]
    | Annotated[NotThis, Tag("[not]")]
    | Annotated[IsIn, Tag("[in]")]
    | Annotated[Exists, Tag("[exists]")]
    | Annotated[Between, Tag("[between]")],
    Discriminator(_form),
]
for _nested in (AllOf, AnyOf, NotThis):
    _nested.model_rebuild()


def _bounded(given: Any) -> Any:
    """Refuses what is too deep or too much, before anything descends into it."""
    conditions, waiting = 0, [(given, 1)]
    while waiting:
        value, depth = waiting.pop()
        if not isinstance(value, dict):
            continue
        if depth > DEEPEST:
            raise ValueError(f"must not be nested deeper than {DEEPEST}")
        conditions += 1
        if conditions > MOST:
            raise ValueError(f"must not have more than {MOST} conditions")
        for member in ("and", "or", "not"):
            inner = value.get(member)
            waiting += [(each, depth + 1) for each in (inner if isinstance(inner, list) else [inner])]
    return given


Condition = Annotated[Filter, BeforeValidator(_bounded)]
"""A filter as it is sent, of bounded depth and size."""


def facets_of(condition: Filter) -> Iterator[str]:
    """The facets that it names."""
    waiting: list[Filter] = [condition]
    while waiting:
        match waiting.pop():
            case AllOf(all=inner) | AnyOf(any=inner):
                waiting += inner
            case NotThis(inner=inner):
                waiting.append(inner)
            case leaf:
                yield leaf.facet
