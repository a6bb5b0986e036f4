"""What the views API takes and answers."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from plumbline_common.schemas import Name, Schema, Storable, Team
from plumbline_requirements.views.rules import PARAMETERS

ParameterName = Annotated[str, StringConstraints(max_length=100), Storable]
ParameterValue = Annotated[str, StringConstraints(max_length=500), Storable]
ParameterValues = Annotated[list[ParameterValue], Field(min_length=1, max_length=50)]
KeptQuery = Annotated[
    dict[ParameterName, ParameterValue | ParameterValues],
    Field(max_length=len(PARAMETERS), json_schema_extra={"propertyNames": {"enum": sorted(PARAMETERS)}}),
]


class ViewContent(Schema):
    team: Team
    name: Name
    query: KeptQuery
    """Parameters of the list of requirements, such as `{"status": ["draft", "in_review"], "sort": "-updated_at"}`."""


class ViewResponse(ViewContent):
    id: UUID
    revision: int
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    updated_by: str


class ViewPage(Schema):
    items: list[ViewResponse]
    total: int
