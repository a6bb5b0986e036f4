"""What the JSON lines route answers."""

from typing import Annotated

from pydantic import Field

from plumbline_common.schemas import Schema


class RejectedLine(Schema):
    line: Annotated[int, Field(ge=1)]
    detail: str


class LinesResponse(Schema):
    """`rejected` names each line that was not taken; the others are stored."""

    accepted: Annotated[int, Field(ge=0)]
    rejected: list[RejectedLine]
