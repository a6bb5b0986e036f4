"""What a kept query may say, decided without I/O."""

from collections.abc import Mapping

from plumbline_common.errors import Conflict, Invalid

PARAMETERS = frozenset(
    {
        "id",
        "key",
        "status",
        "type",
        "priority",
        "service",
        "owner_team",
        "created_by",
        "updated_by",
        "reviewer",
        "suspect",
        "verdict",
        "in_force",
        "fingerprint",
        "gap",
        "label",
        "created_after",
        "created_before",
        "updated_after",
        "updated_before",
        "q",
        "sort",
        "fields",
        "facets",
    }
)
"""The parameters of the list of requirements that say what is shown; paging is not kept."""

Query = Mapping[str, str | list[str]]


class ViewExists(Conflict):
    slug = "view-exists"
    title = "The team has a view of that name"


class BadQuery(Invalid):
    """A query that the list of requirements would refuse: pointers to what is wrong, and why."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__(
            "; ".join(f"{pointer}: {detail}" for pointer, detail in list(faults.items())[:3]),
            errors=[{"pointer": pointer, "detail": detail} for pointer, detail in faults.items()],
        )


def pointer(name: str) -> str:
    """To a member of the query (RFC 6901)."""
    return f"/query/{name.replace('~', '~0').replace('/', '~1')}"[:500]


def check_names(query: Query) -> None:
    """Raise `BadQuery` where the list has no such parameter."""
    unknown = [name for name in query if name not in PARAMETERS]
    if unknown:
        known = ", ".join(sorted(PARAMETERS))
        raise BadQuery({pointer(name): f"is none of {known}" for name in unknown})
