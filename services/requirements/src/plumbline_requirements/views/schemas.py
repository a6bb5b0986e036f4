"""What the views API takes and answers."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, Field, PlainValidator, TypeAdapter, WithJsonSchema

from plumbline_common.schemas import Name, Schema, Team, Text
from plumbline_requirements.views.rules import PARAMETERS

_LONGEST, _MOST = 500, 50


def _value(given: Any) -> str | list[str]:
    # Not a union of types: its errors would point to the name of a type instead of a member.
    several = given if isinstance(given, list) else [given]
    if not 1 <= len(several) <= _MOST or not all(isinstance(one, str) and len(one) <= _LONGEST for one in several):
        raise ValueError(f"must be a string of at most {_LONGEST} characters, or a list of 1 to {_MOST} of them")
    storable: list[str] = [_STORABLE.validate_python(one) for one in several]
    return storable if isinstance(given, list) else storable[0]


_STORABLE = TypeAdapter(Text)
_STRING = {"type": "string", "maxLength": _LONGEST}
ParameterValue = Annotated[
    str | list[str],
    PlainValidator(_value),
    WithJsonSchema({"anyOf": [_STRING, {"type": "array", "items": _STRING, "minItems": 1, "maxItems": _MOST}]}),
]
KeptQuery = Annotated[
    dict[str, ParameterValue],
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
