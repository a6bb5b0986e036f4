"""What the bulk API takes and answers."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, TypeAdapter

from plumbline_common.schemas import RequirementStatus, Schema
from plumbline_requirements.requirements.schemas import Reason, RequirementContent, RequirementPatch, Subject

MOST = 1000
Match = Annotated[str, StringConstraints(max_length=200)]


class CreateItem(Schema):
    op: Literal["create"]
    content: RequirementContent
    reason: Reason = ""


class UpdateItem(Schema):
    op: Literal["update"]
    id: UUID
    if_match: Match | None = None
    patch: RequirementPatch
    reason: Reason = ""


class TransitionItem(Schema):
    op: Literal["transition"]
    id: UUID
    if_match: Match | None = None
    to: RequirementStatus
    reason: Reason = ""
    reviewers: Annotated[list[Subject], Field(max_length=20)] = []


Item = Annotated[CreateItem | UpdateItem | TransitionItem, Field(discriminator="op")]
ITEM: TypeAdapter[CreateItem | UpdateItem | TransitionItem] = TypeAdapter(Item)


class BulkRequest(Schema):
    items: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST)]
    """Each `{"op": "create", "content": …}`, `{"op": "update", "id": …, "if_match": …, "patch": …}` or
    `{"op": "transition", "id": …, "if_match": …, "to": …}`, with a `reason`."""
    atomic: bool = False
    """All or nothing: where one fails, none is done."""


class ItemResult(Schema):
    index: int
    """The place in the request, from 0."""
    status: int
    """What the change alone would have been answered: 200, 201, or the status of `problem`."""
    id: UUID | None = None
    revision: int | None = None
    problem: dict[str, Any] | None = None
    """RFC 9457, with pointers from the item on."""


class BulkResponse(Schema):
    items: list[ItemResult]
    succeeded: int
    failed: int
