"""What the route of the service graph answers."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from plumbline_common.schemas import Schema


class ServiceNode(Schema):
    service: str
    callers: Annotated[int, Field(ge=0)]
    """How many services call it."""
    callees: Annotated[int, Field(ge=0)]
    """How many it calls."""


class ServiceEdge(Schema):
    caller: str
    callee: str
    count: Annotated[int, Field(ge=0)]
    """How often it was seen: calls in traces, and looks at metrics that tell of it."""
    first_seen: AwareDatetime
    last_seen: AwareDatetime


class ServiceGraph(Schema):
    """Services and who calls whom, by name."""

    nodes: list[ServiceNode]
    edges: list[ServiceEdge]
