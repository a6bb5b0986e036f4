"""What the history API answers."""

from typing import Any

from pydantic import AwareDatetime, Field

from plumbline_common.schemas import Schema


class RevisionView(Schema):
    """One revision without what it said."""

    revision: int
    status: str
    """The state at that revision; `deleted` for the end of a requirement."""
    actor: str
    reason: str
    at: AwareDatetime
    changed: list[str]


class RevisionPage(Schema):
    items: list[RevisionView]
    total: int


class FieldChange(Schema):
    """A member that differs. What is missing on one side is null there."""

    pointer: str
    """JSON pointer (RFC 6901) into the requirement."""
    before: Any
    after: Any


class Difference(Schema):
    """What leads from one revision to another."""

    from_revision: int = Field(serialization_alias="from")
    to_revision: int = Field(serialization_alias="to")
    changes: list[FieldChange]
