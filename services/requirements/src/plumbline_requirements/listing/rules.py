"""Sort orders and cursors, without I/O."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StrictInt, StrictStr, TypeAdapter

from plumbline_common.errors import Invalid
from plumbline_common.schemas import Instant, Storable

Gap = Literal["sli", "owner", "verification", "verdict"]
"""What a requirement may lack."""


@dataclass(frozen=True)
class Column:
    """What may be sorted by: an SQL expression that is never null, and its type."""

    expression: str
    kind: str


SORTABLE = {
    "id": Column("id", "uuid"),
    "key": Column("number", "bigint"),
    "title": Column("title", "text"),
    "status": Column("status", "text"),
    "type": Column("type", "text"),
    "priority": Column("priority", "text"),
    "service": Column("coalesce(service, '')", "text"),
    "owner_team": Column("coalesce(owner_team, '')", "text"),
    "revision": Column("revision", "int"),
    "created_at": Column("created_at", "timestamptz"),
    "created_by": Column("created_by", "text"),
    "updated_at": Column("updated_at", "timestamptz"),
    "updated_by": Column("updated_by", "text"),
}

# What a cursor may hold, so that no value reaches the database that it would choke on.
_KINDS: dict[str, TypeAdapter[Any]] = {
    "uuid": TypeAdapter(UUID),
    "bigint": TypeAdapter(Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]),
    "int": TypeAdapter(Annotated[StrictInt, Field(ge=-(2**31), lt=2**31)]),
    "text": TypeAdapter(Annotated[StrictStr, Storable]),
    "timestamptz": TypeAdapter(Instant),
}


@dataclass(frozen=True)
class Order:
    """A sort member and its direction."""

    name: str
    descending: bool


class BadParameter(Invalid):
    """A query parameter that says something impossible."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(f"{parameter}: {detail}", errors=[{"parameter": parameter, "detail": detail}])


def names_of(text: str, allowed: Sequence[str], parameter: str) -> list[str]:
    """The names of a list with commas. Raises `BadParameter` for one that is not allowed."""
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise BadParameter(parameter, f"{unknown[0]!r} is none of {', '.join(allowed)}")
    return list(dict.fromkeys(names))


def order_of(sort: str) -> tuple[Order, ...]:
    """The members to sort by; the id comes last, so that the order is total. Raises `BadParameter`."""
    parts = [part.strip() for part in sort.split(",")] if sort.strip() else []
    orders = [Order(part.removeprefix("-"), part.startswith("-")) for part in parts]
    names_of(",".join(order.name for order in orders), list(SORTABLE), "sort")
    if len({order.name for order in orders}) != len(orders) or len(orders) > 5:
        raise BadParameter("sort", "at most five members, each once")
    if not orders:
        return (Order("id", True),)
    if orders[-1].name != "id":
        orders.append(Order("id", orders[-1].descending))
    return tuple(orders)


def words_of(q: str) -> str:
    """A tsquery of word beginnings, all of which must be found; empty where `q` has no word."""
    return " & ".join(f"{word}:*" for word in re.findall(r"\w+", q.lower())[:20])


def cursor_of(query: str, values: Sequence[Any]) -> str:
    """An opaque place in the order of `query` (its fingerprint): after the row with these values."""
    body = json.dumps([query, list(values)], separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()[:8] + body).decode().rstrip("=")


def values_of(cursor: str, query: str, order: Sequence[Order]) -> list[Any]:
    """The values that a cursor stands for. Raises `BadParameter` where it is damaged or of another query."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, body = raw[:8], raw[8:]
        if hashlib.sha256(body).digest()[:8] != check:
            raise ValueError
        made_for, values = json.loads(body)
        if len(values) != len(order):
            raise ValueError
        for value, each in zip(values, order, strict=True):
            _KINDS[SORTABLE[each.name].kind].validate_python(value, strict=False)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise BadParameter("cursor", "is damaged; take it from `next` of the page before") from None
    if made_for != query:
        raise BadParameter("cursor", "is of another query: filters and sort must stay the same from page to page")
    return list(values)


def fingerprint(members: dict[str, Any]) -> str:
    """Tells queries apart: what filters and sorts, and nothing else."""
    return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:16]


def in_words(filters: Mapping[str, Any]) -> list[str]:
    """What filters say, for the head of a report."""
    return [
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in filters.items()
    ]
