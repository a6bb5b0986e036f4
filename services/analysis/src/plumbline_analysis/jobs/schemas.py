"""What the job routes take and answer."""

from typing import Annotated, Any

from pydantic import Field

from plumbline_common.schemas import JobSnapshot, Schema

DEADLINE_SECONDS = 900


class JobContent(Schema):
    """What every job is asked with."""

    deadline_seconds: Annotated[int, Field(ge=1, le=86_400)] = DEADLINE_SECONDS
    """From the request on: what is not done by then is `timed_out`."""


class JobResponse(JobSnapshot):
    """A job with what it was asked and what came of it; their members are its kind's."""

    parameters: dict[str, Any]
    result: dict[str, Any] | None


class JobPage(Schema):
    items: list[JobSnapshot]
    total: Annotated[int, Field(ge=0)]
