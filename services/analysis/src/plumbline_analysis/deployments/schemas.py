"""What the deployment routes take and answer."""

from typing import Annotated

from pydantic import Field, StringConstraints

from plumbline_common.schemas import DeploymentSnapshot, Instant, Name, Schema, Storable


class DeploymentContent(Schema):
    service: Name
    """`service.name`."""
    version: Name
    """`service.version`."""
    environment: Name | None = None
    """`deployment.environment.name`."""
    deployed_at: Instant | None = None
    """When the version began to serve; now where it is not given."""
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s<>\"]+$", max_length=2000), Storable] | None = None
    """Where the change, or the run that deployed it, can be read."""
    description: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), Storable] = ""
    external_id: Name | None = None
    """What the sender calls it (`deployment.id`). A service's deployment of one id is recorded once."""


class DeploymentPage(Schema):
    items: list[DeploymentSnapshot]
    total: Annotated[int, Field(ge=0)]
